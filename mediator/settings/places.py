"""Where a mediator keeps what it knows: a file of its own, or a database that several share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SCHEMES = ("postgres://", "postgresql://")


@dataclass(frozen=True)
class PostgresUrl:
    """As libpq writes it; shown without its password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        where = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{where}{parts.path}"


Place = Path | PostgresUrl


def parse_place(text: str | Path) -> Place:
    return PostgresUrl(str(text)) if str(text).startswith(SCHEMES) else Path(text)
