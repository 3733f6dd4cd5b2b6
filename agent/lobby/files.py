"""Lobbies on the disk, so that everybody may go away and come back.

    $DIDMESH_HOME/lobbies/<profile>-<lobby>.json      0600: it holds the token of the link

Written whole, by rename, before anything that depends on it is sent or acknowledged.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class LobbyFile:
    def __init__(self, home: Path, profile: str, lobby: str) -> None:
        self._path = home / "lobbies" / f"{profile}-{lobby}.json"
        self._written = ""

    def write(self, state: Mapping[str, Any]) -> None:
        text = json.dumps(state)
        if text == self._written:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._written = text

    def read(self) -> dict[str, Any] | None:
        """What was written, or None; a damaged file counts as none."""
        try:
            value = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def newest_hosted(home: Path, profile: str) -> str | None:
    """The id of the lobby that this profile hosted last and has not ended, if there is one."""
    found = sorted(
        (home / "lobbies").glob(f"{profile}-*.json"), key=lambda path: path.stat().st_mtime
    )
    for path in reversed(found):
        lobby = path.stem.removeprefix(f"{profile}-")
        kept = LobbyFile(home, profile, lobby).read()
        if kept is not None and "terms" in kept:
            return lobby
    return None
