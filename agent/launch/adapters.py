"""How a program of each framework is started, as data: templates over a closed set of variables.

An adapter adds no code of its own to the agent: it says which words, environment variables and
files a framework wants, and `plan` fills them in. Private inputs reach the program as a file that
`DIDMESH_INPUTS` names (JSON, `{"bid": 120}`): its standard input, which lies in memory alone, so
that not even a killed agent leaves them on a disk. They are never in argv.

| variable | stands for |
|---|---|
| python, library | the interpreter; the folder that holds this package |
| workdir, program, entry | the private work folder; in it the program's folder; in that its entry |
| rank, parties, threshold | the own index from 0; how many parties; the threshold |
| role, roles | the own role; everybody's in the order of their index, with "," between |
| start_timeout, lost_timeout | seconds, from the manifest |
| party, address, port | of each party in turn; in `EachParty` only |
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from agent.launch.manifest import GENERIC, PLACE, LaunchTemplate, WrittenFile
from agent.launch.program import Program

_VARIABLE = re.compile(r"\{([a-z_]+)\}")
_EVERYWHERE: Final = frozenset(
    {
        "python",
        "library",
        "workdir",
        "program",
        "entry",
        "rank",
        "parties",
        "threshold",
        "role",
        "roles",
    }
    | {"start_timeout", "lost_timeout"}
)
_OF_A_PARTY: Final = frozenset({"party", "address", "port"})


class AdapterError(Exception):
    """The program cannot be started here, or not by these parties; tell the person."""


@dataclass(frozen=True)
class EachParty:
    """Words of argv that are repeated for every party, in the order of their index."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Adapter:
    name: str
    packages: tuple[str, ...]
    """Python packages whose versions must be the same at every party."""
    argv: tuple[str | EachParty, ...]
    env: Mapping[str, str]
    files: tuple[WrittenFile, ...] = ()
    tells_start: bool = True
    """Whether a launcher of ours says when the program has started."""

    def __post_init__(self) -> None:
        for word in self.argv:
            if isinstance(word, EachParty):
                self._check(word.words, _EVERYWHERE | _OF_A_PARTY)
            else:
                self._check((word,), _EVERYWHERE)
        self._check(tuple(self.env.values()), _EVERYWHERE)
        for file in self.files:
            self._check((file.text,), _EVERYWHERE)
            self._check((file.each,), _EVERYWHERE | _OF_A_PARTY)

    def _check(self, templates: tuple[str, ...], variables: frozenset[str]) -> None:
        for template in templates:
            for name in _VARIABLE.findall(template):
                if name not in variables:
                    raise ValueError(f"adapter {self.name}: no variable {{{name}}} in {template}")


@dataclass(frozen=True)
class Seats:
    """Where every party of a session sits; the position in the tuples is the party's index."""

    rank: int
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    threshold: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """A process to start: its whole environment, and the files its work folder must hold."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes] = field(repr=False)
    """By name relative to the work folder; to be written with mode 0600."""
    stdin: bytes = field(repr=False)
    """The private inputs, for a file in memory."""
    tells_start: bool = True


_ENV: Final = {
    "DIDMESH_INPUTS": "/dev/stdin",
    "DIDMESH_ROLE": "{role}",
    "DIDMESH_ROLES": "{roles}",
    "HOME": "{workdir}",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
}
_MPYC = Adapter(
    name="mpyc",
    packages=("mpyc",),
    argv=(
        *("{python}", "-P", "-B", "-m", "agent.launchers.mpyc"),
        *("--rank", "{rank}", "--threshold", "{threshold}"),
        EachParty(("--party", "{address}:{port}")),
        *("--start-timeout", "{start_timeout}", "--lost-timeout", "{lost_timeout}"),
        "{entry}",
    ),
    env={**_ENV, "PYTHONPATH": "{library}"},
)

_CICADA = Adapter(
    name="cicada",
    packages=("cicada-mpc",),
    argv=(
        *("{python}", "-P", "-B", "-m", "agent.launchers.cicada", "--rank", "{rank}"),
        EachParty(("--party", "{address}:{port}")),
        *("--start-timeout", "{start_timeout}", "{entry}"),
    ),
    env={**_ENV, "PYTHONPATH": "{library}"},
)

ADAPTERS: Final[Mapping[str, Adapter]] = {adapter.name: adapter for adapter in (_MPYC, _CICADA)}


def plan(
    program: Program, seats: Seats, inputs: Mapping[str, int], workdir: Path, python: str
) -> Launch:
    """What to start for the party at `seats.rank`, and the files to write into `workdir` before.

    Raises: AdapterError, if these seats do not fit the program.
    """
    adapter = _adapter(program)
    _check_seats(program, seats)
    values = {
        "python": python,
        "library": str(Path(__file__).parent.parent.parent),
        "workdir": str(workdir),
        "program": str(workdir / "program"),
        "entry": str(workdir / "program" / program.manifest.entry),
        "rank": str(seats.rank),
        "parties": str(len(seats.addresses)),
        "threshold": str(seats.threshold),
        "role": seats.roles[seats.rank],
        "roles": ",".join(seats.roles),
        "start_timeout": str(program.manifest.timeouts.start),
        "lost_timeout": str(program.manifest.timeouts.lost),
    }
    given = {name: str(value) for name, value in inputs.items()}
    words = (_fill(word, given, PLACE) for word in program.manifest.words)
    written = {file.name: _written(file, seats, values) for file in adapter.files}
    if twice := sorted(written.keys() & program.files.keys()):
        raise AdapterError(f"{program.name} has a file {twice[0]} already, and writes another")
    files = {**program.files, **written}
    return Launch(
        argv=(*_argv(adapter, seats, values), *words),
        env={name: _fill(text, values) for name, text in adapter.env.items()},
        files={f"program/{name}": content for name, content in files.items()},
        stdin=json.dumps(dict(inputs), sort_keys=True).encode(),
        tells_start=adapter.tells_start,
    )


def runtime_versions(program: Program) -> dict[str, str]:
    """What must be the same at every party beside the program itself, found without importing it.

    Python's own version need not be: MPyC labels its messages with hashes of integers, which
    differ only between 32-bit and 64-bit builds.

    Raises: AdapterError, if something is not installed.
    """
    adapter = _adapter(program)
    versions = {"word": "64-bit" if sys.maxsize > 2**32 else "32-bit"}
    for package in adapter.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise AdapterError(
                f"{program.name} needs the Python package {package}: "
                f"pip install didmesh[{adapter.name}]"
            ) from error
    return versions


def _adapter(program: Program) -> Adapter:
    name = program.manifest.adapter
    if program.manifest.launch is not None:
        return _generic(program.manifest.launch)
    if name not in ADAPTERS:
        known = ", ".join(sorted({*ADAPTERS, GENERIC}))
        raise AdapterError(f'{program.name} wants the adapter "{name}"; there is: {known}')
    return ADAPTERS[name]


def _generic(launch: LaunchTemplate) -> Adapter:
    """As the program itself says it. Raises: AdapterError, for a variable that there is not."""
    argv = tuple(EachParty(word) if isinstance(word, tuple) else word for word in launch.argv)
    try:
        return Adapter(GENERIC, (), argv, {**_ENV, **launch.env}, launch.files, tells_start=False)
    except ValueError as error:
        raise AdapterError(str(error)) from error


def _check_seats(program: Program, seats: Seats) -> None:
    parties, manifest = len(seats.addresses), program.manifest
    if not manifest.min_parties <= parties <= manifest.max_parties:
        raise AdapterError(
            f"{program.name} is for {manifest.min_parties} to {manifest.max_parties} parties, "
            f"not for {parties}"
        )
    if not 0 <= seats.rank < parties == len(seats.ports) == len(seats.roles):
        raise AdapterError("rank, addresses, ports and roles of the seats do not fit each other")
    if sorted(seats.roles) != sorted(manifest.seats(parties)):
        raise AdapterError(f"{program.name} has other roles than {', '.join(seats.roles)}")
    if not 0 <= 2 * seats.threshold < parties:
        raise AdapterError(
            f"the threshold must be less than half of {parties} parties, not {seats.threshold}"
        )


def _argv(adapter: Adapter, seats: Seats, values: Mapping[str, str]) -> tuple[str, ...]:
    words: list[str] = []
    for word in adapter.argv:
        if isinstance(word, str):
            words.append(_fill(word, values))
            continue
        for own in _each(seats, values):
            words += [_fill(part, own) for part in word.words]
    return tuple(words)


def _written(file: WrittenFile, seats: Seats, values: Mapping[str, str]) -> bytes:
    lines = (_fill(file.each, own) + "\n" for own in _each(seats, values))
    return ("".join(lines) if file.each else _fill(file.text, values)).encode()


def _each(seats: Seats, values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variables of each party in turn."""
    for party, (address, port) in enumerate(zip(seats.addresses, seats.ports, strict=True)):
        yield {**values, "party": str(party), "address": address, "port": str(port)}


def _fill(template: str, values: Mapping[str, str], place: re.Pattern[str] = _VARIABLE) -> str:
    """Replace every {variable}, once: what is filled in is not looked at again."""
    return place.sub(lambda match: values[match[1]], template)
