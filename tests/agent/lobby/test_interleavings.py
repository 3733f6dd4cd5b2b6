"""Whatever is lost, doubled, swapped, restarted or forged: who goes on, goes on with the same.

A lobby of three honest guests, and a fourth that says anything, over mediators that deliver in any
order, twice or not at all. The rule that always holds: all honest parties that begin hold the same
descriptor, with exactly the parties that signed it. And when mediators are honest again, all
honest parties that are still there begin.
"""

from __future__ import annotations

import secrets

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.claims import vouch
from agent.lobby.echo import sign
from agent.lobby.events import GuestState, HostState
from messaging.protocols.lobby import (
    Begin,
    Echo,
    Knock,
    Leave,
    LobbyMessage,
    Ready,
    Refuse,
    Settle,
    VouchClaim,
    VouchRequired,
)
from tests.support.lobbies import PROGRAM, Lobby, draft_for
from tests.support.sessions import NOW, make_parties

PARTIES = make_parties(5)
HONEST = range(4)  # the first hosts; the last one has the link and says anything
MALLORY = PARTIES[4]
indexes = st.integers(1, 3)
places = st.integers(0, 50)


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lobby = self.new_lobby()
        self.lobby.host.refuse(MALLORY.did, "", self.lobby.now)  # unknown yet: nothing happens

    def new_lobby(self) -> Lobby:
        return Lobby(PARTIES, seats=4)

    @rule(index=indexes)
    def join(self, index: int) -> None:
        if PARTIES[index].did not in self.lobby.guests:
            self.lobby.join(index)

    @rule(place=places)
    def deliver(self, place: int) -> None:
        self.lobby.deliver(place)

    @precondition(lambda self: self.lobby.mail)
    @rule(place=places)
    def lose(self, place: int) -> None:
        self.lobby.mail.pop(place % len(self.lobby.mail))

    @precondition(lambda self: self.lobby.mail)
    @rule(place=places)
    def double(self, place: int) -> None:
        self.lobby.mail.append(self.lobby.mail[place % len(self.lobby.mail)])

    @rule(seconds=st.sampled_from([1, 31, 61]))
    def wait(self, seconds: int) -> None:
        if self.lobby.now - 900 < self.lobby.link.expires - 3600:
            self.lobby.wait(seconds)

    @rule(index=indexes)
    def lose_everything(self, index: int) -> None:
        """A guest's machine breaks, and it joins as if for the first time."""
        guest = self.lobby.guests.get(PARTIES[index].did)
        if guest is not None and guest.state is not GuestState.BEGUN:
            self.lobby.join(index)

    @rule(index=indexes)
    def restart_guest(self, index: int) -> None:
        party = PARTIES[index]
        guest = self.lobby.guests.get(party.did)
        if guest is None or guest.state in (GuestState.BEGUN, GuestState.LEFT):
            return
        self.lobby.restart(index, guest.to_json())
        self.lobby.collect()

    @rule()
    def restart_host(self) -> None:
        host = self.lobby.host
        if host.state in (HostState.OPEN, HostState.SETTLING):
            kept = host.to_json()
            self.lobby.host = self.lobby.new_host(kept["nonce"])
            self.lobby.host.restore(kept, self.lobby.now)
            self.lobby.collect()

    @rule(kind=st.integers(0, 6), to=st.integers(0, 3), honest=indexes)
    def say_anything(self, kind: int, to: int, honest: int) -> None:
        """Mallory, who has the link and knows every DID, writes to anybody."""
        target = PARTIES[to].did
        self.lobby.hand_over((MALLORY.did, target, self._forged(kind)))

    def _forged(self, kind: int) -> LobbyMessage:
        link = self.lobby.link
        dids = [party.did for party in (PARTIES[0], *PARTIES[1:3], MALLORY)]
        draft = draft_for(dids, ())
        gathered = self.lobby.host.gathered
        statement = (
            sign(link.lobby, gathered, PARTIES[1].did, MALLORY.speaker) if gathered else "a.b.c"
        )
        nonces = tuple(secrets.token_urlsafe(32) for _ in dids)
        return (
            Knock(link.lobby, secrets.token_urlsafe(16), nonces[0], 1),
            Leave(link.lobby, "gone"),
            Ready(link.lobby, PROGRAM.sha256),
            Echo(link.lobby, 3, statement),
            Settle(link.lobby, 99, draft.to_json(), nonces, int(self.lobby.now * 1000)),
            Begin(link.lobby, 99, (statement,) * 4),
            Refuse(link.lobby, "no"),
        )[kind]

    @invariant()
    def there_is_no_split(self) -> None:
        begun = [told.gathered for i in HONEST if (told := self.lobby.began(i)) is not None]
        assert len({gathered.descriptor.id for gathered in begun}) <= 1
        for gathered in begun:
            assert MALLORY.did not in gathered.draft.parties
            assert {*gathered.draft.parties} == {PARTIES[i].did for i in HONEST}

    def teardown(self) -> None:
        """Mediators are honest again: all who are there begin, unless somebody is missing."""
        lobby = self.lobby
        for index in (1, 2, 3):
            if PARTIES[index].did not in lobby.guests:
                lobby.join(index)
        for _ in range(3):
            lobby.settle_down()
        states = {str(guest.state) for guest in lobby.guests.values()}
        self.there_is_no_split()
        assert lobby.host.state is HostState.BEGUN, lobby.host.to_json()
        # Whose `begin` was lost has signed all the same.
        assert states <= {"begun", "settled"}


class InterleavingsWithClaims(Interleavings):
    """The same where the host has to vouch for everybody, and has for all but one."""

    def new_lobby(self) -> Lobby:
        host, *guests = PARTIES
        claims = {
            guest.did: (VouchClaim(vouch.make(host.did, host.speaker, guest.did, "x", NOW, 9e5)),)
            for guest in guests[:3]
        }
        return Lobby(PARTIES, seats=4, requires=(VouchRequired((host.did,)),), claims=claims)


SETTINGS = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
for machine in (Interleavings, InterleavingsWithClaims):
    machine.TestCase.settings = SETTINGS
TestInterleavings = Interleavings.TestCase
TestInterleavingsWithClaims = InterleavingsWithClaims.TestCase
