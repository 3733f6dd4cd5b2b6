"""Several parties' transcripts of one session put side by side: equal, or the difference named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rfc8785

from agent.session.statements import Kind, Statement
from agent.session.transcript import Verdict

# What a statement says, beside when it was signed.
_Word = tuple[int, int, str, bytes]  # epoch, rank, kind, facts in canonical JSON


def differences(verdicts: Mapping[str, Verdict]) -> list[str]:
    """What is not equal in all of these, by their names; a sentence each, for a person.

    Results of parties who learn different things are not compared: each file has everybody's.
    """
    (first, found), *others = verdicts.items()
    strangers = [
        f"{name} is of another session than {first}"
        for name, verdict in others
        if not _related(found, verdict)
    ]
    return strangers or [*_epochs(verdicts), *_statements(verdicts)]


def merge(transcripts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All that these checked transcripts of one session prove together.

    The newest epoch that any of them has, with the epochs before as its owner remembers them.
    """
    newest = max(transcripts, key=lambda transcript: transcript["descriptor"]["epoch"])
    return {
        **newest,
        **_with_all_statements(newest, transcripts),
        "earlier": [
            _with_all_statements(epoch, transcripts) for epoch in newest.get("earlier", [])
        ],
    }


def _with_all_statements(
    epoch: Mapping[str, Any], transcripts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    said = {
        text: None
        for transcript in transcripts
        for other in (transcript, *transcript.get("earlier", []))
        if other["session"] == epoch["session"]
        for text in other["statements"]
    }
    return {**epoch, "statements": list(said)}


def _sessions(verdict: Verdict) -> dict[str, Verdict]:
    return {epoch.session: epoch for epoch in (*verdict.earlier, verdict)}


def _related(one: Verdict, other: Verdict) -> bool:
    """Whether they have an epoch in common."""
    return not _sessions(one).keys().isdisjoint(_sessions(other))


def _epochs(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    newest = max(verdict.epoch for verdict in verdicts.values())
    for name, verdict in verdicts.items():
        if verdict.epoch < newest:
            yield f"{name} ends with epoch {verdict.epoch}, another goes on to epoch {newest}"
    everywhere = {epoch.epoch for verdict in verdicts.values() for epoch in verdict.earlier}
    for name, verdict in verdicts.items():
        known = {epoch.epoch for epoch in verdict.earlier} | {verdict.epoch}
        for epoch in sorted(everywhere - known):
            if epoch < verdict.epoch:
                yield f"{name} does not remember epoch {epoch}"


def _statements(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What somebody said to one and not, or otherwise, to another, in epochs that both know."""
    everywhere: dict[str, set[_Word]] = {}
    for verdict in verdicts.values():
        for session, epoch in _sessions(verdict).items():
            everywhere.setdefault(session, set()).update(map(_word, epoch.said))
    for name, verdict in verdicts.items():
        for session, epoch in _sessions(verdict).items():
            ours = {*map(_word, epoch.said)}
            heard = {word[:3] for word in ours}
            for word in sorted(everywhere[session] - ours):
                number, rank, kind, _ = word
                how = "has another" if word[:3] in heard else "lacks the"
                where = f" of epoch {number}" if number else ""
                yield f"{name} {how} {kind} of party{rank}{where}"


def _word(said: Statement) -> _Word:
    # Who stops because another did repeats its words; which of them came first may differ.
    facts = {} if said.kind is Kind.ABORT else dict(said.facts)
    return said.epoch, said.rank, str(said.kind), rfc8785.dumps(facts)
