"""Every message in every state of a lobby's two machines, cell by cell.

A lobby of three: Ann hosts, Ben and Cy are guests. A cell is what the machine does at once:

    .              nothing: the message does not fit, or is known
    kept           nothing yet, but it will count
    STATE …        it turns to this state
    Event …        and tells its owner this
    >word word     and sends these messages
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.lobby.claimants import Claimants
from agent.lobby.echo import sign
from agent.lobby.events import GuestState, HostState
from agent.lobby.guest import LobbyGuest
from agent.lobby.host import Host
from agent.lobby.pace import Pace
from agent.lobby.signing import Signing
from messaging.protocols.lobby import (
    Begin,
    Close,
    Echo,
    FromGuest,
    FromHost,
    Knock,
    Leave,
    Offered,
    Piece,
    Ready,
    Refuse,
    Require,
    Settle,
    VouchRequired,
    Want,
    pieces_of,
)
from tests.support.lobbies import ARCHIVE, PROGRAM, Lobby, draft_for
from tests.support.sessions import make_parties

PARTIES = make_parties(4)
ANN, BEN, CY, DAN = PARTIES
THREE = PARTIES[:3]
DOCUMENT = Path(__file__).parents[3] / "docs" / "protocols" / "lobby.md"


# a host


def gathering(*ready: int) -> Lobby:
    """Ben and Cy are in; these of them are ready."""
    lobby = Lobby(THREE, obliging=False)
    for index in (1, 2):
        lobby.join(index)
        lobby.deliver_all()
        lobby.host.admit(THREE[index].did, lobby.now)
        lobby.collect()
        lobby.deliver_all()
    for index in ready:
        lobby.guest(index).approve(draft_for, lobby.now)
    lobby.collect()
    lobby.deliver_all()
    return lobby


def begun() -> Lobby:
    lobby = gathering(1, 2)
    for machine in (lobby.host, lobby.guest(1), lobby.guest(2)):
        lobby.knows(machine)
        machine.confirm(lobby.now)
    lobby.collect()
    lobby.deliver_all()
    return lobby


def closed() -> Lobby:
    lobby = gathering(1)
    lobby.host.close("enough")
    lobby.collect()
    return lobby


HOST_IN: dict[HostState, Callable[[], Lobby]] = {
    HostState.OPEN: lambda: gathering(1),
    HostState.SETTLING: lambda: gathering(1, 2),
    HostState.BEGUN: begun,
    HostState.CLOSED: closed,
}


def knock(lobby: Lobby, index: int = 1, **changes: Any) -> Knock:
    """What a guest says again, or something like it."""
    known = lobby.host.guests.get(PARTIES[index].did)
    nonce = known.nonce if known else secrets.token_urlsafe(32)
    created = known.created if known else int(lobby.now * 1000)
    link = lobby.link
    return replace(Knock(link.lobby, link.token, nonce, created), **changes)


def echo(lobby: Lobby, seq: int = 0) -> Echo:
    gathered = lobby.host.gathered
    statement = "a.b.c"
    if gathered is not None:
        statement = sign(lobby.link.lobby, gathered, BEN.did, BEN.speaker)
    return Echo(lobby.link.lobby, seq or lobby.host.roster().seq, statement)


FRESH = "N" * 43
TO_HOST: dict[str, tuple[int, Callable[[Lobby], FromGuest]]] = {
    "knock: the same again": (1, knock),
    "knock: with a newer nonce": (
        *(1, lambda lobby: knock(lobby, nonce=FRESH, created=int(lobby.now * 1000) + 9000)),
    ),
    "knock: with an older nonce": (1, lambda lobby: knock(lobby, nonce=FRESH, created=1)),
    "knock: without the token": (1, lambda lobby: knock(lobby, token="T" * 22)),
    "knock: of who is not in": (3, lambda lobby: knock(lobby, 3)),
    "want: this program": (1, lambda lobby: Want(lobby.link.lobby, PROGRAM.sha256, (0,))),
    "want: another program": (1, lambda lobby: Want(lobby.link.lobby, "cd" * 32, (0,))),
    "want: of who is not in": (3, lambda lobby: Want(lobby.link.lobby, PROGRAM.sha256, (0,))),
    "ready: the last one": (2, lambda lobby: Ready(lobby.link.lobby, PROGRAM.sha256)),
    "ready: for another program": (2, lambda lobby: Ready(lobby.link.lobby, "cd" * 32)),
    "echo: of the final roster": (1, echo),
    "echo: of an earlier one": (1, lambda lobby: echo(lobby, seq=1)),
    "echo: of who is not in": (3, echo),
    "leave: of who is in": (1, lambda lobby: Leave(lobby.link.lobby, "gone")),
    "leave: of who is not in": (3, lambda lobby: Leave(lobby.link.lobby, "gone")),
    "leave: another lobby": (1, lambda lobby: Leave("L" * 22, "gone")),
}
HOST_TABLE: dict[str, tuple[str, ...]] = {
    "knock: the same again": (*(">roster", ">roster settle", ">roster settle begin", ">close"),),
    "knock: with a newer nonce": (">roster", "OPEN Reopened >roster", ">refuse", ">close"),
    "knock: with an older nonce": (".", ".", ".", "."),
    "knock: without the token": (".", ".", ".", "."),
    "knock: of who is not in": (">refuse", ">refuse", ">refuse", ">close"),
    "want: this program": (">piece", ">piece", ">piece", "."),
    "want: another program": (".", ".", ".", "."),
    "want: of who is not in": (".", ".", ".", "."),
    "ready: the last one": ("SETTLING GotReady Settling >settle", ".", ".", "."),
    "ready: for another program": (".", ".", ".", "."),
    "echo: of the final roster": (".", "kept", ".", "."),
    "echo: of an earlier one": (".", ".", ".", "."),
    "echo: of who is not in": (".", ".", ".", "."),
    "leave: of who is in": ("Parted", "OPEN Parted Reopened", ".", "."),
    "leave: of who is not in": (".", ".", ".", "."),
    "leave: another lobby": (".", ".", ".", "."),
}
# What its own owner or shell says.
HOST_CALLS: dict[str, Callable[[Lobby], None]] = {
    "admit who is in": lambda lobby: lobby.host.admit(BEN.did, lobby.now),
    "admit who did not knock": lambda lobby: lobby.host.admit(DAN.did, lobby.now),
    "refuse who is in": lambda lobby: lobby.host.refuse(BEN.did, "no", lobby.now),
    "lock": lambda lobby: lobby.host.lock(lobby.now),
    "start": lambda lobby: lobby.host.start(lobby.now),
    "know and confirm, with all echoes": lambda lobby: all_echo(lobby),
    "close": lambda lobby: lobby.host.close("enough"),
    "the time is over": lambda lobby: lobby.host.handle_timer(lobby.link.expires),
}
HOST_CALL_TABLE: dict[str, tuple[str, ...]] = {
    "admit who is in": ("says no", "says no", "says no", "says no"),
    "admit who did not knock": ("says no", "says no", "says no", "says no"),
    "refuse who is in": ("Parted >refuse", "OPEN Parted Reopened >refuse", ".", "."),
    "lock": ("kept", "kept", "kept", "kept"),
    "start": ("kept", "kept", "kept", "kept"),
    "know and confirm, with all echoes": ("kept", "BEGUN Began >begin", ".", "kept"),
    "close": ("CLOSED Over >close", "CLOSED Over >close", ".", "."),
    "the time is over": ("CLOSED Over >close", "CLOSED Over >close", ".", "."),
}

# a guest


def knocking() -> Lobby:
    lobby = Lobby(THREE, obliging=False)
    lobby.join(1)
    return lobby


def left() -> Lobby:
    lobby = gathering(1)
    lobby.guest(1).leave("gone")
    lobby.collect()
    return lobby


def settled() -> Lobby:
    """Ben has the final roster, knows whom it names, and has compared and signed."""
    lobby = gathering(1, 2)
    lobby.knows(lobby.guest(1))
    lobby.guest(1).confirm(lobby.now)
    lobby.collect()
    return lobby


GUEST_IN: dict[GuestState, Callable[[], Lobby]] = {
    GuestState.KNOCKING: knocking,
    GuestState.CHOOSING: gathering,
    GuestState.READY: lambda: gathering(1),
    GuestState.SETTLED: settled,
    GuestState.BEGUN: begun,
    GuestState.LEFT: left,
}


def settle(lobby: Lobby, **changes: Any) -> Settle:
    """The final roster as Ben would have it."""
    parties = [party.did for party in THREE]
    draft = draft_for(parties, ()).to_json()
    nonces = ("A" * 43, lobby.guest(1)._nonce, "C" * 43)
    return replace(Settle(lobby.link.lobby, 99, draft, nonces, int(lobby.now * 1000)), **changes)


def begin(lobby: Lobby, count: int = 3) -> Begin:
    """Everybody's signature under what Ben has."""
    gathered = lobby.guest(1)._gathered
    texts = ["a.b.c"] * 3
    if gathered is not None:
        texts = [sign(lobby.link.lobby, gathered, party.did, party.speaker) for party in THREE]
    return Begin(lobby.link.lobby, 99, tuple(texts[:count]))


def roster(lobby: Lobby, seq: int = 98, *, ours: bool = True, **changes: Any) -> FromHost:
    now = lobby.host.roster()
    mine = replace(now.entries[0], did=BEN.did)
    entries = [one for one in now.entries if one.did != BEN.did]
    return replace(now, seq=seq, entries=(*entries, *([mine] if ours else [])), **changes)


def piece(lobby: Lobby) -> Piece:
    return Piece(lobby.link.lobby, PROGRAM.sha256, 0, pieces_of(ARCHIVE)[0])


OTHER = Offered("auction", "cd" * 32, 1)
VOUCH = VouchRequired((ANN.did,))
TO_GUEST: dict[str, Callable[[Lobby], FromHost]] = {
    "require: a vouch": lambda lobby: Require(lobby.link.lobby, (VOUCH,)),
    "require: another lobby": lambda lobby: Require("L" * 22, (VOUCH,)),
    "roster: newer": roster,
    "roster: older": lambda lobby: roster(lobby, 0),
    "roster: without us": lambda lobby: roster(lobby, ours=False),
    "roster: with another program": lambda lobby: roster(lobby, program=OTHER),
    "roster: with a requirement": lambda lobby: roster(lobby, requires=(VOUCH,)),
    "roster: with a later end": lambda lobby: roster(lobby, expires=lobby.link.expires + 1),
    "piece: not asked for": piece,
    "settle: what we would have made": settle,
    "settle: older": lambda lobby: settle(lobby, seq=0),
    "settle: another draft": lambda lobby: settle(
        lobby, draft={**settle(lobby).draft, "threshold": 0}
    ),
    "settle: for our predecessor": lambda lobby: settle(
        lobby, nonces=("A" * 43, "B" * 43, "C" * 43)
    ),
    "begin: signed by all": begin,
    "begin: signed by some": lambda lobby: begin(lobby, 2),
    "refuse: whatever the reason": lambda lobby: Refuse(lobby.link.lobby, "no"),
    "refuse: another lobby": lambda lobby: Refuse("L" * 22, "no"),
    "close: whatever the reason": lambda lobby: Close(lobby.link.lobby, "no"),
}
LEAVES = "LEFT Over >leave"
GUEST_TABLE: dict[str, tuple[str, ...]] = {
    "require: a vouch": ("Wanted", LEAVES, LEAVES, LEAVES, ".", "."),
    "require: another lobby": (".", ".", ".", ".", ".", "."),
    "roster: newer": (
        *("CHOOSING Admitted", "RosterChanged", "RosterChanged"),
        *("READY Reopened RosterChanged >ready", ".", "."),
    ),
    "roster: older": ("CHOOSING Admitted", ".", ".", ".", ".", "."),
    "roster: without us": (".", "LEFT Over", "LEFT Over", "LEFT Over", ".", "."),
    "roster: with another program": ("CHOOSING Admitted", LEAVES, LEAVES, LEAVES, ".", "."),
    "roster: with a requirement": ("CHOOSING Admitted", LEAVES, LEAVES, LEAVES, ".", "."),
    "roster: with a later end": (LEAVES, LEAVES, LEAVES, LEAVES, ".", "."),
    "piece: not asked for": (".", ".", ".", ".", ".", "."),
    "settle: what we would have made": (
        *("kept", "kept", "SETTLED Settling", "Reopened Settling >ready", ".", "."),
    ),
    "settle: older": ("kept", "kept", "kept", ".", ".", "."),
    "settle: another draft": (
        *("kept", "kept", LEAVES, "LEFT Reopened Over >ready leave", ".", "."),
    ),
    "settle: for our predecessor": (
        *("kept", "kept", ">knock ready", "READY Reopened >ready knock", ".", "."),
    ),
    "begin: signed by all": ("kept", "kept", "kept", "BEGUN Began", ".", "."),
    "begin: signed by some": ("kept", "kept", "kept", "kept", ".", "."),
    "refuse: whatever the reason": (
        *("LEFT Over", "LEFT Over", "LEFT Over", "LEFT Over", ".", "."),
    ),
    "refuse: another lobby": (".", ".", ".", ".", ".", "."),
    "close: whatever the reason": (
        *("LEFT Over", "LEFT Over", "LEFT Over", "LEFT Over", ".", "."),
    ),
}
GUEST_CALLS: dict[str, Callable[[Lobby], None]] = {
    "fetch": lambda lobby: lobby.guest(1).fetch(lobby.now),
    "approve": lambda lobby: lobby.guest(1).approve(draft_for, lobby.now),
    "confirm": lambda lobby: lobby.guest(1).confirm(lobby.now),
    "leave": lambda lobby: lobby.guest(1).leave("gone"),
    "no answer": lambda lobby: lobby.guest(1).handle_timer(lobby.now + 3000),
    "the time is over": lambda lobby: lobby.guest(1).handle_timer(lobby.link.expires),
}
GUEST_CALL_TABLE: dict[str, tuple[str, ...]] = {
    "fetch": (">knock", ">want", ">ready", ">echo", "kept", "kept"),
    "approve": (".", "READY >ready", ".", ".", ".", "."),
    "confirm": (".", ".", ".", ".", ".", "."),
    "leave": (LEAVES, LEAVES, LEAVES, LEAVES, ".", "."),
    "no answer": (">knock", "kept", ">ready", ">echo", ".", "."),
    "the time is over": ("LEFT Over", "LEFT Over", "LEFT Over", "LEFT Over", ".", "."),
}


@pytest.mark.parametrize("name", TO_HOST)
@pytest.mark.parametrize("state", HostState)
def test_a_message_to_a_host_does_what_the_table_says(state: HostState, name: str) -> None:
    lobby = HOST_IN[state]()
    sender, message = TO_HOST[name]
    content = message(lobby)
    host, did = lobby.host, PARTIES[sender].did
    found = outcome(host, state, lambda: host.handle_message(did, content, lobby.now))
    assert found == HOST_TABLE[name][[*HostState].index(state)]


@pytest.mark.parametrize("name", TO_GUEST)
@pytest.mark.parametrize("state", GuestState)
def test_a_message_to_a_guest_does_what_the_table_says(state: GuestState, name: str) -> None:
    lobby = GUEST_IN[state]()
    content, guest = TO_GUEST[name](lobby), lobby.guest(1)
    found = outcome(guest, state, lambda: guest.handle_message(ANN.did, content, lobby.now))
    assert found == GUEST_TABLE[name][[*GuestState].index(state)]


@pytest.mark.parametrize("call", HOST_CALLS)
@pytest.mark.parametrize("state", HostState)
def test_what_a_hosts_owner_says_does_what_the_table_says(state: HostState, call: str) -> None:
    lobby = HOST_IN[state]()
    found = outcome(lobby.host, state, lambda: HOST_CALLS[call](lobby))
    assert found == HOST_CALL_TABLE[call][[*HostState].index(state)]


@pytest.mark.parametrize("call", GUEST_CALLS)
@pytest.mark.parametrize("state", GuestState)
def test_what_a_guests_owner_says_does_what_the_table_says(state: GuestState, call: str) -> None:
    lobby = GUEST_IN[state]()
    found = outcome(lobby.guest(1), state, lambda: GUEST_CALLS[call](lobby))
    assert found == GUEST_CALL_TABLE[call][[*GuestState].index(state)]


def test_the_tables_lack_no_state_and_no_message() -> None:
    messages = {
        (who, name) for name, who in documented("Messages", 2) if who in ("guest", "host")
    } - {("host", "call")}  # which is for contacts, and not for the machines
    rows = {("guest", row.partition(":")[0]) for row in HOST_TABLE}
    rows |= {("host", row.partition(":")[0]) for row in GUEST_TABLE}
    assert rows == messages
    kinds = {kind.TYPE.rpartition("/")[2] for kind in (*FromGuest.__args__, *FromHost.__args__)}
    assert kinds == {name for _, name in messages}
    states = [name.lower() for (cell,) in documented("States", 1) for name in cell.split(", ")]
    assert states == [*HostState, *GuestState] == [*HOST_IN, *GUEST_IN]
    assert ([*HOST_TABLE], [*GUEST_TABLE]) == ([*TO_HOST], [*TO_GUEST])
    for row in (*HOST_TABLE.values(), *HOST_CALL_TABLE.values()):
        assert len(row) == len(HostState)
    for row in (*GUEST_TABLE.values(), *GUEST_CALL_TABLE.values()):
        assert len(row) == len(GuestState)


def documented(heading: str, cells: int) -> list[tuple[str, ...]]:
    """The first cells of every row of the tables below this heading."""
    text = DOCUMENT.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"\|---.*\n((?:\|.*\n)+)", text)[: 3 - cells]
    rows = [line.split("|")[1 : 1 + cells] for table in tables for line in table.splitlines()]
    return [tuple(cell.strip(" `") for cell in row) for row in rows]


def outcome(machine: Host | LobbyGuest, state: object, happens: Callable[[], None]) -> str:
    assert machine.state is state
    while machine.next_event() is not None:
        pass
    machine.messages_to_send()
    known = fingerprint(machine)
    try:
        happens()
    except ValueError:
        return "says no"
    words = [str(machine.state).upper()] if machine.state is not state else []
    while (event := machine.next_event()) is not None:
        words.append(type(event).__name__)
    sent = [type(message).TYPE.rpartition("/")[2] for _, message in machine.messages_to_send()]
    if sent:
        words.append(">" + " ".join(dict.fromkeys(sent)))
    if not words and fingerprint(machine) != known:
        words.append("kept")
    return " ".join(words) or "."


def fingerprint(machine: Host | LobbyGuest) -> str:
    """All that a machine remembers."""
    parts = (Signing, Pace, Claimants)
    known = [
        (name, vars(value) if isinstance(value, parts) else value)
        for name, value in vars(machine).items()
    ]
    return repr(sorted((name, value) for name, value in known if name != "_repeat_at"))


def all_echo(lobby: Lobby) -> None:
    """What a host waits for, once the roster is final."""
    lobby.knows(lobby.host)
    lobby.host.confirm(lobby.now)
    gathered, seq = lobby.host.gathered, lobby.host.roster().seq
    for party in (BEN, CY):
        statement = "a.b.c"
        if gathered is not None:
            statement = sign(lobby.link.lobby, gathered, party.did, party.speaker)
        lobby.host.handle_message(party.did, Echo(lobby.link.lobby, seq, statement), lobby.now)
