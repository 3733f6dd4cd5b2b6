"""A party's private inputs: `name=value` on the command line, or `@file` with such lines.

No error repeats a value: what is wrong with a bid is told without telling the bid.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from agent.launch.manifest import PARTY, Input, Manifest

MAX_FILE: Final = 64 * 1024

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


class InputError(Exception):
    """An input is missing, unknown or out of range; tell the person."""


def read_inputs(manifest: Manifest, arguments: Sequence[str], role: str = PARTY) -> dict[str, int]:
    """The value of every input that this role gives, from arguments `name=value` and `@file`.

    A file holds one `name=value` a line; empty lines and lines that start with # are skipped.

    Raises: InputError.
    """
    return parse_inputs(manifest, _pairs(arguments), role)


def parse_inputs(manifest: Manifest, pairs: Iterable[str], role: str = PARTY) -> dict[str, int]:
    """Every input's value from texts `name=value`, each exactly once and in its range."""
    known: Mapping[str, Input] = {wanted.name: wanted for wanted in manifest.inputs_of(role)}
    values: dict[str, int] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals:
            raise InputError('an input is given as name=value or as @file, for example "bid=120"')
        if name not in known:
            takes = ", ".join(known) or "none"
            whom = manifest.name if role == PARTY else f"a {role} of {manifest.name}"
            raise InputError(f'"{name}" is not an input of {whom}; it takes: {takes}')
        if name in values:
            raise InputError(f'input "{name}" is given twice')
        values[name] = _value(known[name], text)
    for name, wanted in known.items():
        if name not in values:
            raise InputError(f'input "{name}" is missing; it must be {wanted.range}')
    return values


def _pairs(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if not argument.startswith("@"):
            yield argument
            continue
        for line in _read(Path(argument[1:])).splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield line


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        text = data.decode()
    except OSError as error:
        raise InputError(f"cannot read the input file {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"the input file {path} is not text") from error
    if len(data) > MAX_FILE:
        raise InputError(f"the input file {path} is larger than {MAX_FILE} bytes")
    return text


def _value(wanted: Input, text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text) or not wanted.min <= int(text) <= wanted.max:
        raise InputError(f'input "{wanted.name}" must be {wanted.range}')
    return int(text)
