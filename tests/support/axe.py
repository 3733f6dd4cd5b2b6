"""axe-core, which says what on a page some people could not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Tab

SCRIPT = Path(__file__).parents[2] / ".interop/node/node_modules/axe-core/axe.min.js"
GRAVE = ("serious", "critical")


async def faults(browser: Tab) -> list[dict[str, Any]]:
    """What is serious or critical now."""
    if not SCRIPT.exists():
        pytest.skip("no axe-core: scripts/interop node")
    await browser.evaluate(SCRIPT.read_text() + ";undefined")
    told = await browser.evaluate(
        "axe.run().then(({violations}) => violations.map(v =>"
        " ({id: v.id, impact: v.impact, where: v.nodes.map(n => n.html).slice(0, 3)})))"
    )
    assert isinstance(told, list)
    return [one for one in told if one["impact"] in GRAVE]
