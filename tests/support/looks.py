"""A page as it looks: on a phone and on a desk, in light and dark, to everybody.

With DIDMESH_PICTURES=FOLDER what was looked at is kept there, for whoever wants to look, too.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.axe import faults
from tests.support.browser import Tab

SIZES = {"phone": (390, 844), "wide": (1280, 900)}
PICTURES = os.environ.get("DIDMESH_PICTURES")


async def check(browser: Tab, name: str) -> None:
    """Nothing sticks out at any size, and nothing shuts anybody out."""
    async for look in every_look(browser):
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert await browser.evaluate(fits), (name, look)
        assert await faults(browser) == [], (name, look)
        await keep(browser, f"{name}-{look}")


async def picture(browser: Tab, name: str) -> None:
    if PICTURES is not None:
        async for look in every_look(browser):
            await keep(browser, f"{name}-{look}")


async def every_look(browser: Tab) -> AsyncIterator[str]:
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            await browser.look(width, height, dark=scheme == "dark", phone=size == "phone")
            yield f"{size}-{scheme}"


async def keep(browser: Tab, name: str) -> None:
    if PICTURES is not None:
        await browser.picture(Path(PICTURES) / f"{name}.png")
