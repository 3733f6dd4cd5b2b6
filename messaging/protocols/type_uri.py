"""Message types by what they mean: names without case and punctuation, versions by their major.

Source: DIDComm Messaging v2.1, "Message Type URI" and "Semver Rules".
"""

import re
from collections.abc import Iterable

MAX_TYPE = 256  # characters of a type that is looked at
_TYPE = re.compile(r"(.*?)([A-Za-z0-9._-]+)/(\d{1,4})\.\d{1,4}/([A-Za-z0-9._-]+)", re.ASCII)


class KnownTypes:
    """Finds the type that we know for one that means the same, in a newer minor version perhaps."""

    def __init__(self, types: Iterable[str]) -> None:
        self._types = {type_: type_ for type_ in types}
        self._by_meaning = {_meaning(type_): type_ for type_ in sorted(self._types)}
        self._by_meaning.pop(None, None)

    def known(self, type_: str) -> str | None:
        found = self._types.get(type_)
        return found if found is not None else self._by_meaning.get(_meaning(type_))


def _meaning(type_: str) -> tuple[str, str, str, str] | None:
    match = _TYPE.fullmatch(type_) if len(type_) <= MAX_TYPE else None
    if match is None:
        return None
    return match[1], _plain(match[2]), match[3].lstrip("0") or "0", _plain(match[4])


def _plain(name: str) -> str:
    return re.sub("[._-]", "", name).lower()
