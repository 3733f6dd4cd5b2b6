"""The people we know: our own names for DIDs, whether we checked them, and what became of them.

    $DIDMESH_HOME/contacts.json
    {"contacts": {"bob": {"did": "did:…", "verified": true, "former": ["did:…"]}},
     "met": [{"did": "did:…", "called": "what it calls itself"}]}

A petname is ours: nobody else can choose it. What parties call themselves is shown in quotes. A
contact that moves to a new DID, signed with its old one (`from_prior`), stays who it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.errors import AgentError, UsageMistake
from identity.did import parse_did, shorten
from messaging.rotation import PriorDid

MAX_MET = 100  # of the parties we met and did not name
MAX_FORMER = 16
_NAME = re.compile(r"[\w][\w .-]{0,39}")
_LEAST_PART = 6  # characters of a DID that may name it


@dataclass(frozen=True)
class Contact:
    name: str
    did: str
    verified: bool = False
    former: tuple[str, ...] = ()  # the DIDs it had before, newest last


@dataclass(frozen=True)
class Met:
    """Somebody who was in a lobby or a session with us and has no name of ours."""

    did: str
    called: str


@dataclass(frozen=True)
class _Book:
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    met: tuple[Met, ...] = ()


class Contacts:
    """The file of all contacts; every change is whole on the disk before a method returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "contacts.json"

    def all(self) -> tuple[Contact, ...]:
        return tuple(sorted(self._read().contacts.values(), key=lambda one: one.name))

    def met(self) -> tuple[Met, ...]:
        """Those without a name, the newest last."""
        return self._read().met

    def of(self, did: str) -> Contact | None:
        return next((one for one in self._read().contacts.values() if one.did == did), None)

    def knows(self, did: str) -> bool:
        """Whether this is a contact, or somebody that we computed with and gave no name."""
        return self.of(did) is not None or any(one.did == did for one in self.met())

    def named(self, name: str) -> Contact:
        """Raises: UsageMistake."""
        contact = self._read().contacts.get(name)
        if contact is None:
            raise UsageMistake(f"you have no contact {name!r}", "agent contacts list")
        return contact

    def did(self, word: str) -> str:
        """The DID that a person means by a petname or by the DID itself. Raises: UsageMistake."""
        if word.startswith("did:"):
            parse_did(word)
            return word
        return self.named(word).did

    def name(self, word: str, name: str) -> Contact:
        """Give a name to a DID, or to one that we met, by a part of its DID.

        Raises: UsageMistake.
        """
        if not _NAME.fullmatch(name) or name.startswith("did:"):
            raise UsageMistake("a name has up to 40 letters, digits, spaces, dots and dashes")
        with self._changing() as book:
            did = _meant(book, word)
            taken = book.contacts.get(name)
            if taken is not None and taken.did != did:
                raise UsageMistake(
                    f"{name!r} is {shorten(taken.did)} already", f"agent contacts rm {name!r}"
                )
            known = next((one for one in book.contacts.values() if one.did == did), None)
            contact = Contact(name, did) if known is None else replace(known, name=name)
            kept = {key: one for key, one in book.contacts.items() if one.did != did}
            met = tuple(one for one in book.met if one.did != did)
            self._write(_Book({**kept, name: contact}, met))
            return contact

    def verify(self, name: str) -> None:
        """Remember that we have checked whose DID this is. Raises: UsageMistake."""
        with self._changing() as book:
            contact = replace(self.named(name), verified=True)
            self._write(replace(book, contacts={**book.contacts, name: contact}))

    def remove(self, name: str) -> None:
        """Raises: UsageMistake."""
        self.named(name)
        with self._changing() as book:
            kept = {key: one for key, one in book.contacts.items() if key != name}
            self._write(replace(book, contacts=kept))

    def meet(self, parties: Mapping[str, str]) -> None:
        """Remember whom we computed with, by DID with what each calls itself."""
        with self._changing() as book:
            known = {one.did for one in book.contacts.values()}
            new = [Met(did, called) for did, called in parties.items() if did not in known]
            kept = [one for one in book.met if one.did not in parties]
            self._write(replace(book, met=(*kept, *new)[-MAX_MET:]))

    def rotated(self, prior: PriorDid) -> Contact | None:
        """Follow a contact to its new DID; `prior` is verified. None for everybody else.

        Whom we met and did not name is followed as well.
        """
        with self._changing() as book:
            by_did = {one.did: one for one in book.contacts.values()}
            known = by_did.get(prior.old)
            if prior.new in by_did:
                return None
            if known is None:
                self._move_met(book, prior)
                return None
            former = (*known.former, prior.old)[-MAX_FORMER:]
            moved = replace(known, did=prior.new, former=former)
            met = tuple(one for one in book.met if one.did != prior.new)
            self._write(_Book({**book.contacts, known.name: moved}, met))
            return moved

    def _move_met(self, book: _Book, prior: PriorDid) -> None:
        met = {one.did: one for one in book.met}
        if prior.old in met and prior.new not in met:
            moved = [
                replace(one, did=prior.new) if one.did == prior.old else one for one in book.met
            ]
            self._write(replace(book, met=tuple(moved)))

    def _read(self) -> _Book:
        try:
            return _from_json(json.loads(self._path.read_bytes()))
        except (FileNotFoundError, PermissionError):  # nobody, or nobody that this user knows
            return _Book()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AgentError(f"{self._path} is damaged", "move it away, or mend it") from error

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Book]:
        """Alone among all processes of this person."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read()
        finally:
            os.close(lock)

    def _write(self, book: _Book) -> None:
        value = {
            "contacts": {
                one.name: {"did": one.did, "verified": one.verified, "former": list(one.former)}
                for one in book.contacts.values()
            },
            "met": [asdict(one) for one in book.met],
        }
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def following(contacts: Contacts, tell: Callable[[str], None]) -> Callable[[PriorDid], None]:
    """For a mailbox: contacts are followed to their new DIDs, and their owner hears of it."""

    def follow(prior: PriorDid) -> None:
        try:
            moved = contacts.rotated(prior)
        except AgentError as error:
            tell(str(error))
            return
        if moved is not None:
            tell(f"{moved.name} has a new DID, signed with the old one")

    return follow


def pair_id(one: str, other: str) -> str:
    """What two parties have in common and nobody else: for a phrase that both can read aloud."""
    return hashlib.sha256("\n".join(sorted((one, other))).encode()).hexdigest()


def _meant(book: _Book, word: str) -> str:
    if word.startswith("did:"):
        parse_did(word)
        return word
    dids = {one.did for one in book.met} | {one.did for one in book.contacts.values()}
    found = [did for did in dids if len(word) >= _LEAST_PART and word in did]
    if len(found) != 1:
        raise UsageMistake(
            f"{shorten(word)!r} is not a DID, nor a part of just one that you met",
            "agent contacts list",
        )
    return found[0]


def _from_json(value: Mapping[str, Any]) -> _Book:
    contacts = {
        str(name): Contact(
            str(name), str(one["did"]), one["verified"] is True, tuple(map(str, one["former"]))
        )
        for name, one in value["contacts"].items()
    }
    return _Book(contacts, tuple(Met(str(one["did"]), str(one["called"])) for one in value["met"]))
