"""What this person has allowed to run: programs by their hash, and sessions by hash and parties.

    $DIDMESH_HOME/consents.json
    {"programs": {"<sha256>": {"name": "sum", "approved": 1900000000}},
     "standing": [{"sha256": "<sha256>", "parties": ["did:…", …], "until": 1900086400}]}

Never by author, and never by name: a new version is a new program. A **standing** consent lets
exactly these parties run exactly this program again until then without asking; taking back the
program's approval ends it too.
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.errors import AgentError


@dataclass(frozen=True)
class Approval:
    sha256: str
    name: str
    approved: int  # Unix seconds


@dataclass(frozen=True)
class Standing:
    """These parties, ourselves among them, may run this program until then (Unix seconds)."""

    sha256: str
    parties: frozenset[str]
    until: int


@dataclass(frozen=True)
class _Record:
    approvals: Mapping[str, Approval]
    standing: tuple[Standing, ...]


class Consents:
    """The file of all consents; every change is whole on the disk before a method returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "consents.json"

    def is_approved(self, sha256: str) -> bool:
        return sha256 in self._read().approvals

    def approvals(self) -> tuple[Approval, ...]:
        """The oldest first."""
        return tuple(sorted(self._read().approvals.values(), key=lambda one: one.approved))

    def approve(self, sha256: str, name: str, now: float) -> None:
        with self._changing() as record:
            approval = Approval(sha256, name, int(now))
            self._write(replace(record, approvals={**record.approvals, sha256: approval}))

    def withdraw(self, sha256: str) -> None:
        """Take the approval back, and every standing consent for the program."""
        with self._changing() as record:
            kept = {key: value for key, value in record.approvals.items() if key != sha256}
            standing = tuple(one for one in record.standing if one.sha256 != sha256)
            self._write(_Record(kept, standing))

    def standing(self, now: float) -> tuple[Standing, ...]:
        """Those that still hold."""
        return tuple(one for one in self._read().standing if one.until > now)

    def allow(self, sha256: str, parties: Iterable[str], until: float, now: float) -> None:
        """Let exactly these parties run this program until then without asking again."""
        new = Standing(sha256, frozenset(parties), int(until))
        with self._changing() as record:
            kept = [
                one
                for one in record.standing
                if one.until > now and (one.sha256, one.parties) != (new.sha256, new.parties)
            ]
            self._write(replace(record, standing=(*kept, new)))

    def revoke(self, sha256: str, parties: Collection[str], now: float) -> bool:
        """Ask again before this group runs this program, or any group, if `parties` is empty.

        Whether anything was allowed that now is not.
        """
        with self._changing() as record:
            holding = [one for one in record.standing if one.until > now]
            kept = tuple(
                one
                for one in holding
                if one.sha256 != sha256 or (parties and one.parties != frozenset(parties))
            )
            self._write(replace(record, standing=kept))
            return len(kept) < len(holding)

    def allows(self, sha256: str, parties: Iterable[str], now: float) -> bool:
        """Whether nobody needs to be asked: same program, same parties, not yet over."""
        group = frozenset(parties)
        return any(
            one.sha256 == sha256 and one.parties == group and now < one.until
            for one in self._read().standing
        )

    def _read(self) -> _Record:
        try:
            return _from_json(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return _Record({}, ())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AgentError(
                f"{self._path} is damaged", "move it away; programs then want approval again"
            ) from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Record]:
        """Alone among all processes of this person."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def _write(self, record: _Record) -> None:
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(_to_json(record), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _to_json(record: _Record) -> dict[str, Any]:
    return {
        "programs": {
            one.sha256: {"name": one.name, "approved": one.approved}
            for one in record.approvals.values()
        },
        "standing": [
            {"sha256": one.sha256, "parties": sorted(one.parties), "until": one.until}
            for one in record.standing
        ],
    }


def _from_json(value: Mapping[str, Any]) -> _Record:
    approvals = {
        sha256: Approval(sha256, str(one["name"]), int(one["approved"]))
        for sha256, one in value["programs"].items()
    }
    standing = tuple(
        Standing(str(one["sha256"]), frozenset(map(str, one["parties"])), int(one["until"]))
        for one in value["standing"]
    )
    return _Record(approvals, standing)
