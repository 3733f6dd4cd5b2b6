"""A TOML table read field by field, with an error for each that is not as it must be."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_T = TypeVar("_T")
_Choice = TypeVar("_Choice", bound=StrEnum)


class ManifestError(Exception):
    """The manifest cannot be used; tell the person who wrote it which field of which file."""

    def __init__(self, file: str, field: str, problem: str) -> None:
        self.file, self.field = file, field
        super().__init__(f"{file}: {field}: {problem}" if field else f"{file}: {problem}")


class Table:
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

    def any_text(self, field: str) -> str:
        value = self._take(field, str, "a text")
        if len(value) > 10_000:
            raise self.error(field, "must have at most 10000 characters")
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

    def texts(self, field: str, most: int) -> tuple[str, ...]:
        """A list of texts; empty if the field is not there."""
        value: list[object] = self._take(field, list, "a list of texts", [])
        texts = tuple(text for text in value if isinstance(text, str) and _is_word(text))
        if len(texts) < len(value) or len(texts) > most:
            raise self.error(field, f"must be a list of at most {most} printable texts")
        return texts

    def word_groups(self, field: str) -> tuple[str | tuple[str, ...], ...]:
        """A list of texts and of lists of texts."""
        value: list[object] = self._take(field, list, "a list of texts", [])
        groups: list[str | tuple[str, ...]] = []
        for one in value:
            words = one if isinstance(one, list) else [one]
            texts = tuple(word for word in words if isinstance(word, str) and _is_word(word))
            if not texts or len(texts) < len(words):
                raise self.error(field, "must be a list of texts and of lists of texts")
            groups.append(texts if isinstance(one, list) else texts[0])
        if not groups or isinstance(groups[0], tuple) or len(groups) > 200:
            raise self.error(field, "must start with a program, and have at most 200 words")
        return tuple(groups)

    def variables(self, field: str) -> dict[str, str]:
        value: dict[str, object] = self._take(field, dict, "a table of texts", {})
        texts = {name: text for name, text in value.items() if isinstance(text, str)}
        named = all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in value)
        if len(texts) < len(value) or not named or not all(map(_is_word, texts.values())):
            raise self.error(field, "must be a table of printable texts with plain names")
        return texts

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

    def table(self, field: str, default: dict[str, object] | None = None) -> "Table":
        fields: dict[str, object] = self._take(field, dict, "a table", default)
        return Table(fields, self._file, f"{self._path}{field}.")

    def tables(self, field: str) -> "list[Table]":
        tables: list[object] = self._take(field, list, "a list of tables", [])
        if not all(isinstance(table, Mapping) for table in tables) or len(tables) > 32:
            raise self.error(field, "must be a list of at most 32 tables")
        return [
            Table(table, self._file, f"{self._path}{field}[{number}].")
            for number, table in enumerate(tables)
            if isinstance(table, Mapping)
        ]

    def nothing_else(self) -> None:
        for field in self._fields:
            raise self.error(field, "is not a field of a manifest")


def _is_word(text: str) -> bool:
    return text.isprintable() and len(text) <= 1000
