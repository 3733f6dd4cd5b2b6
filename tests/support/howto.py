"""A page of docs/howto as it is to a stranger: lines to copy, with words to put in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "howto"
_LINE = re.compile(r"^ {4,}((?:sudo )?(?:agent|mediator) [a-z-].*)$", re.MULTILINE)
_SPAN = re.compile(r"`((?:agent|tar) [^`]+)`")
_FILE = re.compile(r"^`(\w+)/([\w.]+)`:\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)


class Page:
    def __init__(self, name: str, **words: str) -> None:
        """The words are replaced in every line; DID and the like, for each person, in `line`."""
        self.text = (FOLDER / f"{name}.md").read_text()
        self._words = words
        self._unplayed = list(dict.fromkeys(_LINE.findall(self.text)))

    def line(self, start: str, put: Mapping[str, Iterable[str]] | None = None) -> str:
        """The line that begins so, with these words, one by one, where the page has a name."""
        (found,) = [
            line for line in dict.fromkeys(_LINE.findall(self.text)) if line.startswith(start)
        ]
        if found in self._unplayed:
            self._unplayed.remove(found)
        return self._filled(found, put or {})

    def span(self, start: str, put: Mapping[str, Iterable[str]] | None = None) -> str:
        """The same for a command within a sentence."""
        (found, *_) = [span for span in _SPAN.findall(self.text) if span.startswith(start)]
        return self._filled(found, put or {})

    def unplayed(self) -> list[str]:
        """The lines that nobody has asked for."""
        return self._unplayed

    def write_files(self, below: Path) -> None:
        """Each file that the page shows, where it says."""
        for folder, name, lines in _FILE.findall(self.text):
            (below / folder).mkdir(exist_ok=True)
            content = re.sub("^ {4}", "", lines, flags=re.MULTILINE)
            (below / folder / name).write_text(content)

    def _filled(self, line: str, put: Mapping[str, Iterable[str]]) -> str:
        for name, words in put.items():
            each = iter(words)
            line = re.sub(rf"(?<![\w-]){re.escape(name)}(?!\w)", lambda _: next(each), line)  # noqa: B023
        for name, word in self._words.items():
            line = line.replace(name, word)
        return line
