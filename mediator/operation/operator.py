"""Commands that look at a mediator's store and change it, whether the mediator runs or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from mediator.settings.loading import load
from mediator.settings.places import Place
from mediator.stores.administration import Administration
from mediator.stores.opening import open_administration

_T = TypeVar("_T")


def administer(place: Place, work: Callable[[Administration], Awaitable[_T]]) -> _T:
    """What `work` gives. Raises: DataFileError, DatabaseError."""

    async def run() -> _T:
        async with open_administration(place) as store:
            return await work(store)

    become_owner(place)
    return asyncio.run(run())


def place_of(file: Path | None, flags: dict[str, Any]) -> Place:
    """Raises: ConfigError."""
    return load(file, flags).data


def become_owner(place: Place) -> None:
    """Root becomes whoever owns the file: files beside it must stay the mediator's own."""
    if os.geteuid() != 0 or not isinstance(place, Path) or not place.exists():
        return
    owner = place.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def age(seconds: float) -> str:
    """In the largest unit that says something."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def size(number: int) -> str:
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number} B"
