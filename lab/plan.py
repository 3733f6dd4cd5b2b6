"""A topology out of a file: who is where, behind which NAT, on what kind of link.

title = "Two homes behind one carrier"

[public.mediator]                 # a host on the internet, called mediator.lab
address = "198.51.100.10"

[carrier.isp]                     # a NAT that homes can be behind
nat = "hairpin"

[home.alice]                      # a router and its LAN
nat = "port-restricted"           # a kind (`python -m lab check-nats` lists them), or a table:
                                  # { mapping, filtering, ports, hairpin, passes }
behind = "isp"
hosts = 2                         # alice-0 and alice-1; alice if there is one
ipv6 = true                       # as well, behind a firewall; not behind a carrier
port-mapping = true               # the router obeys UPnP-IGD, NAT-PMP and PCP
link = { delay = 20, loss = 1 }   # ms, percent; reorder in percent, rate in Mbit/s;
                                  # or `up` and `down`, if they differ

[ipv6.dora]                       # a host with IPv6 alone, behind a firewall
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from lab.behaviour import FIREWALLED, PUBLIC, Behaviour, expected
from lab.commands import LabError
from lab.link import Link, Way
from lab.nat import Dependence, Nat, NatKind, Passes, Ports
from lab.topology import Lab

TOPOLOGIES = Path(__file__).parent / "topologies"
MAX_HOSTS = 60

_Word = TypeVar("_Word", bound=StrEnum)


class PlanError(LabError):
    """The file cannot be used; says which one, and which field of it."""

    def __init__(self, file: str, where: str, problem: str) -> None:
        super().__init__(f"{file}: {where}: {problem}" if where else f"{file}: {problem}")


@dataclass(frozen=True)
class Public:
    addresses: tuple[str, ...]
    link: Link


@dataclass(frozen=True)
class HomePlan:
    nat: Nat
    behind: str | None
    hosts: int
    link: Link
    ipv6: bool
    port_mapping: bool

    def names(self, name: str) -> list[str]:
        return [name] if self.hosts == 1 else [f"{name}-{n}" for n in range(self.hosts)]


@dataclass(frozen=True)
class Plan:
    """Everything by name."""

    title: str
    publics: Mapping[str, Public]
    carriers: Mapping[str, Nat]
    homes: Mapping[str, HomePlan]
    ipv6: Mapping[str, Link]

    def build(self, lab: Lab) -> None:
        for name, public in self.publics.items():
            lab.public(name, *(public.addresses or (lab.free_address(),)), link=public.link)
        for name, nat in self.carriers.items():
            lab.carrier(name, nat=nat)
        for name, home in self.homes.items():
            lab.home(
                name,
                nat=home.nat,
                hosts=home.hosts,
                behind=home.behind,
                link=home.link,
                ipv6=home.ipv6,
                port_mapping=home.port_mapping,
            )
        for name, link in self.ipv6.items():
            lab.home6(name, link=link)

    def hosts(self) -> list[str]:
        homes = [host for name, home in self.homes.items() for host in home.names(name)]
        return [*self.publics, *homes, *self.ipv6]

    def behaviours(self) -> dict[str, Behaviour]:
        """What each host with IPv4 has to find when it measures its way out."""
        found = dict.fromkeys(self.publics, PUBLIC)
        for name, home in self.homes.items():
            carrier = self.carriers[home.behind] if home.behind else None
            nat = home.nat if carrier is None else home.nat.behind(carrier)
            found |= dict.fromkeys(home.names(name), expected(nat))
        return found

    def behaviours6(self) -> dict[str, Behaviour]:
        """The same of each host with IPv6."""
        homes = [
            host for name, home in self.homes.items() if home.ipv6 for host in home.names(name)
        ]
        return dict.fromkeys(self.publics, PUBLIC) | dict.fromkeys([*homes, *self.ipv6], FIREWALLED)


def names() -> list[str]:
    """The topologies that come along."""
    return sorted(path.stem for path in TOPOLOGIES.glob("*.toml"))


def find(name: str) -> Path:
    """The file of a topology that comes along, or of any other by its path.

    Raises: LabError, if there is none.
    """
    path = TOPOLOGIES / f"{name}.toml" if "/" not in name and "." not in name else Path(name)
    if not path.is_file():
        raise LabError(
            f"no topology {name}", hint=f"there are {', '.join(names())}, or give a file"
        )
    return path


def read(path: Path) -> Plan:
    """Raises: PlanError, for anything that is not a whole and consistent topology."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlanError(str(path), "", str(error)) from error
    top = _Table(table, str(path), "")
    top.only("title", "public", "carrier", "home", "ipv6")
    plan = Plan(
        title=top.take("title", str),
        publics={name: _public(entry) for name, entry in top.tables("public")},
        carriers={name: _carrier(entry) for name, entry in top.tables("carrier")},
        homes={name: _home(entry) for name, entry in top.tables("home")},
        ipv6={name: _link(entry.only("link", "up", "down")) for name, entry in top.tables("ipv6")},
    )
    _refuse_contradictions(plan, top)
    return plan


class _Table:
    """A table of the file, which knows where it is."""

    def __init__(self, table: Mapping[str, Any], file: str, where: str) -> None:
        self._table, self._file, self._where = table, file, where

    def error(self, field: str, problem: str) -> PlanError:
        return PlanError(self._file, f"{self._where}.{field}".strip("."), problem)

    def only(self, *known: str) -> "_Table":
        for field in self._table:
            if field not in known:
                raise self.error(field, f"no such field; there are {', '.join(known)}")
        return self

    def has(self, field: str, kind: type[Any] = object) -> bool:
        return isinstance(self._table.get(field), kind) and field in self._table

    def take(self, field: str, kind: type[Any], default: Any = None) -> Any:
        value = self._table.get(field, default)
        if value is None:
            raise self.error(field, "is missing")
        if type(value) is not kind and not (kind is float and type(value) is int):
            words = {str: "a text", int: "a whole number", bool: "true or false", float: "a number"}
            raise self.error(field, f"must be {words[kind]}")
        return value

    def word(self, field: str, words: type[_Word], default: _Word | None = None) -> _Word:
        given = self.take(field, str, default and str(default))
        if given not in [*words]:
            raise self.error(field, f"no {given!r}; there are {', '.join(words)}")
        return words(given)

    def texts(self, field: str) -> tuple[str, ...]:
        given = self._table.get(field, [])
        listed = [given] if isinstance(given, str) else given
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            raise self.error(field, "must be a text or a list of texts")
        return tuple(listed)

    def table(self, field: str) -> "_Table":
        value = self._table.get(field, {})
        if not isinstance(value, dict):
            raise self.error(field, "must be a table")
        return _Table(value, self._file, f"{self._where}.{field}".strip("."))

    def tables(self, field: str) -> Iterator[tuple[str, "_Table"]]:
        inside = self.table(field)
        for name in inside._table:
            if not name.replace("-", "").isalnum():
                raise inside.error(name, "a name has letters, digits and hyphens only")
            yield name, inside.table(name)


def _public(entry: _Table) -> Public:
    addresses = entry.only("address", "link", "up", "down").texts("address")
    for address in addresses:
        try:
            IPv4Address(address)
        except ValueError:
            raise entry.error("address", f"{address!r} is no IPv4 address") from None
    return Public(addresses, _link(entry))


def _carrier(entry: _Table) -> Nat:
    return _nat(entry.only("nat"))


def _home(entry: _Table) -> HomePlan:
    entry.only("nat", "behind", "hosts", "link", "up", "down", "ipv6", "port-mapping")
    hosts = entry.take("hosts", int, 1)
    if not 1 <= hosts <= MAX_HOSTS:
        raise entry.error("hosts", f"must be from 1 to {MAX_HOSTS}")
    behind = entry.take("behind", str, "") or None
    ipv6 = entry.take("ipv6", bool, False)
    if ipv6 and behind:
        raise entry.error("ipv6", "the carriers here have none")
    port_mapping = entry.take("port-mapping", bool, False)
    return HomePlan(_nat(entry), behind, hosts, _link(entry), ipv6, port_mapping)


def _nat(entry: _Table) -> Nat:
    if not entry.has("nat", dict):
        return entry.word("nat", NatKind).nat
    given = entry.table("nat").only(*(field.name for field in fields(Nat)))
    default = Nat()
    try:
        return Nat(
            given.word("mapping", Dependence, default.mapping),
            given.word("filtering", Dependence, default.filtering),
            given.word("ports", Ports, default.ports),
            given.take("hairpin", bool, default.hairpin),
            given.word("passes", Passes, default.passes),
        )
    except ValueError as error:
        raise entry.error("nat", str(error)) from error


def _link(entry: _Table) -> Link:
    if entry.has("link") and (entry.has("up") or entry.has("down")):
        raise entry.error("link", "is for both ways; give it, or `up` and `down`")
    if entry.has("link"):
        return Link.both(_way(entry, "link"))
    return Link(_way(entry, "up"), _way(entry, "down"))


def _way(entry: _Table, field: str) -> Way:
    given = entry.table(field)
    given.only(*(one.name for one in fields(Way)))
    numbers = {one.name: given.take(one.name, float, 0.0) for one in fields(Way)}
    try:
        return Way(**numbers)
    except ValueError as error:
        name, _, problem = str(error).partition(": ")
        raise given.error(name, problem) from error


def _refuse_contradictions(plan: Plan, top: _Table) -> None:
    hosts = [*plan.hosts(), *plan.carriers]
    for host in hosts:
        if hosts.count(host) > 1:
            raise top.error("", f"there are two called {host}")
    for name, home in plan.homes.items():
        if home.behind is not None and home.behind not in plan.carriers:
            raise top.error(f"home.{name}.behind", f"there is no carrier {home.behind!r}")
    if not hosts:
        raise top.error("", "there is nobody in it")
