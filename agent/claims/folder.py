"""Vouches that others gave us, on the disk until somebody removes the file.

$DIDMESH_HOME/claims/<profile>/<16 hex digits of its SHA-256>.vouch      0600
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.claims import vouch
from agent.claims.evidence import Unproven
from agent.errors import UsageMistake
from messaging.protocols.lobby import MAX_CLAIM, VouchRequired

MAX_KEPT = 256  # files that are looked at


class ClaimFolder:
    def __init__(self, home: Path, profile: str) -> None:
        self.path = home / "claims" / profile

    def keep(self, token: str) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path / f"{hashlib.sha256(token.encode()).hexdigest()[:16]}.vouch"
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
        new.replace(path)

    def find(self, required: VouchRequired, party: str, now: float) -> str | None:
        """The vouch for this party that lasts longest, of one whose word counts."""
        return longest(list(self._tokens()), required, party, now)

    def _tokens(self) -> Iterator[str]:
        for path in sorted(self.path.glob("*.vouch"))[:MAX_KEPT]:
            with contextlib.suppress(OSError, ValueError), path.open() as file:
                yield file.read(MAX_CLAIM + 1).strip()


def longest(tokens: Sequence[str], required: VouchRequired, party: str, now: float) -> str | None:
    """The one of these that lasts longest; what is no vouch, or not for this, does not count."""
    found: list[tuple[float, str]] = []
    for token in tokens:
        with contextlib.suppress(Unproven):
            said = vouch.read(token)
            if said.issuer in required.issuers and said.subject == party and said.until > now:
                found.append((said.until, token))
    return max(found, default=(0.0, None))[1]


def read_given(word: str) -> str:
    """The vouch in a file that a person names, or on standard input for `-`.

    Raises: UsageMistake, OSError.
    """
    with contextlib.ExitStack() as stack:
        file = sys.stdin if word == "-" else stack.enter_context(Path(word).open())
        try:
            token = file.read(MAX_CLAIM + 2).strip()
            vouch.read(token)
        except (Unproven, ValueError) as error:
            raise UsageMistake(f"{word}: this is not a vouch", "agent vouch prints one") from error
    return token
