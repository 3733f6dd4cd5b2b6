"""The transcripts that this profile has kept: whom it computed with."""

from __future__ import annotations

import json
from pathlib import Path

from agent.errors import UsageMistake


def last_others(folder: Path, me: str) -> tuple[str, ...]:
    """The other parties of the session of `me` that was written down last.

    Raises: UsageMistake, if there was none.
    """
    kept = sorted((folder / "transcripts").glob("*.json"), key=lambda path: -path.stat().st_mtime)
    for path in kept:
        try:
            parties = json.loads(path.read_bytes())["descriptor"]["parties"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # moved away, or not ours
        if isinstance(parties, list) and me in parties:
            return tuple(str(did) for did in parties if did != me)
    raise UsageMistake(
        "there is no session to repeat: you have computed with nobody yet",
        "agent host PROGRAM --seats N",
    )
