"""The shapes of what commands print with --json, and a check that takes nothing else.

A shape is a type, None, a tuple of alternatives, a list of one shape for all items, or a mapping
of exactly these names; the name "*" stands for any.
"""

from __future__ import annotations

from typing import Any

NUMBER = (int, float)


def check_shape(value: Any, shape: Any, at: str = "$") -> None:
    """Raises: AssertionError, which says where it is otherwise."""
    if isinstance(shape, tuple):
        assert any(_fits(value, each, at) for each in shape), f"{at}: {value!r} is none of {shape}"
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{at}: {value!r} is no object"
        if "*" not in shape:
            assert set(value) == set(shape), f"{at}: {sorted(set(value) ^ set(shape))}"
        for name, each in value.items():
            check_shape(each, shape.get(name, shape.get("*")), f"{at}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{at}: {value!r} is no list"
        for n, each in enumerate(value):
            check_shape(each, shape[0], f"{at}[{n}]")
    elif isinstance(shape, type):
        assert type(value) is shape, f"{at}: {value!r} is no {shape.__name__}"
    else:
        assert value == shape, f"{at}: {value!r} is not {shape!r}"


def _fits(value: Any, shape: Any, at: str) -> bool:
    try:
        check_shape(value, shape, at)
    except AssertionError:
        return False
    return True


_FAMILY = {
    "name": str,
    "address": str,
    "mapping": str,
    "filtering": str,
    "translated": bool,
    "ports": (None, "preserved", "sequential", "random"),
    "hairpin": (None, bool),
    "mtu": {"route": (None, int), "probed": (None, int)},
}
NETCHECK = {
    "version": 1,
    "verdict": (
        "no-udp",
        "direct",
        "direct-unless-varying",
        "direct-if-foreseen",
        "often-relayed",
        "unknown",
    ),
    "words": str,
    "udp": (None, bool),
    "ipv4": (None, _FAMILY),
    "ipv6": (None, _FAMILY),
    "servers": [{"address": str, "seen": str, "rtt_ms": float}],
    "port_mapping": (
        None,
        {
            "gateway": str,
            "protocol": (None, "pcp", "nat-pmp", "upnp-igd"),
            "external": (None, str),
            "double_nat": (None, bool),
        },
    ),
    "http": (
        None,
        {
            "url": str,
            "reachable": bool,
            "ms": (None, float),
            "proxy": (None, str),
            "problem": (None, str),
        },
    ),
}
MESH_PING = {
    "version": 1,
    "did": str,
    "session": str,
    "direct": bool,
    "why": (None, str),
    "replies": [{"rtt_ms": float, "kind": ("direct", "relay", "degraded"), "endpoint": str}],
}
WAIT = {"version": 1, "state": ("usable", "direct"), "seconds": float, "paths": {"*": str}}
STATUS_WATCH = {
    "version": 1,
    "t": float,
    "sessions": [{"pid": int, "session": str, "parties": [str], "paths": {"*": dict}}],
}
DOCTOR = {
    "version": 1,
    "ok": bool,
    "findings": [{"name": str, "level": ("ok", "note", "wrong"), "text": str, "todo": (None, str)}],
}
BUNDLE = {"version": 1, "file": str, "anonymous": bool, "holds": [str]}
