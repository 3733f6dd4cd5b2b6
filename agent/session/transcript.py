"""The record of a session that every party keeps, and its verification without a network.

A transcript holds the descriptor and the statements that its parties signed: no inputs, no
results, no addresses outside the mesh. Equal sessions give equal records; what a party never said
is simply not in there, and `verify` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.session.descriptor import alike, check_roster, descriptor_id
from agent.session.statements import FalseStatement, Kind, Statement, verify
from identity.document import DidDocument

VERSION = 1
MAX_TRANSCRIPT = 4 * 1024 * 1024  # bytes; 64 parties with long DIDs need a tenth of it


class NotATranscript(ValueError):
    """This file is not a transcript, or not one that anybody could have signed."""


@dataclass(frozen=True)
class PartyRecord:
    """What the transcript proves about one party."""

    did: str
    agreed: bool
    ready: bool
    result: str | None  # SHA-256 of its result, hex
    aborted: str | None  # its reason


@dataclass(frozen=True)
class Verdict:
    """What a transcript proves: each party's record, and whether the session is complete."""

    session: str
    program: str
    program_sha256: str
    parties: tuple[PartyRecord, ...]
    alike: tuple[tuple[int, ...], ...]  # ranks of those who learn the same, group by group
    false_statements: int
    two_faced: tuple[int, ...] = ()  # ranks that signed more than one result

    @property
    def complete(self) -> bool:
        """Everybody agreed, was ready and signed a result, and nothing here is forged.

        Those who learn the same signed the same.
        """
        return (
            self.false_statements == 0
            and not self.two_faced
            and all(party.agreed and party.ready and not party.aborted for party in self.parties)
            and not self._differ()
            and all(party.result for party in self.parties)
        )

    def _differ(self) -> bool:
        """Whether two that learn the same signed different results."""
        results = [{self.parties[rank].result for rank in group} for group in self.alike]
        return any(len(signed - {None}) > 1 for signed in results)

    def summary(self) -> str:
        """One sentence for a person."""
        if self.false_statements:
            return f"forged: {self.false_statements} statements do not verify"
        if self.two_faced:
            return f"party{self.two_faced[0]} signed different results"
        if self.complete:
            whom = "the same result" if len(self.alike) == 1 else "the result of its role"
            return f"complete: every party agreed, was ready and signed {whom}"
        if self._differ():
            return "the parties signed different results"
        for rank, party in enumerate(self.parties):
            if party.aborted:
                return f"stopped: party{rank} said: {party.aborted}"
        return "incomplete: some statements are missing"


def to_json(descriptor: Mapping[str, Any], statements: Sequence[Statement]) -> dict[str, Any]:
    return {
        "didmesh_transcript": VERSION,
        "session": descriptor_id(descriptor),
        "descriptor": dict(descriptor),
        "statements": [statement.text for statement in statements],
    }


def roster_of(transcript: Any) -> tuple[str, ...]:
    """The DIDs whose documents `check` needs, in order of rank.

    Raises: NotATranscript.
    """
    try:
        if transcript["didmesh_transcript"] != VERSION:
            raise NotATranscript("a transcript of another version")
        parties = tuple(transcript["descriptor"]["parties"])
        if not all(isinstance(did, str) for did in parties):
            raise NotATranscript("its parties are not DIDs")
        check_roster(parties)
        return parties
    except (KeyError, TypeError, ValueError) as error:
        raise NotATranscript(str(error)) from error


def check(transcript: Any, documents: Mapping[str, DidDocument]) -> Verdict:
    """What this transcript proves, given its parties' documents.

    Raises: NotATranscript, if its form is wrong or its name is not its descriptor's hash.
    """
    parties = roster_of(transcript)
    try:
        descriptor, texts = transcript["descriptor"], transcript["statements"]
        session = descriptor_id(descriptor)
        program = descriptor["program"]
        roles = [str(role) for role in descriptor["roles"]]
        groups = alike(roles, {str(k): str(v) for k, v in descriptor["outputs"].items()})
        if len(roles) != len(parties):
            raise NotATranscript("its roles are not those of its parties")
        name, sha256 = str(program["name"]), str(program["sha256"])
        if transcript["session"] != session:
            raise NotATranscript("the session's name is not the hash of its descriptor")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise NotATranscript("its statements are not texts")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotATranscript(str(error)) from error
    by_rank = {rank: documents[did] for rank, did in enumerate(parties)}
    said, false = _verified(texts, session, by_rank)
    newest = {(statement.rank, statement.kind): statement for statement in said}
    records = tuple(_record(rank, did, newest) for rank, did in enumerate(parties))
    return Verdict(session, name, sha256, records, groups, false, _two_faced(said))


def _verified(
    texts: Sequence[str], session: str, documents: Mapping[int, DidDocument]
) -> tuple[list[Statement], int]:
    said: list[Statement] = []
    false = 0
    for text in texts:
        try:
            statement = verify(text, documents)
        except FalseStatement:
            false += 1
            continue
        if statement.session != session:
            false += 1
        else:
            said.append(statement)
    return said, false


def _two_faced(said: Sequence[Statement]) -> tuple[int, ...]:
    """Who told different parties different results: what they kept, put together, shows it."""
    results: dict[int, set[str]] = {}
    for statement in said:
        if statement.kind is Kind.RESULT:
            results.setdefault(statement.rank, set()).add(str(statement.facts.get("sha256")))
    return tuple(sorted(rank for rank, hashes in results.items() if len(hashes) > 1))


def _record(rank: int, did: str, said: Mapping[tuple[int, Kind], Statement]) -> PartyRecord:
    result = said.get((rank, Kind.RESULT))
    abort = said.get((rank, Kind.ABORT))
    return PartyRecord(
        did,
        agreed=(rank, Kind.AGREE) in said,
        ready=(rank, Kind.READY) in said,
        result=str(result.facts.get("sha256")) if result else None,
        aborted=str(abort.facts.get("reason", "no reason given")) if abort else None,
    )
