"""The little XML that routers speak, read without believing in it.

A document type declaration (and so every entity beyond the five) ends the reading; size, depth and
the number of elements are limited. What comes out is a flat list, which nothing can be deep in.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

MAX_SIZE = 64 * 1024
MAX_DEPTH = 32
MAX_ELEMENTS = 2000


class BadXml(ValueError):
    """Not XML, or more of it than a router has to say."""


@dataclass(frozen=True)
class Element:
    """`path` has the local names from the root down, `text` is stripped."""

    path: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        return self.path[-1]


def elements(data: bytes) -> list[Element]:
    """Every element without its namespace, in the order in which they end.

    Raises: BadXml, for any other input whatsoever.
    """
    if len(data) > MAX_SIZE:
        raise BadXml(f"more than {MAX_SIZE} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadXml(str(error)) from error
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self.found: list[Element] = []
        self._path: list[str] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse(self, *_: object) -> None:
        raise BadXml("it declares a document type")

    def _start(self, name: str, _: object) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise BadXml("too many elements, or too deep")
        self._path.append(name.rpartition(" ")[2])
        self._texts.append([])

    def _end(self, _: str) -> None:
        text = "".join(self._texts.pop()).strip()
        self.found.append(Element(tuple(self._path), text))
        self._path.pop()

    def _text(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)
