"""The record of a session that every party keeps, and its verification without a network.

A transcript holds the descriptor and the statements that its parties signed: no inputs, no
results, no addresses outside the mesh. Equal sessions give equal records; what a party never said
is simply not in there, and `verify` says so. Where a lost party made everybody begin again, the
epochs before are in there as well, each with its own descriptor and statements.

Two honest parties' transcripts may differ in the last words of who was lost, and in the epochs
that a party does not remember; `merge` puts together what is of one session, and `differences`
names what is not in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from agent.session.descriptor import alike, check_roster, descriptor_id
from agent.session.statements import FalseStatement, Kind, Statement, verify
from identity.document import DidDocument

VERSION = 1
MAX_EPOCHS = 100
_OF_EACH_EPOCH = ("nonces", "deadline", "mesh", "epoch", "previous")  # the rest is the draft
MAX_TRANSCRIPT = 4 * 1024 * 1024  # bytes; 64 parties with long DIDs need a tenth of it


class NotATranscript(ValueError):
    """This file is not a transcript, or not one that anybody could have signed."""


@dataclass(frozen=True)
class Record:
    """What one epoch leaves."""

    descriptor: Mapping[str, Any]
    statements: Sequence[Statement]

    def to_json(self) -> dict[str, Any]:
        return {
            "session": descriptor_id(self.descriptor),
            "descriptor": dict(self.descriptor),
            "statements": [statement.text for statement in self.statements],
        }


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
    epoch: int = 0
    earlier: tuple[Verdict, ...] = ()  # of the epochs before, oldest first
    said: tuple[Statement, ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """Everybody agreed, was ready and signed a result, and nothing here is forged.

        Those who learn the same signed the same.
        """
        return (
            self.forged == 0
            and not self.two_faced
            and all(party.agreed and party.ready and not party.aborted for party in self.parties)
            and self._differ() is None
            and all(party.result for party in self.parties)
        )

    @property
    def forged(self) -> int:
        """How many statements do not verify, those of the epochs before included."""
        return self.false_statements + sum(epoch.forged for epoch in self.earlier)

    def _differ(self) -> tuple[int, int] | None:
        """The first two that learn the same and signed different results."""
        for group in self.alike:
            signed = [rank for rank in group if self.parties[rank].result]
            for rank in signed:
                if self.parties[rank].result != self.parties[signed[0]].result:
                    return signed[0], rank
        return None

    def summary(self) -> str:
        """One sentence for a person."""
        if self.forged:
            return f"forged: {self.forged} statements do not verify"
        if self.two_faced:
            return f"party{self.two_faced[0]} signed different results"
        if self.complete:
            whom = "the same result" if len(self.alike) == 1 else "the result of its role"
            return f"complete: every party agreed, was ready and signed {whom}"
        if differ := self._differ():
            one, other = differ
            return f"party{one} and party{other} learn the same and signed different results"
        for rank, party in enumerate(self.parties):
            if party.aborted:
                return f"stopped: party{rank} said: {party.aborted}"
        return "incomplete: some statements are missing"


def to_json(records: Sequence[Record]) -> dict[str, Any]:
    """The transcript of these epochs, oldest first; what the last does not follow from is left out.

    So it is after a party in another epoch has said which one comes before the last.
    """
    *before, last = records
    earlier: list[Record] = []
    for record in reversed(before):
        if (earlier or [last])[0].descriptor["previous"] == descriptor_id(record.descriptor):
            earlier.insert(0, record)
    transcript = {"didmesh_transcript": VERSION, **last.to_json()}
    return transcript | ({"earlier": [r.to_json() for r in earlier]} if earlier else {})


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

    Raises: NotATranscript, if its form is wrong, a name is not its descriptor's hash, or its
    epochs are not of one session.
    """
    parties = roster_of(transcript)
    by_rank = {rank: documents[did] for rank, did in enumerate(parties)}
    try:
        earlier = transcript.get("earlier", [])
        if not isinstance(earlier, list) or len(earlier) > MAX_EPOCHS:
            raise NotATranscript("its earlier epochs are none")
        epochs = [*earlier, transcript]
        _check_chain([epoch["descriptor"] for epoch in epochs])
        verdicts = [_check_epoch(epoch, parties, by_rank) for epoch in epochs]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise NotATranscript(str(error)) from error
    return replace(verdicts[-1], earlier=tuple(verdicts[:-1]))


def _check_chain(descriptors: Sequence[Mapping[str, Any]]) -> None:
    """Each epoch names the one before, is later, and is of the same draft."""
    for before, after in pairwise(descriptors):
        drafts = [
            {name: value for name, value in descriptor.items() if name not in _OF_EACH_EPOCH}
            for descriptor in (before, after)
        ]
        if drafts[0] != drafts[1]:
            raise NotATranscript("its epochs are of different sessions")
        if after["previous"] != descriptor_id(before) or before["epoch"] >= after["epoch"]:
            raise NotATranscript("its epochs do not follow each other")


def _check_epoch(
    record: Mapping[str, Any], parties: Sequence[str], documents: Mapping[int, DidDocument]
) -> Verdict:
    """Raises: NotATranscript, and what reading JSON of any shape raises."""
    descriptor, texts = record["descriptor"], record["statements"]
    session, epoch = descriptor_id(descriptor), descriptor["epoch"]
    program = descriptor["program"]
    roles = [str(role) for role in descriptor["roles"]]
    groups = alike(roles, {str(k): str(v) for k, v in descriptor["outputs"].items()})
    if len(roles) != len(parties):
        raise NotATranscript("its roles are not those of its parties")
    name, sha256 = str(program["name"]), str(program["sha256"])
    if record["session"] != session:
        raise NotATranscript("the session's name is not the hash of its descriptor")
    if type(epoch) is not int:
        raise NotATranscript("its epoch is not a number")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise NotATranscript("its statements are not texts")
    said, false = _verified(texts, session, epoch, documents)
    newest = {(statement.rank, statement.kind): statement for statement in said}
    records = tuple(_record(rank, did, newest) for rank, did in enumerate(parties))
    return Verdict(
        session, name, sha256, records, groups, false, _two_faced(said), epoch, said=tuple(said)
    )


def _verified(
    texts: Sequence[str], session: str, epoch: int, documents: Mapping[int, DidDocument]
) -> tuple[list[Statement], int]:
    said: list[Statement] = []
    false = 0
    for text in texts:
        try:
            statement = verify(text, documents)
        except FalseStatement:
            false += 1
            continue
        if (statement.session, statement.epoch) != (session, epoch):
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
