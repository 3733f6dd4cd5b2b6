"""The README's walk-through as data: what three people do, counted, and played by the tests.

    python -m lab.walkthrough

In its indented lines "alice$ words" is a command, "alice: words" something that a person does; with
several names before the colon each of them does it.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
PARTS = ("first time", "same people again", "clean-up")
_COMMAND = re.compile(r" {4}(\w+)\$ +(.+)")
_DEED = re.compile(r" {4}([\w, ]+): (.+)")


@dataclass(frozen=True)
class Action:
    """One thing that one person does; `words` are the command's, none for a deed."""

    who: str
    text: str
    words: tuple[str, ...]


def walkthrough(text: str) -> Mapping[str, Sequence[Action]]:
    """The actions of each part, which a line in bold begins. Raises: ValueError."""
    parts: dict[str, list[Action]] = {}
    for line in text.splitlines():
        if title := re.match(r"\*\*(.+?)[.:]?\*\*", line):
            name = title[1].lower()
            parts |= {name: []} if name in PARTS else {}
        elif parts and line.startswith("## "):
            break
        elif parts:
            next(reversed(parts.values())).extend(_actions(line))
    if tuple(parts) != PARTS:
        raise ValueError(f"the walk-through has {', '.join(parts) or 'no part'}")
    return parts


def _actions(line: str) -> Iterator[Action]:
    if command := _COMMAND.fullmatch(line):
        yield Action(command[1], command[2], tuple(shlex.split(command[2], comments=True)))
    elif deed := _DEED.fullmatch(line):
        for who in deed[1].split(", "):
            yield Action(who, deed[2], ())


def main() -> None:
    for name, actions in walkthrough(README.read_text()).items():
        print(f"{name}: {len(actions)} actions")
        for action in actions:
            print(f"    {action.who:<6} {action.text}")


if __name__ == "__main__":
    main()
