"""A guest's side of a lobby, without a socket, a clock or a file.

    state      waits for                                        then
    KNOCKING   a `require`, where claims are wanted             event Wanted, then `present`
               a roster with us in it                           event Admitted
    CHOOSING   the program, and our owner's consent to it       sends `ready`
    READY      the final roster, as we would have made it       event Settling
    SETTLED    our owner's `confirm`                            sends `echo`
               everybody's echo for the same descriptor         event Began
    BEGUN      nothing any more
    LEFT       nothing any more

Only the host that the link names is listened to. It can let nobody in, send people away, or never
begin; it cannot show two guests different rosters and begin with both, because each of them waits
for the other's signature under what it has seen itself. The same goes for claims: what is required
is pinned when we first hear of it, and nothing is signed before everybody's claims hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from agent.claims.evidence import Evidence, Moment
from agent.lobby.echo import all_echo, sign
from agent.lobby.events import (
    Admitted,
    Began,
    DraftMaker,
    Gathered,
    GuestEvent,
    GuestState,
    Over,
    PieceCame,
    ProgramCame,
    Reopened,
    RosterChanged,
    Settling,
    Wanted,
    saved,
)
from agent.lobby.link import LobbyLink
from agent.lobby.settled import prove_all, read_settled
from agent.session.statements import Speaker, clip
from identity.document import DidDocument
from messaging.protocols.lobby import (
    Begin,
    Claim,
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
    Requirement,
    Roster,
    Settle,
    Want,
    claims_of,
    requires_of,
    to_jsons,
)

FIRST_REPEAT, LAST_REPEAT = 60.0, 600.0  # seconds until we say again what was not answered


class LobbyGuest:
    """Feed it messages and what happened here; take events, and messages to send."""

    def __init__(
        self,
        link: LobbyLink,
        *,
        me: str,
        name: str,
        role: str,
        nonce: str,
        created: int,
        speaker: Speaker,
        now: float,
    ) -> None:
        """`nonce` was made at `created`, Unix milliseconds: the newest one counts."""
        self.link = link
        self.state = GuestState.KNOCKING
        self.roster: Roster | None = None
        self._me, self._name, self._role, self._nonce = me, name, role, nonce
        self._created = created
        self._speaker = speaker
        self._draft_for: DraftMaker | None = None
        self._program: Offered | None = None
        self._pieces: dict[int, bytes] = {}
        self._fetching = False
        self._settle: Settle | None = None
        self._gathered: Gathered | None = None
        self._begin: Begin | None = None
        self._confirmed = False
        self._requires: tuple[Requirement, ...] | None = None  # as we first heard of it
        self._asked = False  # our owner, for claims
        self._claims: tuple[Claim, ...] = ()
        self._evidence = Evidence()
        self._documents: dict[str, DidDocument] = {}
        self._events: list[GuestEvent] = []
        self._outbox: list[FromGuest] = []
        self._pause = FIRST_REPEAT
        self._say(now)

    # what the outside takes

    def next_event(self) -> GuestEvent | None:
        return self._events.pop(0) if self._events else None

    def messages_to_send(self) -> list[tuple[str, FromGuest]]:
        """(host's DID, message) pairs; each is handed out once."""
        outbox, self._outbox = self._outbox, []
        return [(self.link.host, message) for message in outbox]

    def is_settled_on(self, gathered: Gathered) -> bool:
        """Whether this is still the final roster."""
        return self.state is GuestState.SETTLED and self._gathered == gathered

    def next_timer(self) -> float | None:
        if self._done():
            return None
        return min(self._repeat_at, float(self.link.expires))

    def to_json(self) -> dict[str, Any]:
        """All that must outlive this process: with the same nonce we are the same guest."""
        return {
            "nonce": self._nonce,
            "created": self._created,
            "requires": None if self._requires is None else to_jsons(self._requires),
            "claims": to_jsons(self._claims),
            "roster": self.roster and self.roster.to_body(),
            "settle": self._settle and self._settle.to_body(),
            "gathered": saved(self._gathered) if self.state is GuestState.BEGUN else None,
        }

    def restore(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on where another process stopped; our owner is asked again. The nonce is given."""
        self._claims = claims_of(kept)
        if self._claims:  # else our owner has not been asked
            self._requires = requires_of(kept)
        if kept["roster"] is not None:
            self.handle_message(self.link.host, Roster.from_body(kept["roster"]), now)
        if kept["settle"] is not None:
            self._settle = Settle.from_body(kept["settle"])

    # what comes in

    def handle_message(self, sender: str, message: FromHost, now: float) -> None:
        """Take in an authenticated message; one that does not fit is dropped."""
        if sender != self.link.host or message.lobby != self.link.lobby or self._done():
            return
        match message:
            case Require():
                self._handle_require(message, now)
            case Roster():
                self._handle_roster(message, now)
            case Piece():
                self._handle_piece(message, now)
            case Settle() if self._settle is None or message.seq > self._settle.seq:
                if self.state is GuestState.SETTLED:
                    self._open_again("the roster has changed", now)
                self._settle = message
            case Begin() if self._begin is None or message.seq >= self._begin.seq:
                self._begin = message
            case Refuse() | Close():
                self._end(clip(message.reason))
        self._advance(now)

    def handle_timer(self, now: float) -> None:
        if self._done():
            return
        if now >= self.link.expires:
            self._end("the lobby has expired")
        elif now >= self._repeat_at:
            self._pause = min(2 * self._pause, LAST_REPEAT)
            self._say(now)

    # what our owner wants

    def present(self, claims: Sequence[Claim], now: float) -> None:
        """Our owner shows these for what is required; after Wanted."""
        if self.state is GuestState.KNOCKING:
            self._claims = tuple(claims)
            self._say(now)

    def fetch(self, now: float) -> None:
        """Get the program from the host; after Admitted. ProgramCame has it."""
        self._fetching = True
        self._say(now)

    def approve(self, draft_for: DraftMaker, now: float) -> None:
        """Our owner agrees to run this program, and has given all inputs."""
        if self.state is GuestState.CHOOSING:
            self._draft_for = draft_for
            self._fetching = False
            self._turn(GuestState.READY, now)
            self._advance(now)

    def know(
        self, documents: Mapping[str, DidDocument], now: float, evidence: Evidence | None = None
    ) -> None:
        """What echoes and claims are checked with; after Settling."""
        self._documents.update(documents)
        self._evidence = evidence or self._evidence
        self._advance(now)

    def confirm(self, now: float) -> None:
        """Our owner has seen the final roster, and its phrase; after Settling, and `know`."""
        if self.state is not GuestState.SETTLED or self._confirmed or self._gathered is None:
            return
        try:
            prove_all(self._gathered, self._evidence, Moment(self.link.lobby, now))
        except ValueError as error:
            self._leave(str(error))
            return
        self._confirmed = True
        self._say(now)
        self._advance(now)

    def leave(self, reason: str) -> None:
        if not self._done():
            self._outbox.append(Leave(self.link.lobby, reason))
            self._end(reason, ours=True)

    # inside

    def _handle_require(self, require: Require, now: float) -> None:
        if not self._pin(require.requires):
            return
        if self.state is GuestState.KNOCKING and self._claims:
            self._say(now)  # the host has lost them
        elif self.state is GuestState.KNOCKING and not self._asked:
            self._asked = True
            self._events.append(Wanted(require.requires))

    def _pin(self, requires: tuple[Requirement, ...]) -> bool:
        """Whether this is required of everybody, as it was before; else we leave."""
        if self._requires is None:
            self._requires = requires
        if self._requires != requires:
            self._leave("the host requires something else than before")
        return self._requires == requires

    def _handle_roster(self, roster: Roster, now: float) -> None:
        if self.roster is not None and roster.seq <= self.roster.seq:
            return
        if roster.expires > self.link.expires or not self._same_program(roster):
            self._leave("the host offers something else than before")
            return
        mine = [entry for entry in roster.entries if entry.did == self._me]
        if not mine:
            if self.state is not GuestState.KNOCKING:
                self._end("the host has given our seat away")
            return
        if not self._pin(roster.requires):
            return
        self.roster = roster
        if self.state is GuestState.KNOCKING:
            self._program = roster.program
            self._turn(GuestState.CHOOSING, now)
            self._events.append(Admitted(roster))
            return
        if self.state is GuestState.SETTLED and self._settle and roster.seq > self._settle.seq:
            self._open_again("somebody left or started over", now)
        self._events.append(RosterChanged(roster))

    def _same_program(self, roster: Roster) -> bool:
        return self._program is None or self._program == roster.program

    def _handle_piece(self, piece: Piece, now: float) -> None:
        program = self._program
        if program is None or not self._fetching or piece.sha256 != program.sha256:
            return
        if piece.index >= program.pieces or piece.index in self._pieces:
            return
        self._pieces[piece.index] = piece.data
        self._events.append(PieceCame(len(self._pieces), program.pieces))
        self._repeat_at = now + FIRST_REPEAT
        if len(self._pieces) < program.pieces:
            return
        archive = b"".join(self._pieces[index] for index in range(program.pieces))
        self._pieces.clear()
        self._fetching = False
        if hashlib.sha256(archive).hexdigest() != program.sha256:
            self._leave("the host sent another program than it promised")
        else:
            self._events.append(ProgramCame(archive))

    def _advance(self, now: float) -> None:
        """Move on for as long as we have what the state waits for."""
        if self.state is GuestState.READY and self._settle is not None:
            self._check_settled(self._settle, now)
        if self.state is GuestState.SETTLED and self._confirmed:
            self._try_begin()

    def _check_settled(self, settle: Settle, now: float) -> None:
        """The final roster must be what we would have made of it ourselves."""
        if self.roster is not None and settle.seq < self.roster.seq:
            return
        if self._is_for_our_predecessor(settle):
            self._settle = None
            self._outbox.append(self._knock())  # it is newer, so the host will settle anew
            self._say(now)
            return
        try:
            gathered = read_settled(
                settle, (self._me, self.link.host), self._draft_for, self._requires or (), now
            )
        except ValueError as error:
            self._leave(str(error))
            return
        self._gathered = gathered
        self._turn(GuestState.SETTLED, now)
        self._events.append(Settling(gathered))

    def _is_for_our_predecessor(self, settle: Settle) -> bool:
        """Whether the host has not heard yet that we started over, with another nonce."""
        parties = list(settle.draft["parties"])
        if self._me not in parties or len(parties) != len(settle.nonces):
            return False
        return settle.nonces[parties.index(self._me)] != self._nonce

    def _try_begin(self) -> None:
        begin, gathered = self._begin, self._gathered
        if begin is None or gathered is None:
            return
        lobby = self.link.lobby
        if all_echo(begin.statements, lobby, gathered, self._documents):
            self.state = GuestState.BEGUN
            self._events.append(Began(gathered))

    def _open_again(self, reason: str, now: float) -> None:
        self._settle = self._gathered = self._begin = None
        self._confirmed = False
        self._turn(GuestState.READY, now)
        self._events.append(Reopened(reason))

    def _turn(self, state: GuestState, now: float) -> None:
        self.state = state
        self._pause = FIRST_REPEAT
        self._say(now)

    def _say(self, now: float) -> None:
        """What the host has to hear of us in this state; said again until it leads on."""
        self._repeat_at = now + self._pause
        lobby = self.link.lobby
        match self.state:
            case GuestState.KNOCKING if self._claims or not self._requires:
                self._outbox.append(self._knock())
            case GuestState.CHOOSING if self._fetching and self._program is not None:
                missing = [i for i in range(self._program.pieces) if i not in self._pieces]
                self._outbox.append(Want(lobby, self._program.sha256, tuple(missing)))
            case GuestState.READY if self._program is not None:
                self._outbox.append(Ready(lobby, self._program.sha256))
            case GuestState.SETTLED if self._confirmed and self._gathered and self._settle:
                statement = sign(lobby, self._gathered, self._me, self._speaker)
                self._outbox.append(Echo(lobby, self._settle.seq, statement))

    def _knock(self) -> Knock:
        link, who = self.link, (self._name, self._role, self._claims)
        return Knock(link.lobby, link.token, self._nonce, self._created, *who)

    def _leave(self, reason: str) -> None:
        """Go because of what the host did; it hears why."""
        self._outbox.append(Leave(self.link.lobby, clip(reason)))
        self._end(reason)

    def _end(self, reason: str, *, ours: bool = False) -> None:
        self.state = GuestState.LEFT
        self._events.append(Over(reason, ours))

    def _done(self) -> bool:
        return self.state in (GuestState.BEGUN, GuestState.LEFT)
