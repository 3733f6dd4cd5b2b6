"""What differs between two versions of a program, for a person who approved the older one."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from agent.launch.program import Program

MAX_LINES: Final = 400
"""Of all changed files together; whoever hides a change in a longer text is told as "more"."""
_MAX_COMPARED: Final = 4000  # lines of a file; comparing costs the square of it
_MAX_WIDTH: Final = 300  # characters of a line


@dataclass(frozen=True)
class Difference:
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    lines: tuple[str, ...]
    """A unified difference of all changed and new text files."""
    more: bool
    """Whether there was more than is shown."""


def difference(old: Program, new: Program) -> Difference:
    names = sorted({*old.files, *new.files})
    touched = [name for name in names if old.files.get(name) != new.files.get(name)]
    shown = list(islice(_lines(old, new, touched), MAX_LINES + 1))
    return Difference(
        added=tuple(name for name in touched if name not in old.files),
        removed=tuple(name for name in touched if name not in new.files),
        changed=tuple(name for name in touched if name in old.files and name in new.files),
        lines=tuple(shown[:MAX_LINES]),
        more=len(shown) > MAX_LINES,
    )


def _lines(old: Program, new: Program, touched: list[str]) -> Iterator[str]:
    for name in touched:
        before, after = _text(old.files.get(name, b"")), _text(new.files.get(name, b""))
        if before is None or after is None:
            yield f"{name}: not text, or too long to compare"
            continue
        for line in difflib.unified_diff(before, after, f"old/{name}", f"new/{name}", lineterm=""):
            yield line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]}…"


def _text(content: bytes) -> list[str] | None:
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    return lines if len(lines) <= _MAX_COMPARED else None
