"""The host's side of a lobby, without a socket, a clock or a file.

Like a session's machine it is a board: the newest that each guest said is pinned, and the lobby
moves on whenever the board has all that its state waits for:

    state      waits for                                        then
    OPEN       every seat taken, everybody ready (or `start`)   sends `settle`, event Settling
    SETTLING   our owner's `confirm`, everybody's echo          sends `begin`, event Began
    BEGUN      nothing any more; repeats `begin` on request
    CLOSED     nothing any more

Where claims are required, nobody is heard of whose claims do not hold: a knock without them is
answered with `require`, one with them is examined first (event Presented).

A guest that leaves, or has lost everything, opens a settled lobby again with a higher number.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.claims.evidence import Evidence
from agent.lobby.claimants import Claimants
from agent.lobby.events import (
    Began,
    Came,
    DraftMaker,
    Gathered,
    GotReady,
    HostEvent,
    HostState,
    Knocked,
    NotProven,
    Over,
    Parted,
    Presence,
    Presented,
    Reopened,
    Settling,
    saved,
)
from agent.lobby.pace import Pace
from agent.lobby.seats import INSIDE, OUTSIDE, Guest, Terms, fits, free_roles, seated, why_not
from agent.lobby.signing import Signing
from agent.session.statements import Speaker, clip
from identity.document import DidDocument
from messaging.protocols import lobby as wire

MAX_GUESTS = 256  # that are remembered
REPEAT_SECONDS = 30.0  # until a settled roster goes again to who has not echoed it
MAX_PIECES_SENT = 512  # to one guest: enough to send the largest program again and again


class Host:
    """Feed it messages and what happened here; take events, and messages to send."""

    def __init__(
        self,
        terms: Terms,
        *,
        me: str,
        name: str,
        nonce: str,
        speaker: Speaker,
        draft_for: DraftMaker,
        pieces: Sequence[bytes],
        claims: Sequence[wire.Claim] = (),
    ) -> None:
        """`claims` are our own, for what the terms require of everybody."""
        self.terms = terms
        self.state = HostState.OPEN
        self.locked = False
        self.guests: dict[str, Guest] = {}
        self._me, self._name, self._nonce = me, name, nonce
        self._signing = Signing(terms.lobby, me, speaker)
        self._draft_for = draft_for
        self._pieces = pieces
        self._claims = tuple(claims)
        self._claimants = Claimants(terms.lobby, terms.requires)
        self._begin: wire.Begin | None = None
        self._seats = terms.seats
        self._seq = 1
        self._events: list[HostEvent] = []
        self._outbox: list[tuple[str, wire.FromHost]] = []
        self._pace = Pace()
        self._repeat_at: float | None = None

    # what the outside takes

    @property
    def gathered(self) -> Gathered | None:
        """What everybody signs, as long as the roster is final."""
        return self._signing.gathered

    def next_event(self) -> HostEvent | None:
        return self._events.pop(0) if self._events else None

    def messages_to_send(self) -> list[tuple[str, wire.FromHost]]:
        """(guest's DID, message) pairs; each is handed out once."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def next_timer(self) -> float | None:
        if self._is_over():
            return None
        timers = (self._pace.next_round, self._repeat_at, float(self.terms.expires))
        return min(timer for timer in timers if timer is not None)

    def roster(self) -> wire.Roster:
        """Who is in, in the order of the seats, ourselves first."""
        terms, ready = self.terms, str(Presence.READY)
        mine = wire.Seat(self._me, terms.roles[0], self._name, ready, self._claims)
        others = [wire.Seat(g.did, g.role, g.name, str(g.stage), g.claims) for g in self._seated()]
        about = (terms.lobby, self._seq, terms.title, terms.program, self._seats, self.locked)
        return wire.Roster(*about, terms.expires, (mine, *others), terms.requires)

    def knocking(self) -> list[Guest]:
        return [guest for guest in self.guests.values() if guest.stage is Presence.KNOCKING]

    def waiting_for(self) -> list[str]:
        """The guests that the present state waits for; free seats are in the roster."""
        if self.state is HostState.SETTLING:
            return [guest.did for guest in self._seated() if not self._signing.has(guest.did)]
        return [guest.did for guest in self._seated() if guest.stage is not Presence.READY]

    def to_json(self) -> dict[str, Any]:
        """All that must outlive this process; the token is a secret."""
        return {
            "terms": self.terms.to_json(),
            "state": str(self.state),
            "locked": self.locked,
            "seats": self._seats,
            "seq": self._seq,
            "nonce": self._nonce,
            "name": self._name,
            "claims": wire.to_jsons(self._claims),
            "guests": [guest.to_json() for guest in self.guests.values()],
            "gathered": None if self.state is not HostState.BEGUN else saved(self.gathered),
        }

    def restore(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on where another process stopped. A settled lobby is settled anew."""
        self.locked, self._seats = bool(kept["locked"]), int(kept["seats"])
        self._seq = int(kept["seq"]) + 1
        for value in kept["guests"]:
            self._set(Guest.from_json(value))
        self._news(now, at_once=True)
        self._advance(now)

    # what comes in from guests

    def handle_message(self, sender: str, message: wire.FromGuest, now: float) -> None:
        """Take in an authenticated message; one that does not fit is dropped."""
        if message.lobby != self.terms.lobby or sender == self._me:
            return
        if isinstance(message, wire.Knock):
            self._handle_knock(sender, message, now)
            return
        guest = self.guests.get(sender)
        if guest is None or guest.stage in OUTSIDE or self.state is HostState.CLOSED:
            return
        match message:
            case wire.Leave():
                self._part(guest, clip(message.reason), now)
            case wire.Want() if guest.stage is not Presence.KNOCKING:
                self._send_pieces(guest, message)
            case wire.Ready() if guest.stage is Presence.ADMITTED:
                if message.sha256 == self.terms.program.sha256:
                    self._set(replace(guest, stage=Presence.READY))
                    self._events.append(GotReady(sender))
                    self._news(now)
            case wire.Echo() if self.state is HostState.SETTLING and message.seq == self._seq:
                self._signing.take(sender, message.statement)
        self._advance(now)

    def handle_timer(self, now: float) -> None:
        if self._is_over():
            return
        if now >= self.terms.expires:
            self.close("the lobby has expired")
            return
        if self._pace.is_time(now) and self.state is HostState.OPEN:
            self._send_all(self.roster())
        if self._repeat_at is not None and now >= self._repeat_at:
            self._send_settle(now, self.waiting_for())

    def examine(self, did: str, evidence: Evidence, now: float) -> None:
        """Judge the claims that somebody has presented; after Presented."""
        judged, why = self._claimants.judge(did, evidence, now), self._why_not(did)
        if isinstance(judged, wire.Refuse):
            self._outbox.append((did, judged))
            self._events.append(NotProven(did, judged.reason))
        elif judged is not None and why is not None:
            self._outbox.append((did, why))
        elif judged is not None and did not in self.guests:
            self._heard(judged)

    # what our owner wants

    def admit(self, did: str, now: float, role: str | None = None) -> None:
        """Let a guest that knocks in. Raises: ValueError, with a sentence for a person."""
        guest = self.guests.get(did)
        if guest is None or guest.stage is not Presence.KNOCKING:
            raise ValueError("nobody of that name knocks")
        if self.state is not HostState.OPEN or self._is_full():
            raise ValueError("all seats are taken")
        free = free_roles(self.terms, self.guests.values())
        wanted = role or (guest.role if guest.role in free else free[0])
        if wanted not in free:
            raise ValueError(f"no seat is free for {wanted!r}")
        inside = self._seated()
        if not fits([self._claims, guest.claims, *(other.claims for other in inside)]):
            raise ValueError("the claims of all together are too long for one more")
        seat = 1 + max((other.seat for other in inside), default=0)
        self._set(replace(guest, stage=Presence.ADMITTED, seat=seat, role=wanted))
        self._seq += 1
        self._outbox.append((did, self.roster()))
        self._events.append(Came(did))
        self._news(now)
        self._advance(now)

    def refuse(self, did: str, reason: str, now: float) -> None:
        """Send a guest away, whether it knocks or is in; too late once the lobby has begun."""
        guest = self.guests.get(did)
        if guest is not None and guest.stage not in OUTSIDE and not self._is_over():
            self._outbox.append((did, wire.Refuse(self.terms.lobby, reason)))
            self._part(guest, reason, now, Presence.REFUSED)
            self._advance(now)

    def lock(self, now: float) -> None:
        """Nobody new may knock from now on."""
        self.locked = True
        self._news(now)

    def start(self, now: float) -> None:
        """Go on without the free seats. Raises: ValueError, with a sentence for a person."""
        parties = len(self._seated()) + 1
        if parties < self.terms.least:
            raise ValueError(f"the program needs {self.terms.least} parties, these are {parties}")
        self._seats, self.locked = parties, True
        self._news(now)
        self._advance(now)

    def know(self, documents: Mapping[str, DidDocument], now: float) -> None:
        """DID documents of parties, so that their echoes can be checked."""
        self._signing.know(documents)
        self._advance(now)

    def confirm(self, now: float) -> None:
        """Our owner has seen the final roster, and its phrase; after Settling."""
        if self.state is HostState.SETTLING:
            self._signing.confirmed = True
            self._advance(now)

    def close(self, reason: str, *, ours: bool = False) -> None:
        if not self._is_over():
            there = [guest.did for guest in self.guests.values() if guest.stage not in OUTSIDE]
            self._outbox += [(did, wire.Close(self.terms.lobby, reason)) for did in there]
            self.state = HostState.CLOSED
            self._events.append(Over(reason, ours))

    # inside

    def _handle_knock(self, sender: str, knock: wire.Knock, now: float) -> None:
        if not hmac.compare_digest(knock.token.encode(), self.terms.token.encode()):
            return
        known = self.guests.get(sender)
        if known is not None and knock.created < known.created:
            return  # it was on its way for longer than its successor
        if known is not None and known.stage in INSIDE and self.state is not HostState.CLOSED:
            self._come_back(known, knock, now)
        elif (why := self._why_not(sender)) is not None:
            self._outbox.append((sender, why))
        elif known is not None:
            self._heard(Guest.at_the_door(sender, knock, known.claims, known.proofs))
        else:
            match self._claimants.handle_knock(sender, knock, now):
                case wire.Require() as require:
                    self._outbox.append((sender, require))
                case Guest() as guest:
                    self._heard(guest)
                case True:
                    self._events.append(Presented(sender))

    def _why_not(self, did: str) -> wire.Close | wire.Refuse | None:
        known, full = self.guests.get(did), self._is_full()
        return why_not(self.state, self.terms.lobby, known, locked=self.locked, full=full)

    def _heard(self, guest: Guest) -> None:
        """Somebody knocks who may."""
        known = self.guests.get(guest.did)
        if known is None and len(self.guests) >= MAX_GUESTS:
            return
        self._set(guest)
        if known is None or known.stage is not Presence.KNOCKING:
            self._events.append(Knocked(guest.did, guest.name, guest.role, guest.proofs))

    def _come_back(self, guest: Guest, knock: wire.Knock, now: float) -> None:
        """A guest that is in knocks again: it repeats itself, or has lost everything."""
        if guest.nonce == knock.nonce:
            self._repeat(guest)
        elif self.state is HostState.BEGUN:
            self._outbox.append((guest.did, wire.Refuse(self.terms.lobby, "it has begun already")))
        else:
            self._set(
                replace(guest, nonce=knock.nonce, created=knock.created, stage=Presence.ADMITTED)
            )
            self._open_again("a guest has started over", now)
            self._outbox.append((guest.did, self.roster()))
            self._news(now)

    def _repeat(self, guest: Guest) -> None:
        """What this guest should know by now."""
        self._outbox.append((guest.did, self.roster()))
        if self.gathered is not None:
            self._outbox.append((guest.did, self._signing.settle(self._seq)))
        if self._begin is not None:
            self._outbox.append((guest.did, self._begin))

    def _part(self, guest: Guest, reason: str, now: float, stage: Presence = Presence.GONE) -> None:
        if self.state is HostState.BEGUN:
            return  # the session hears of it in its own way
        was_in = guest.stage is not Presence.KNOCKING
        self._set(replace(guest, stage=stage))
        self._events.append(Parted(guest.did, reason))
        if was_in:
            self._open_again(reason, now)
            self._news(now)

    def _open_again(self, reason: str, now: float) -> None:
        self._seq += 1
        if self.state is HostState.SETTLING:
            self.state = HostState.OPEN
            self._signing.stop()
            self._repeat_at = None
            self._events.append(Reopened(reason))
            self._news(now, at_once=True)

    def _advance(self, now: float) -> None:
        """Move on for as long as the board has what the state waits for."""
        if self.state is HostState.OPEN and self._complete():
            seated = self._seated()
            parties = (self._me, *(guest.did for guest in seated))
            roles = (self.terms.roles[0], *(guest.role for guest in seated))
            nonces = (self._nonce, *(guest.nonce for guest in seated))
            claims = (self._claims, *(guest.claims for guest in seated))
            draft, created = self._draft_for(parties, roles), int(now * 1000)
            gathered = Gathered(draft, nonces, created, self.terms.requires, claims)
            self._signing.start(gathered)
            self._seq += 1
            self.state = HostState.SETTLING
            self._pace.nothing_new()
            self._events.append(Settling(gathered))
            self._send_settle(now, parties[1:])
        if self.state is HostState.SETTLING and (begin := self._signing.begin(self._seq)):
            self.state = HostState.BEGUN
            self._begin = begin
            self._send_all(begin)
            self._events.append(Began(self._signing.final()))

    def _is_over(self) -> bool:
        return self.state in (HostState.BEGUN, HostState.CLOSED)

    def _is_full(self) -> bool:
        return len(self._seated()) + 1 >= self._seats

    def _complete(self) -> bool:
        seated = self._seated()
        return len(seated) + 1 == self._seats and all(
            guest.stage is Presence.READY for guest in seated
        )

    def _send_settle(self, now: float, to: Sequence[str]) -> None:
        settle = self._signing.settle(self._seq)
        self._outbox += [(did, settle) for did in to]
        self._repeat_at = now + REPEAT_SECONDS

    def _send_pieces(self, guest: Guest, want: wire.Want) -> None:
        pieces = wire.pieces_wanted(want, self.terms.program.sha256, self._pieces)
        pieces = pieces[: MAX_PIECES_SENT - guest.sent]
        self._set(replace(guest, sent=guest.sent + len(pieces)))
        self._outbox += [(guest.did, piece) for piece in pieces]

    def _news(self, now: float, *, at_once: bool = False) -> None:
        """Tell everybody of the present roster, not more often than we may."""
        self._pace.news(now, guests=0 if at_once else len(self._seated()))

    def _send_all(self, message: wire.FromHost) -> None:
        self._outbox += [(guest.did, message) for guest in self._seated()]

    def _seated(self) -> list[Guest]:
        return seated(self.guests.values())

    def _set(self, guest: Guest) -> None:
        self.guests[guest.did] = guest
