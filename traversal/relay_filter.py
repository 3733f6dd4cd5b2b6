"""What a relay passes on, and what is for itself: told from the first bytes of a datagram."""

from __future__ import annotations

from collections.abc import Sequence

from traversal import stun
from traversal.segments import Run, single
from traversal.stun import BIND, BINDING, Class, Message

_WIREGUARD = bytes(range(1, 5))  # message types; the three bytes behind are zero
_WIREGUARD_SIZE = 32  # of its shortest message, a keepalive
_STUN_HEADER = 20  # bytes


def is_bind(data: bytes) -> bool:
    """A bind or an answer to one: never forwarded, or relays could be chained into loops."""
    return len(data) >= _STUN_HEADER and data[:2] in _BIND_TYPES and data[4:8] == stun.COOKIE


def admits(data: bytes) -> bool:
    """What a relay passes on: WireGuard's four messages, and STUN checks and their answers."""
    if len(data) < _STUN_HEADER:
        return False
    if data[4:8] == stun.COOKIE:
        return data[:2] in _CHECK_TYPES
    return data[0] in _WIREGUARD and data[1:4] == b"\0\0\0" and len(data) >= _WIREGUARD_SIZE


def all_wireguard(run: Run) -> bool:
    """Whether every datagram is one of WireGuard's: seen at once, whatever their number."""
    size, data = run
    least = len(data) % size or size
    if least < _WIREGUARD_SIZE:
        return False
    kinds, zeros = bytes(data[::size]), bytes(len(data[::size]))
    return not kinds.strip(_WIREGUARD) and all(data[at::size] == zeros for at in (1, 2, 3))


def sorted_out(run: Run) -> tuple[Sequence[Run], Sequence[bytes]]:
    """What of a run a relay passes on, and the binds that are for itself; the rest is nothing."""
    if all_wireguard(run):
        return (run,), ()
    if run.size < _STUN_HEADER:  # thousands of nothing, which nobody looks through
        return (), ()
    datagrams = run.datagrams()
    return [single(data) for data in datagrams if admits(data)], list(filter(is_bind, datagrams))


def _types(method: int) -> frozenset[bytes]:
    return frozenset(
        stun.serialize(Message(cls, bytes(12), method=method), fingerprint=False)[:2]
        for cls in Class
    )


_BIND_TYPES, _CHECK_TYPES = _types(BIND), _types(BINDING)
