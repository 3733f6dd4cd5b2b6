"""Every message in every state: what the table of docs/protocols/session.md comes to, cell by cell.

Ann is looked at; Ben writes to her, Cy says nothing. A cell is what she does at once:

    .              nothing: the message does not fit, or is known
    kept           nothing yet, but she will know of it
    heard          it is pinned: she waits for Ben no more
    STATE …        she turns to this state
    Event …        and tells her owner this
    >word word     and sends these messages, to one or to both

What follows when time passes is a rule of its own, in test_machine.py and test_late_letters.py.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.session.events import State
from agent.session.statements import Kind
from messaging.protocols import session as wire
from messaging.protocols.session import (
    Candidates,
    Propose,
    Say,
    SessionMessage,
    Withdraw,
)
from tests.support.sessions import (
    KEM_KEY,
    Party,
    Table,
    described,
    draft_of,
    make_parties,
    meshing,
    offer_for,
    running,
    things_in,
)

PARTIES = make_parties(3)
ANN, BEN, CY = PARTIES
ELSEWHERE = "ab" * 32
DOCUMENT = Path(__file__).parents[3] / "docs" / "protocols" / "session.md"


def proposing() -> Table:
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(0)
    found.join(1)
    found.deliver_all()
    return found


def signing() -> Table:
    found = described(PARTIES)
    found.make_offers()
    found.mail.clear()
    return found


def ready() -> Table:
    found = meshing(PARTIES)
    found.machine(0).mesh_ready(found.now)
    return found


def finishing() -> Table:
    found = running(PARTIES)
    found.machine(0).program_ended("aa", found.now)
    return found


def ended() -> Table:
    found = running(PARTIES)
    found.machine(0).stop("enough", found.now)
    return found


IN: dict[State, Callable[[], Table]] = {
    State.PROPOSING: proposing,
    State.OFFERING: lambda: described(PARTIES),
    State.SIGNING: signing,
    State.MESHING: lambda: meshing(PARTIES),
    State.READY: ready,
    State.RUNNING: lambda: running(PARTIES),
    State.FINISHING: finishing,
    State.ENDED: ended,
}


def proposal(found: Table, *, seconds: float = 1, program: str = "ab" * 32) -> Propose:
    draft = replace(found.draft, sha256=program).to_json()
    created = int((found.now + seconds) * 1000)
    return Propose(draft, secrets.token_urlsafe(32), created, KEM_KEY)


def withdrawn_before(found: Table) -> Propose:
    late = proposal(found)
    found.machine(0).handle_message(BEN.did, Withdraw(late.nonce, "gone"), found.now)
    return late


def stands(found: Table) -> str:
    """The nonce of Ben's proposal that Ann has."""
    return found.machine(1)._own.nonce


def said(found: Table, kind: Kind, *, by: int = 1) -> str:
    """Ben's statement for Ann's session, or what would be it if she knew one."""
    descriptor = found.machine(0).descriptor
    session = descriptor.id if descriptor else ELSEWHERE
    facts = {"reason": "no"} if kind is Kind.ABORT else {"sha256": "aa"}
    return PARTIES[by].speaker.say(kind, session, 1, int(found.now), facts).text


def here(found: Table) -> str:
    descriptor = found.machine(0).descriptor
    return descriptor.id if descriptor else ELSEWHERE


MESSAGES: dict[str, Callable[[Table], SessionMessage]] = {
    "propose: newer, like ours": proposal,
    "propose: newer, another program": lambda found: proposal(found, program="cd" * 32),
    "propose: older": lambda found: proposal(found, seconds=-60),
    "propose: newer, withdrawn before": withdrawn_before,
    "propose: the same again": lambda found: wire.Propose(*vars(found.machine(1)._own).values()),
    "withdraw: what stands": lambda found: Withdraw(stands(found), "gone"),
    "withdraw: a nonce never heard of": lambda found: Withdraw("A" * 43, "gone"),
    "withdraw: refuses ours": lambda found: Withdraw(
        stands(found), "no", found.machine(0)._own.nonce
    ),
    "withdraw: refuses another's": lambda found: Withdraw(stands(found), "no", "B" * 43),
    "offer: ours, signed": lambda found: replace(
        offer_for(here(found)), statement=said(found, Kind.AGREE)
    ),
    "offer: ours, unsigned": lambda found: offer_for(here(found)),
    "offer: of another session": lambda found: offer_for("cd" * 32),
    "candidates: ours": lambda found: Candidates(here(found), ()),
    "candidates: of another session": lambda found: Candidates("cd" * 32, ()),
    "statement: agree": lambda found: Say(here(found), said(found, Kind.AGREE)),
    "statement: ready": lambda found: Say(here(found), said(found, Kind.READY)),
    "statement: result": lambda found: Say(here(found), said(found, Kind.RESULT)),
    "statement: abort": lambda found: Say(here(found), said(found, Kind.ABORT)),
    "statement: signed by another": lambda found: Say(here(found), said(found, Kind.ABORT, by=2)),
    "statement: of another session": lambda found: Say("cd" * 32, said(found, Kind.ABORT)),
}
STOPS = "ENDED Ended >statement withdraw"
AGAIN = "PROPOSING Withdrew"
IN_ORDER = tuple(State)  # the columns
TABLE: dict[str, tuple[str, ...]] = {
    "propose: newer, like ours": (
        *("Proposed >propose", "Proposed Described >propose"),
        *("OFFERING Proposed Described >propose", STOPS, STOPS, STOPS, STOPS, "kept"),
    ),
    "propose: newer, another program": (
        *("kept", "PROPOSING", "PROPOSING", "kept", "kept", "kept", "kept", "kept"),
    ),
    "propose: older": (
        *(">propose", ">propose", ">propose", "kept", "kept", "kept", "kept", "kept"),
    ),
    "propose: newer, withdrawn before": (
        *("kept", "PROPOSING", "PROPOSING", STOPS, STOPS, STOPS, STOPS, "kept"),
    ),
    "propose: the same again": (".", ".", ".", ".", ".", ".", ".", "kept"),
    "withdraw: what stands": ("Withdrew", AGAIN, AGAIN, STOPS, STOPS, STOPS, STOPS, "kept"),
    "withdraw: a nonce never heard of": ("kept", "kept", "kept", ".", ".", ".", ".", "kept"),
    "withdraw: refuses ours": (
        *("ENDED Ended >withdraw", STOPS, STOPS, STOPS, STOPS, STOPS, STOPS, "kept"),
    ),
    "withdraw: refuses another's": ("Withdrew", AGAIN, AGAIN, STOPS, STOPS, STOPS, STOPS, "kept"),
    "offer: ours, signed": ("kept", "kept", "heard", ".", ".", ".", ".", "."),
    "offer: ours, unsigned": ("kept", "kept", "kept", ".", ".", ".", ".", "."),
    "offer: of another session": ("kept", "kept", "kept", "kept", "kept", "kept", "kept", "."),
    "candidates: ours": (".", "Moved", "Moved", "Moved", "Moved", "Moved", "Moved", "."),
    "candidates: of another session": (".", ".", ".", ".", ".", ".", ".", "."),
    "statement: agree": ("kept", "kept", "kept", ".", ".", ".", ".", "."),
    "statement: ready": ("kept", "kept", "kept", "kept", "heard", ".", ".", "."),
    "statement: result": ("kept", "kept", "kept", "kept", "kept", "kept", "heard", "."),
    "statement: abort": ("kept", STOPS, STOPS, STOPS, STOPS, STOPS, STOPS, "."),
    "statement: signed by another": ("kept", ".", ".", ".", ".", ".", ".", "."),
    "statement: of another session": ("kept", "kept", "kept", "kept", "kept", "kept", "kept", "."),
}

# What a state waits for, and what comes of it; nothing does of the end.
EXITS: dict[State, tuple[str, str]] = {
    State.PROPOSING: ("the last proposal", "OFFERING Proposed Described"),
    State.OFFERING: ("offers_made", "SIGNING >offer"),
    State.SIGNING: ("the last agree and offer", "MESHING Agreed"),
    State.MESHING: ("mesh_ready", "READY"),
    State.READY: ("the last ready", "RUNNING Released"),
    State.RUNNING: ("program_ended", "FINISHING"),
    State.FINISHING: ("the last result", "ENDED Ended"),
}
# What her own shell says, timely or not.
CALLS: dict[str, tuple[str, ...]] = {
    "offers_made": (".", "SIGNING >offer", ".", ".", ".", ".", ".", "."),
    "mesh_ready": (".", ".", ".", "READY", ".", ".", ".", "."),
    "program_ended": (".", ".", ".", ".", ".", "FINISHING", ".", "."),
    "moved": (".", ".", ".", *(">candidates",) * 4, "."),
    "handle_rotation": ("ENDED Ended >withdraw", ".", ".", ".", ".", ".", ".", "."),
    "handle_timer": (".", ".", ".", ".", ".", ".", ".", "."),
    "stop": ("ENDED Ended >withdraw", STOPS, STOPS, STOPS, STOPS, STOPS, STOPS, "."),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("state", State)
def test_a_message_in_a_state_does_what_the_table_says(state: State, name: str) -> None:
    def happens(found: Table) -> None:
        found.machine(0).handle_message(BEN.did, MESSAGES[name](found), found.now)

    assert outcome(state, happens) == TABLE[name][IN_ORDER.index(state)]


@pytest.mark.parametrize("state", EXITS)
def test_a_state_ends_with_what_it_waits_for(state: State) -> None:
    what, comes = EXITS[state]
    assert outcome(state, HAPPENS[what]) == comes


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", State)
def test_what_the_shell_says_counts_in_its_state_and_in_no_other(state: State, call: str) -> None:
    assert outcome(state, HAPPENS[call]) == CALLS[call][IN_ORDER.index(state)]


def test_the_tables_lack_no_state_and_no_message_of_the_document() -> None:
    states, messages = documented("States"), documented("Messages")
    assert [*State] == [*IN] == [name.lower() for name in states]
    assert (*EXITS, State.ENDED) == IN_ORDER
    kinds = {kind.TYPE.rpartition("/")[2] for kind in SessionMessage.__args__}
    assert kinds == {*messages} == {row.partition(":")[0] for row in TABLE}
    statements = {row.partition(": ")[2] for row in TABLE if row.startswith("statement: ")}
    assert {str(kind) for kind in Kind} <= statements
    assert {*TABLE} == {*MESSAGES}
    for row in (*TABLE.values(), *CALLS.values()):
        assert len(row) == len(State)


def documented(heading: str) -> list[str]:
    """The first column of the first table below this heading."""
    text = DOCUMENT.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = text.partition("|---")[2].partition("\n\n")[0]
    return re.findall(r"^\| `?([A-Za-z]+)`? \|", rows, re.MULTILINE)


def outcome(state: State, happens: Callable[[Table], None]) -> str:
    found = IN[state]()
    ann = found.machine(0)
    assert ann.state is state
    while ann.next_event() is not None:
        pass
    ann.messages_to_send()
    waiting, known = ann.waiting_for(), things_in(ann)
    happens(found)
    words = [str(ann.state).upper()] if ann.state is not state else []
    while (event := ann.next_event()) is not None:
        words.append(type(event).__name__)
    sent = [type(sent).TYPE.rpartition("/")[2] for _, sent in ann.messages_to_send()]
    if sent:
        words.append(">" + " ".join(dict.fromkeys(sent)))
    if not words and BEN.did in waiting and BEN.did not in ann.waiting_for():
        words.append("heard")
    if not words and things_in(ann) > known:
        words.append("kept")
    return " ".join(words) or "."


def from_both(found: Table, message: Callable[[Party], SessionMessage]) -> None:
    for party in (BEN, CY):
        found.machine(0).handle_message(party.did, message(party), found.now)


def say(kind: Kind) -> Callable[[Table], None]:
    """Ben and Cy make this statement; `agree` comes with an offer."""

    def message(found: Table, party: Party) -> SessionMessage:
        session, rank = here(found), PARTIES.index(party)
        text = party.speaker.say(kind, session, rank, int(found.now), {"sha256": "aa"}).text
        offered = replace(offer_for(session), statement=text)
        return offered if kind is Kind.AGREE else Say(session, text)

    return lambda found: from_both(found, lambda party: message(found, party))


HAPPENS: dict[str, Callable[[Table], None]] = {
    "the last proposal": lambda found: found.machine(0).handle_message(
        CY.did, proposal(found), found.now
    ),
    "the last agree and offer": say(Kind.AGREE),
    "the last ready": say(Kind.READY),
    "the last result": say(Kind.RESULT),
    "offers_made": lambda found: found.machine(0).offers_made(
        {other.did: offer_for(here(found)) for other in (BEN, CY)}, found.now
    ),
    "mesh_ready": lambda found: found.machine(0).mesh_ready(found.now),
    "program_ended": lambda found: found.machine(0).program_ended("aa", found.now),
    "moved": lambda found: found.machine(0).moved([]),
    "handle_rotation": lambda found: found.machine(0).handle_rotation(
        CY.did, "did:example:new", found.now
    ),
    "handle_timer": lambda found: found.machine(0).handle_timer(found.now + 3600),
    "stop": lambda found: found.machine(0).stop("enough", found.now),
}
