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
    lost = 20                           # until a silent connection counts as lost
    run = 600                           # until the program must have ended

A program may get words on its command line, `words = ["8", "{bid}"]`, where {bid} is that input
(which other users of the machine can then read while it runs). With `adapter = "generic"` it says
itself how it is started; agent/launch/adapters.py has the variables:

    [launch]
    argv = ["{program}/shamir-party.x", "-p", "{rank}", "-N", "{parties}", "-ip", "{program}/hosts"]
    env = { LANG = "C" }                # a list within argv is repeated for every party

    [[launch.files]]                    # written beside the program's own files
    name = "hosts"
    each = "{address}:{port}"           # a line for every party; or: text = "…"

Unknown fields are errors: a misspelt limit must not be silently no limit.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from agent.launch.tables import ManifestError as ManifestError
from agent.launch.tables import Table

FILE_NAME: Final = "manifest.toml"
MAX_SIZE: Final = 64 * 1024
MAX_PARTIES: Final = 64
HONEST_MAJORITY: Final = "honest-majority"
GENERIC: Final = "generic"
ALL: Final = "all"
SELF: Final = "self"
"""Each party learns something of its own; nobody's is compared with another's."""
PARTY: Final = "party"
"""The role of everybody in a program without roles."""

PLACE = re.compile(r"\{([a-z][a-z0-9_]{0,63})\}")  # of an input, in `words`


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
    """The names of roles, or `ALL` or `SELF` alone."""

    def is_for(self, role: str) -> bool:
        return self.to in ((ALL,), (SELF,)) or role in self.to

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
class WrittenFile:
    """A file made for the framework: a text, or a line for each party."""

    name: str
    text: str
    each: str


@dataclass(frozen=True)
class LaunchTemplate:
    """How a program of no known framework is started."""

    argv: tuple[str | tuple[str, ...], ...]
    """Words; several together are repeated for every party."""
    env: Mapping[str, str]
    files: tuple[WrittenFile, ...]


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
    words: tuple[str, ...] = ()
    launch: LaunchTemplate | None = None

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
    top = Table(table, file, "")
    roles = tuple(map(_role, top.tables("roles")))
    minimum, maximum = _parties(top, roles)
    manifest = Manifest(
        name=top.name("name"),
        title=top.text("title"),
        adapter=top.name("adapter"),
        entry=_path(top, "entry"),
        threshold=_threshold(top, minimum),
        ports=top.whole("ports", 0, 16, default=1),
        min_parties=minimum,
        max_parties=maximum,
        inputs=tuple(map(_input, top.tables("inputs"))),
        opens=tuple(map(_opening, top.tables("opens"))),
        timeouts=_timeouts(top.table("timeouts", {})),
        roles=roles,
        words=top.texts("words", 100),
        launch=_launch(top),
    )
    top.nothing_else()
    _refuse_twins(top, manifest)
    _refuse_loose_ends(top, manifest)
    return manifest


def _launch(top: Table) -> LaunchTemplate | None:
    if not top.has("launch"):
        return None
    table = top.table("launch")
    found = LaunchTemplate(
        argv=table.word_groups("argv"),
        env=table.variables("env"),
        files=tuple(map(_written_file, table.tables("files"))),
    )
    table.nothing_else()
    return found


def _written_file(table: Table) -> WrittenFile:
    name = _path(table, "name")
    texts = {field: table.any_text(field) for field in ("text", "each") if table.has(field)}
    table.nothing_else()
    if len(texts) != 1:
        raise table.error("text", "must be there, or each, and not both")
    return WrittenFile(name, texts.get("text", ""), texts.get("each", ""))


def _path(table: Table, field: str) -> str:
    text = table.text(field)
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or str(path) != text or "\\" in text:
        raise table.error(field, "must be a plain path inside the program's folder")
    return text


def _parties(top: Table, roles: Sequence[Role]) -> tuple[int, int]:
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


def _threshold(top: Table, min_parties: int) -> int | None:
    return top.whole_or("threshold", HONEST_MAJORITY, 0, (min_parties - 1) // 2)


def _input(table: Table) -> Input:
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


def _role(table: Table) -> Role:
    found = Role(
        name=table.name("name"),
        seats=table.whole("seats", 1, MAX_PARTIES),
        inputs=table.names("inputs"),
    )
    table.nothing_else()
    if found.name in (ALL, SELF, PARTY):
        raise table.error("name", f'"{found.name}" is a word of ours; find another')
    return found


def _opening(table: Table) -> Opening:
    found = Opening(what=table.text("what"), to=table.name_or_names("to"))
    table.nothing_else()
    return found


def _timeouts(table: Table) -> Timeouts:
    found = Timeouts(
        start=table.whole("start", 1, 3600, default=30),
        lost=table.whole("lost", 2, 600, default=20),
        run=table.whole("run", 1, 86_400, default=600),
    )
    table.nothing_else()
    return found


def _refuse_twins(top: Table, manifest: Manifest) -> None:
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


def _refuse_loose_ends(top: Table, manifest: Manifest) -> None:
    """What names an input or a role must name one that is there."""
    roles = [role.name for role in manifest.roles]
    for number, opening in enumerate(manifest.opens):
        for name in opening.to:
            if opening.to not in ((ALL,), (SELF,)) and name not in roles:
                choices = ", ".join(f'"{choice}"' for choice in (ALL, SELF, *roles))
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
    for name in (name for word in manifest.words for name in PLACE.findall(word)):
        if name not in known:
            raise top.error("words", f'"{{{name}}}" is not an input')
    if (manifest.adapter == GENERIC) != (manifest.launch is not None):
        raise top.error("launch", f'goes with adapter = "{GENERIC}", and with that alone')
