"""What a program says about itself: `manifest.toml` in its folder, read into a frozen record.

    name = "second_price_auction"       # letters, digits, "_"
    title = "Sealed-bid second-price auction"
    adapter = "mpyc"                    # how it is started: agent/launch/adapters.py
    entry = "main.py"                   # relative to the manifest
    threshold = "honest-majority"       # the most parties t with 2t < n, or a number
    ports = 1                           # TCP ports each party listens on

    [parties]
    min = 3
    max = 64

    [[inputs]]                          # one table per input; every party gives its own
    name = "bid"
    type = "integer"
    title = "what you would pay at most"
    min = 1
    max = 1000000000

    [[opens]]                           # everything the computation reveals, and to whom:
    what = "the price: the second-highest bid"
    to = "all"                          # or the name of a role, or a list of such names

Where parties differ in what they do, roles stand in place of `parties`; every seat is taken:

    [[roles]]
    name = "voter"
    seats = 2
    inputs = ["vote"]                   # which inputs these parties give; else none

    [timeouts]                          # seconds
    start = 30                          # until every party is connected to every other
    lost = 8                            # until a silent connection counts as lost
    run = 600                           # until the program must have ended

Unknown fields are errors: a misspelt limit must not be silently no limit.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final, TypeVar

FILE_NAME: Final = "manifest.toml"
MAX_SIZE: Final = 64 * 1024
MAX_PARTIES: Final = 64
HONEST_MAJORITY: Final = "honest-majority"
ALL: Final = "all"
PARTY: Final = "party"
"""The role of everybody in a program without roles."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=StrEnum)


class ManifestError(Exception):
    """The manifest cannot be used; tell the person who wrote it which field of which file."""

    def __init__(self, file: str, field: str, problem: str) -> None:
        self.file, self.field = file, field
        super().__init__(f"{file}: {field}: {problem}" if field else f"{file}: {problem}")


class InputType(StrEnum):
    INTEGER = "integer"


@dataclass(frozen=True)
class Input:
    name: str
    type: InputType
    title: str
    min: int
    max: int

    @property
    def range(self) -> str:
        """What may be given, in words: "a whole number from 1 to 100"."""
        return f"a whole number from {self.min} to {self.max}"


@dataclass(frozen=True)
class Opening:
    """One thing the computation reveals, and to whom."""

    what: str
    to: tuple[str, ...]
    """The names of roles, or `ALL` alone."""

    def is_for(self, role: str) -> bool:
        return self.to == (ALL,) or role in self.to

    @property
    def audience(self) -> str:
        """In words: "all", or "buyer, seller"."""
        return ", ".join(self.to)


@dataclass(frozen=True)
class Role:
    """What some of the parties do, and how many they are."""

    name: str
    seats: int
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    start: int
    lost: int
    run: int


@dataclass(frozen=True)
class Manifest:
    name: str
    title: str
    adapter: str
    entry: str
    threshold: int | None
    """Fixed by the program; None: the most parties t with 2t < n."""
    ports: int
    min_parties: int
    max_parties: int
    inputs: tuple[Input, ...]
    opens: tuple[Opening, ...]
    timeouts: Timeouts
    roles: tuple[Role, ...] = ()
    """Empty: all parties are alike, each a `PARTY` that gives every input."""

    def inputs_of(self, role: str) -> tuple[Input, ...]:
        """What a party in this role is asked for."""
        if not self.roles:
            return self.inputs
        wanted = {name for one in self.roles if one.name == role for name in one.inputs}
        return tuple(entry for entry in self.inputs if entry.name in wanted)

    def seats(self, parties: int) -> tuple[str, ...]:
        """The role of every seat that there is for so many parties, role by role."""
        if not self.roles:
            return (PARTY,) * parties
        return tuple(role.name for role in self.roles for _ in range(role.seats))

    def threshold_for(self, parties: int) -> int:
        """How many parties may pool what they saw and still learn nothing more."""
        return (parties - 1) // 2 if self.threshold is None else self.threshold


def parse(data: bytes, file: str = FILE_NAME) -> Manifest:
    """Read a manifest; `file` names it in errors.

    Raises: ManifestError, for anything that is not a complete and consistent manifest.
    """
    if len(data) > MAX_SIZE:
        raise ManifestError(file, "", f"larger than {MAX_SIZE} bytes")
    try:
        table = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(file, "", f"not TOML: {error}") from error
    top = _Table(table, file, "")
    roles = tuple(map(_role, top.tables("roles")))
    minimum, maximum = _parties(top, roles)
    manifest = Manifest(
        name=top.name("name"),
        title=top.text("title"),
        adapter=top.name("adapter"),
        entry=_entry(top),
        threshold=_threshold(top, minimum),
        ports=top.whole("ports", 0, 16, default=1),
        min_parties=minimum,
        max_parties=maximum,
        inputs=tuple(map(_input, top.tables("inputs"))),
        opens=tuple(map(_opening, top.tables("opens"))),
        timeouts=_timeouts(top.table("timeouts", {})),
        roles=roles,
    )
    top.nothing_else()
    _refuse_twins(top, manifest)
    _refuse_loose_ends(top, manifest)
    return manifest


class _Table:
    """A TOML table that is emptied field by field, so that what is left over is unknown."""

    def __init__(self, fields: Mapping[str, object], file: str, path: str) -> None:
        self._fields = dict(fields)
        self._file, self._path = file, path

    def error(self, field: str, problem: str) -> ManifestError:
        return ManifestError(self._file, f"{self._path}{field}", problem)

    def _take(self, field: str, kind: type[_T], wanted: str, default: _T | None = None) -> _T:
        value = self._fields.pop(field, default)
        if value is None:
            raise self.error(field, f"is missing; it must be {wanted}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(field, f"must be {wanted}")
        return value

    def text(self, field: str) -> str:
        value = self._take(field, str, "a text")
        if not value.strip() or len(value) > 200 or not value.isprintable():
            raise self.error(field, "must be one printable line of 1 to 200 characters")
        return value

    def name(self, field: str) -> str:
        value = self._take(field, str, "a name")
        if not _NAME.fullmatch(value):
            raise self.error(field, 'must be a name of small letters, digits and "_"')
        return value

    def has(self, field: str) -> bool:
        return field in self._fields

    def names(self, field: str) -> tuple[str, ...]:
        """A list of names; empty if the field is not there."""
        value: list[object] = self._take(field, list, "a list of names", [])
        names = tuple(name for name in value if isinstance(name, str) and _NAME.fullmatch(name))
        if len(names) < len(value) or len(set(names)) < len(names) or len(names) > 32:
            raise self.error(field, "must be a list of at most 32 names, each once")
        return names

    def name_or_names(self, field: str) -> tuple[str, ...]:
        if isinstance(self._fields.get(field), list):
            if names := self.names(field):
                return names
            raise self.error(field, "must name at least one role")
        return (self.name(field),)

    def one_of(self, field: str, choices: type[_Choice]) -> _Choice:
        wanted = " or ".join(f'"{choice}"' for choice in choices)
        value = self._take(field, str, wanted)
        try:
            return choices(value)
        except ValueError as error:
            raise self.error(field, f"must be {wanted}") from error

    def whole(self, field: str, low: int, high: int, default: int | None = None) -> int:
        wanted = f"a whole number from {low} to {high}"
        value = self._take(field, int, wanted, default)
        if not low <= value <= high:
            raise self.error(field, f"must be {wanted}")
        return value

    def whole_or(self, field: str, word: str, low: int, high: int) -> int | None:
        """A number, or None for the one word that stands for a rule instead."""
        if self._fields.get(field, word) == word:
            self._fields.pop(field, None)
            return None
        if isinstance(self._fields[field], str):
            raise self.error(field, f'must be "{word}" or a whole number')
        return self.whole(field, low, high)

    def table(self, field: str, default: dict[str, object] | None = None) -> "_Table":
        fields: dict[str, object] = self._take(field, dict, "a table", default)
        return _Table(fields, self._file, f"{self._path}{field}.")

    def tables(self, field: str) -> "list[_Table]":
        tables: list[object] = self._take(field, list, "a list of tables", [])
        if not all(isinstance(table, Mapping) for table in tables) or len(tables) > 32:
            raise self.error(field, "must be a list of at most 32 tables")
        return [
            _Table(table, self._file, f"{self._path}{field}[{number}].")
            for number, table in enumerate(tables)
            if isinstance(table, Mapping)
        ]

    def nothing_else(self) -> None:
        for field in self._fields:
            raise self.error(field, "is not a field of a manifest")


def _entry(top: _Table) -> str:
    entry = top.text("entry")
    path = PurePosixPath(entry)
    if path.is_absolute() or ".." in path.parts or str(path) != entry or "\\" in entry:
        raise top.error("entry", "must be a plain path inside the program's folder")
    return entry


def _parties(top: _Table, roles: Sequence[Role]) -> tuple[int, int]:
    if roles:
        if top.has("parties"):
            raise top.error("parties", "does not go with roles; leave it out, their seats say it")
        seats = sum(role.seats for role in roles)
        if not 2 <= seats <= MAX_PARTIES:
            raise top.error("roles", f"must have 2 to {MAX_PARTIES} seats in all, not {seats}")
        return seats, seats
    parties = top.table("parties")
    minimum = parties.whole("min", 2, MAX_PARTIES)
    maximum = parties.whole("max", 2, MAX_PARTIES)
    parties.nothing_else()
    if minimum > maximum:
        raise parties.error("min", f"is larger than max, {maximum}")
    return minimum, maximum


def _threshold(top: _Table, min_parties: int) -> int | None:
    return top.whole_or("threshold", HONEST_MAJORITY, 0, (min_parties - 1) // 2)


def _input(table: _Table) -> Input:
    found = Input(
        name=table.name("name"),
        type=table.one_of("type", InputType),
        title=table.text("title"),
        min=table.whole("min", -(2**63), 2**63 - 1),
        max=table.whole("max", -(2**63), 2**63 - 1),
    )
    table.nothing_else()
    if found.min > found.max:
        raise table.error("min", f"is larger than max, {found.max}")
    return found


def _role(table: _Table) -> Role:
    found = Role(
        name=table.name("name"),
        seats=table.whole("seats", 1, MAX_PARTIES),
        inputs=table.names("inputs"),
    )
    table.nothing_else()
    if found.name in (ALL, PARTY):
        raise table.error("name", f'"{found.name}" is a word of ours; find another')
    return found


def _opening(table: _Table) -> Opening:
    found = Opening(what=table.text("what"), to=table.name_or_names("to"))
    table.nothing_else()
    return found


def _timeouts(table: _Table) -> Timeouts:
    found = Timeouts(
        start=table.whole("start", 1, 3600, default=30),
        lost=table.whole("lost", 2, 600, default=8),
        run=table.whole("run", 1, 86_400, default=600),
    )
    table.nothing_else()
    return found


def _refuse_twins(top: _Table, manifest: Manifest) -> None:
    names = [entry.name for entry in manifest.inputs]
    for name in names:
        if names.count(name) > 1:
            raise top.error("inputs", f'"{name}" is named twice')
    roles = [role.name for role in manifest.roles]
    for name in roles:
        if roles.count(name) > 1:
            raise top.error("roles", f'"{name}" is named twice')
    if not manifest.opens:
        raise top.error("opens", "is missing; say what the computation reveals, and to whom")


def _refuse_loose_ends(top: _Table, manifest: Manifest) -> None:
    """What names an input or a role must name one that is there."""
    roles = [role.name for role in manifest.roles]
    for number, opening in enumerate(manifest.opens):
        for name in opening.to:
            if opening.to != (ALL,) and name not in roles:
                choices = ", ".join(f'"{choice}"' for choice in (ALL, *roles))
                raise top.error(f"opens[{number}].to", f"must be one of {choices}")
    given = {name for role in manifest.roles for name in role.inputs}
    known = [entry.name for entry in manifest.inputs]
    for number, role in enumerate(manifest.roles):
        for name in role.inputs:
            if name not in known:
                raise top.error(f"roles[{number}].inputs", f'"{name}" is not an input')
    for number, name in enumerate(known):
        if manifest.roles and name not in given:
            raise top.error(f"inputs[{number}].name", f'no role gives "{name}"')
