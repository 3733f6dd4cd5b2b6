"""The transcripts that this profile has kept: whom it computed with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import UsageMistake


def last_session(folder: Path, me: str) -> Mapping[str, Any] | None:
    """The descriptor of the session of `me` that was written down last, if there was one."""
    kept = sorted((folder / "transcripts").glob("*.json"), key=lambda path: -path.stat().st_mtime)
    for path in kept:
        try:
            descriptor = json.loads(path.read_bytes())["descriptor"]
            parties = descriptor["parties"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # moved away, or not ours
        if isinstance(parties, list) and me in parties:
            found: Mapping[str, Any] = descriptor
            return found
    return None


def last_others(folder: Path, me: str) -> tuple[str, ...]:
    """The other parties of that session.

    Raises: UsageMistake, if there was none.
    """
    last = last_session(folder, me)
    if last is None:
        raise UsageMistake(
            "there is no session to repeat: you have computed with nobody yet",
            "agent host PROGRAM --seats N",
        )
    return tuple(str(did) for did in last["parties"] if did != me)
