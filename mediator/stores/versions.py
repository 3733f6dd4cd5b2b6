"""The schema of a store, as numbered files: `migrations/KIND/N.sql` leads from N-1 to N."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def migrations(kind: str) -> tuple[str, ...]:
    """The scripts in their order; the schema of today has their number."""
    folder = files("mediator.stores").joinpath("migrations", kind)
    numbered = {int(file.name.removesuffix(".sql")): file for file in folder.iterdir()}
    return tuple(numbered[n].read_text(encoding="utf-8") for n in range(1, len(numbered) + 1))
