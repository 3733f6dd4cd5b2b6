"""Everything a mediator can ask of its relay helper, and every check of it.

Whoever has taken the mediator over can ask as well. So nothing here names a rule, a table or a
command: a pair is two addresses and two ports, within the range that was given at the start.
"""

import ipaddress
import json
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_REQUEST = 32 * 1024
MAX_CHANGES = 32  # ports of one request
MAX_PORTS = 4096
MAX_RATE = 100_000_000_000  # bits a second


class RequestRefused(Exception):
    """Says what was wrong, for whoever programs the mediator."""


@dataclass(frozen=True)
class Start:
    """The first request, and only that."""

    first_port: int
    last_port: int
    rate: int  # bits a second of each direction of a pair


@dataclass(frozen=True)
class Flow:
    """What comes from `source` to the pair's port goes on to `destination`, from `own`."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    own: str

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.source).version


@dataclass(frozen=True)
class Open:
    port: int
    flows: tuple[Flow, Flow]


@dataclass(frozen=True)
class Change:
    """Pairs to open, or to replace, and ports to close; every port once, all in one transaction."""

    opened: tuple[Open, ...]
    closed: tuple[int, ...]

    @property
    def ports(self) -> list[int]:
        return [*(pair.port for pair in self.opened), *self.closed]


@dataclass(frozen=True)
class Counts:
    """Packets and bytes of every pair so far."""


Request = Start | Change | Counts


def parse(data: bytes) -> Request:
    """Raises: RequestRefused, for any other input whatsoever."""
    if len(data) > MAX_REQUEST:
        _refuse("too long")
    try:
        words = json.loads(data)
    except (ValueError, RecursionError):
        _refuse("not JSON")
    if not isinstance(words, dict):
        _refuse("not an object")
    kind = words.pop("request", None)
    if kind == "start":
        return _start(*_members(words, "first_port", "last_port", "rate"))
    if kind == "change":
        return _change(*_members(words, "open", "close"))
    if kind != "counts":
        _refuse("unknown request")
    _members(words)
    return Counts()


class Order:
    """What may come when: one start, then pairs within its range."""

    def __init__(self) -> None:
        self.started: Start | None = None

    def admit(self, request: Request) -> None:
        """Raises: RequestRefused; then nothing has changed."""
        if isinstance(request, Start):
            if self.started is not None:
                _refuse("started already")
            self.started = request
            return
        if self.started is None:
            _refuse("not started")
        ours = range(self.started.first_port, self.started.last_port + 1)
        if isinstance(request, Change) and not all(port in ours for port in request.ports):
            _refuse("port: not one of ours")


def _start(first: object, last: object, rate: object) -> Start:
    lowest = _number(first, "first_port", 1024, 65535)
    highest = _number(last, "last_port", lowest, min(65535, lowest + MAX_PORTS - 1))
    return Start(lowest, highest, _number(rate, "rate", 8_000, MAX_RATE))


def _change(opened: object, closed: object) -> Change:
    if not isinstance(opened, list) or not isinstance(closed, list):
        _refuse("wants lists of what to open and to close")
    if not 0 < len(opened) + len(closed) <= MAX_CHANGES:
        _refuse(f"wants 1 to {MAX_CHANGES} changes")
    change = Change(
        tuple(_open(*_members(pair, "port", "flows")) for pair in opened),
        tuple(_number(port, "port", 1, 65535) for port in closed),
    )
    if len(set(change.ports)) < len(change.ports):
        _refuse("a port twice")
    return change


def _open(port: object, flows: object) -> Open:
    if not isinstance(flows, list) or len(flows) != 2:
        _refuse("flows: wants two")
    first, second = (_flow(flow) for flow in flows)
    forth = (first.source, first.source_port, first.destination, first.destination_port)
    back = (second.destination, second.destination_port, second.source, second.source_port)
    if forth != back:
        _refuse("flows: not there and back")
    if forth[:2] == forth[2:]:
        _refuse("flows: from an address to itself")
    return Open(_number(port, "port", 1, 65535), (first, second))


def _flow(words: object) -> Flow:
    names = ("source", "source_port", "destination", "destination_port", "own")
    source, source_port, destination, destination_port, own = _members(words, *names)
    hosts = [_host(each) for each in (source, destination, own)]
    if len({ipaddress.ip_address(host).version for host in hosts}) != 1:
        _refuse("flow: between IPv4 and IPv6")
    return Flow(
        hosts[0],
        _number(source_port, "source_port", 1, 65535),
        hosts[1],
        _number(destination_port, "destination_port", 1, 65535),
        hosts[2],
    )


def _host(value: object) -> str:
    """In the one spelling that nft reads as an address and nothing else."""
    if not isinstance(value, str) or len(value) > 45 or "%" in value:
        _refuse("not an address")
    try:
        ip = ipaddress.ip_address(value)
    except ValueError:
        _refuse("not an address")
    mapped = ip.version == 6 and ip.ipv4_mapped is not None
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local or mapped:
        _refuse("an address that nothing is forwarded to")
    if ip == ipaddress.ip_address("255.255.255.255"):
        _refuse("an address that nothing is forwarded to")
    return str(ip)


def _number(value: object, name: str, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        _refuse(f"{name}: wants a number from {lowest} to {highest}")
    return value


def _members(words: object, *names: str) -> list[Any]:
    if not isinstance(words, dict) or set(words) != set(names):
        _refuse(f"wants {', '.join(names) or 'nothing more'}")
    return [words[name] for name in names]


def _refuse(reason: str) -> NoReturn:
    raise RequestRefused(reason)
