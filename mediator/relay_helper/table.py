"""The kernel's part: one nftables table of our own, changed in whole transactions.

    pre    before connection tracking: WireGuard's messages and STUN checks from a bound address to
           its port are counted, limited, and sent on with the other side's address and port as
           destination; no connection is tracked, so nothing of a pair outlives its rules
    post   what was sent on gets the pair's port, and the address that side knows, as its source

Binds, and whatever else comes to a port, are not touched: the mediator hears them.
"""

import json
import logging
import socket
import subprocess
from pathlib import Path
from typing import Any

from mediator.relay_helper.requests import Change, Flow, Open, Start

log = logging.getLogger("didmesh.relay_helper")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TABLE = "inet didmesh_relay"
MARK = 0x6D000000  # of our packets between the two chains; below it the port and the direction
IPV4_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
IPV6_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
BURST = 0.1  # seconds of the rate that may come at once

EMPTY = """\
table {table} {{
  counter over_rate {{
  }}
  map in4 {{
    type ipv4_addr . inet_service . inet_service : verdict
  }}
  map in6 {{
    type ipv6_addr . inet_service . inet_service : verdict
  }}
  map out {{
    type mark : verdict
  }}
  chain known {{
    ip saddr . udp sport . udp dport vmap @in4
    ip6 saddr . udp sport . udp dport vmap @in6
  }}
  chain admitted {{
    @th,64,32 {{ 0x01000000, 0x02000000, 0x03000000, 0x04000000 }} goto known
    @th,96,32 0x2112a442 @th,64,16 {{ 0x0001, 0x0011, 0x0101, 0x0111 }} goto known
  }}
  chain pre {{
    type filter hook prerouting priority raw; policy accept;
    udp dport {first}-{last} jump admitted
  }}
  chain post {{
    type filter hook postrouting priority srcnat; policy accept;
    meta mark vmap @out
  }}
}}
"""
# Where the host forwarded nothing before, it forwards for the relay alone.
GUARD = """\
table {table} {{
  chain only_ours {{
    type filter hook forward priority filter; policy accept;
    meta nfproto ipv4 meta mark & 0xff000000 != {mark:#x} drop
  }}
}}
"""


class KernelRefused(Exception):
    """nft or the kernel does not do what it was told, in its words."""


class Table:
    """There is one of these for a network namespace; a left over one is replaced."""

    def __init__(self, start: Start) -> None:
        """Raises: KernelRefused"""
        self._lock = _only_one()
        self._rate = start.rate // 8
        forwarded_before = _is_on(IPV4_FORWARDING) and not _left_over_guard()
        words = _emptied() + EMPTY.format(table=TABLE, first=start.first_port, last=start.last_port)
        if not forwarded_before:
            words += GUARD.format(table=TABLE, mark=MARK)
        _nft(words)
        self._opened_forwarding = not forwarded_before
        if self._opened_forwarding:
            IPV4_FORWARDING.write_text("1")
        self.versions = [4, 6] if _is_on(IPV6_FORWARDING) else [4]
        self._pairs: dict[int, Open] = {}

    def change(self, change: Change) -> None:
        """Replaces what was said of these ports, or changes nothing. Raises: KernelRefused"""
        for pair in change.opened:
            for flow in pair.flows:
                _check_own(flow.own)
        words = "".join(map(self._without, change.ports)) + "".join(map(self._with, change.opened))
        if words:
            _nft(words)
        for port in change.closed:
            self._pairs.pop(port, None)
        self._pairs |= {pair.port: pair for pair in change.opened}

    def counts(self) -> dict[str, list[int]]:
        """Packets and bytes by port. Raises: KernelRefused"""
        listed: dict[str, Any] = json.loads(
            _nft("", "-j", "list", "counters", "table", *TABLE.split())
        )
        counts: dict[str, list[int]] = {}
        for entry in listed["nftables"]:
            counter = entry.get("counter")
            if counter is None or not counter["name"].startswith("pair"):
                continue
            port = counter["name"].split("_")[1]
            sums = counts.setdefault(port, [0, 0])
            sums[0] += counter["packets"]
            # Without the headers, as everybody else counts them.
            version = self._pairs[int(port)].flows[0].version
            sums[1] += counter["bytes"] - counter["packets"] * (28 if version == 4 else 48)
        return counts

    def remove(self) -> None:
        """Leaves the host as it was."""
        if self._opened_forwarding:
            IPV4_FORWARDING.write_text("0")
        _nft(_emptied())
        self._lock.close()

    def _with(self, pair: Open) -> str:
        chains, elements = "", ""
        for number, flow in enumerate(pair.flows):
            name, mark = f"{pair.port}_{number}", MARK | pair.port << 1 | number
            ip = "ip" if flow.version == 4 else "ip6"
            limit = f"limit rate over {self._rate} bytes/second burst {_burst(self._rate)} bytes"
            rewrite = f"udp dport set {flow.destination_port} {ip} daddr set {flow.destination}"
            chains += f"""\
  counter pair_{name} {{
  }}
  chain in_{name} {{
    {limit} counter name over_rate drop
    counter name pair_{name} notrack meta mark set {mark:#x} {rewrite} accept
  }}
  chain out_{name} {{
    udp sport set {pair.port} {ip} saddr set {flow.own}
  }}
"""
            elements += f"add element {TABLE} {_key(pair.port, flow)} : goto in_{name} }}\n"
            elements += f"add element {TABLE} out {{ {mark:#x} : goto out_{name} }}\n"
        return f"table {TABLE} {{\n{chains}}}\n{elements}"

    def _without(self, port: int) -> str:
        pair = self._pairs.get(port)
        if pair is None:
            return ""
        elements, rest = "", ""
        for number, flow in enumerate(pair.flows):
            name, mark = f"{port}_{number}", MARK | port << 1 | number
            elements += f"delete element {TABLE} {_key(port, flow)} }}\n"
            elements += f"delete element {TABLE} out {{ {mark:#x} }}\n"
            rest += f"delete chain {TABLE} in_{name}\ndelete chain {TABLE} out_{name}\n"
            rest += f"delete counter {TABLE} pair_{name}\n"
        return elements + rest


def _check_own(host: str) -> None:
    """Nothing leaves in the name of another host. Raises: KernelRefused"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            raise KernelRefused(f"{host} is not an address of this host") from None


def _key(port: int, flow: Flow) -> str:
    return f"in{flow.version} {{ {flow.source} . {flow.source_port} . {port}"


def _only_one() -> socket.socket:
    """A name that only one living process of a network namespace can have."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind("\0didmesh-relay-helper")
    except OSError:
        lock.close()
        raise KernelRefused("another mediator's relay helper works on this host") from None
    return lock


def _burst(rate: int) -> int:
    return max(int(rate * BURST), 65_536)


def _emptied() -> str:
    """Adding what may be there, then deleting it: no error either way."""
    return f"add table {TABLE}\ndelete table {TABLE}\n"


def _left_over_guard() -> bool:
    """Whether a helper that was killed had switched forwarding on."""
    try:
        _nft("", "list", "chain", *TABLE.split(), "only_ours")
    except KernelRefused:
        return False
    return True


def _is_on(setting: Path) -> bool:
    try:
        return setting.read_text().strip() == "1"
    except OSError:
        return False


def _nft(words: str, *arguments: str) -> str:
    argv = ["nft", *(arguments or ("-f", "-"))]
    log.debug("nft: %s", words or arguments)
    try:
        done = subprocess.run(
            argv, input=words, capture_output=True, text=True, env=ENVIRONMENT, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelRefused(f"nft: {type(error).__name__}") from None
    if done.returncode != 0:
        raise KernelRefused(done.stderr.strip().partition("\n")[0] or "nft fails")
    return done.stdout
