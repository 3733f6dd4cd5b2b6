"""`agent ping` in a running session: how a party answers through the mesh, and by which path.

The agents of a session ask each other twice a second anyway; what is shown is their answers.
JSON, version 1:

    {"version": 1, "did": "did:…", "session": "…", "direct": false, "why": "…",
     "replies": [{"rtt_ms": 12.3, "kind": "relay", "endpoint": "198.51.100.10:41000"}]}
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Exit, TookTooLong
from agent.running import RunningSession, running_sessions
from agent.watching import looks
from identity.did import shorten

VERSION = 1
AGE = 1.5  # seconds; an answer from before we looked is one if it is no older


class OnlyRelayed(AgentError):
    """It answers, and no direct path was found meanwhile."""

    exit_code = Exit.RELAYED


@dataclass(frozen=True)
class Reply:
    rtt_ms: float
    kind: str
    endpoint: str

    def line(self, did: str, number: int) -> str:
        return f"{shorten(did)}: ping {number}: {self.rtt_ms} ms by {self.kind} {self.endpoint}"


@dataclass
class MeshPing:
    """The answers of one party in one session, up to the first that comes directly."""

    folder: Path
    session: str
    did: str
    replies: list[Reply] = field(default_factory=list)
    why: str | None = None
    ended: bool = False

    @property
    def direct(self) -> bool:
        return bool(self.replies) and self.replies[-1].kind == "direct"

    def answers(self, count: int, seconds: float) -> Iterator[Reply]:
        """Each as it comes; ends with the first direct one, after `count` or `seconds` without."""
        known = time.time() - AGE
        while len(self.replies) < count and not self.direct and not self.ended:
            path = self._newer(known, seconds)
            if path is None:
                return
            known = float(path["answered"])
            reply = Reply(path["mesh_rtt_ms"], str(path["kind"]), str(path.get("endpoint", "")))
            self.replies.append(reply)
            yield reply

    def _newer(self, known: float, seconds: float) -> dict[str, Any] | None:
        for sessions in looks(self.folder, seconds):
            path = self._path(sessions)
            if self.ended:
                return None
            if float(path.get("answered", 0.0)) > known:
                return path
        return None

    def _path(self, sessions: list[RunningSession]) -> dict[str, Any]:
        found = [one for one in sessions if one.session == self.session]
        self.ended = not found
        path = dict(found[0].paths.get(self.did, {})) if found else {}
        self.why = path.get("why", self.why)
        return path

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "did": self.did,
            "session": self.session,
            "direct": self.direct,
            "why": None if self.direct else self.why,
            "replies": [vars(reply) for reply in self.replies],
        }

    def check(self) -> None:
        """Raises: TookTooLong, OnlyRelayed; AgentError, if the session ended first."""
        if self.direct:
            return
        name, reason = shorten(self.did), self.why or "the session does not say why"
        if self.ended:
            raise AgentError(f"the session with {name} has ended")
        if not self.replies:
            raise TookTooLong(f"{name} does not answer through the mesh", reason)
        raise OnlyRelayed(f"{name} answers, but not by a direct path", reason)


def session_with(folder: Path, did: str) -> str | None:
    """The session on this machine that this party is in, if one runs."""
    found = [one.session for one in running_sessions(folder) if did in one.paths]
    return found[0] if found else None
