"""A guest's side of a lobby, without a socket, a clock or a file.

    state      waits for                                        then
    KNOCKING   a roster with us in it                           event Admitted
    CHOOSING   the program, and our owner's consent to it       sends `ready`
    READY      the final roster, as we would have made it       event Settling
    SETTLED    our owner's `confirm`                            sends `echo`
               everybody's echo for the same descriptor         event Began
    BEGUN      nothing any more
    LEFT       nothing any more

Only the host that the link names is listened to. It can let nobody in, send people away, or never
begin; it cannot show two guests different rosters and begin with both, because each of them waits
for the other's signature under what it has seen itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

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
    roles_of,
    saved,
)
from agent.lobby.link import LobbyLink
from agent.session.descriptor import Descriptor, check_roster, differences
from agent.session.statements import Speaker, clip
from identity.document import DidDocument
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
    Roster,
    Settle,
    Want,
)

FIRST_REPEAT, LAST_REPEAT = 60.0, 600.0  # seconds until we say again what was not answered
MAX_AGE = 25 * 3600  # seconds; a roster settled further away in time is nobody's clock skew


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

    def is_settled_on(self, descriptor: Descriptor) -> bool:
        """Whether this is still the final roster."""
        gathered = self._gathered if self.state is GuestState.SETTLED else None
        return gathered is not None and gathered.descriptor == descriptor

    def next_timer(self) -> float | None:
        if self._done():
            return None
        return min(self._repeat_at, float(self.link.expires))

    def to_json(self) -> dict[str, Any]:
        """All that must outlive this process: with the same nonce we are the same guest."""
        return {
            "nonce": self._nonce,
            "created": self._created,
            "roster": self.roster and self.roster.to_body(),
            "settle": self._settle and self._settle.to_body(),
            "gathered": saved(self._gathered) if self.state is GuestState.BEGUN else None,
        }

    def restore(self, kept: Mapping[str, Any], now: float) -> None:
        """Go on where another process stopped; our owner is asked again. The nonce is given."""
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

    def know(self, documents: Mapping[str, DidDocument], now: float) -> None:
        """DID documents of parties, so that their echoes can be checked; after Settling."""
        self._documents.update(documents)
        self._advance(now)

    def confirm(self, now: float) -> None:
        """Our owner has seen the final roster, and its phrase; after Settling."""
        if self.state is GuestState.SETTLED and not self._confirmed:
            self._confirmed = True
            self._say(now)
            self._advance(now)

    def leave(self, reason: str) -> None:
        if not self._done():
            self._outbox.append(Leave(self.link.lobby, reason))
            self._end(reason, ours=True)

    # inside

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
        problem, gathered = self._read_settled(settle, now)
        if gathered is None:
            self._leave(problem)
            return
        self._gathered = gathered
        self._turn(GuestState.SETTLED, now)
        self._events.append(Settling(gathered.descriptor))

    def _is_for_our_predecessor(self, settle: Settle) -> bool:
        """Whether the host has not heard yet that we started over, with another nonce."""
        parties = list(settle.draft["parties"])
        if self._me not in parties or len(parties) != len(settle.nonces):
            return False
        return settle.nonces[parties.index(self._me)] != self._nonce

    def _read_settled(self, settle: Settle, now: float) -> tuple[str, Gathered | None]:
        parties = [str(party) for party in settle.draft["parties"]]
        if not {self._me, self.link.host} <= {*parties}:
            return "the final roster lacks us or the host", None
        try:
            check_roster(parties)
        except ValueError as error:
            return str(error), None
        if len(settle.nonces) != len(parties) or len({*settle.nonces}) != len(parties):
            return "the final roster is incomplete", None
        if abs(settle.created / 1000 - now) > MAX_AGE:
            return "the final roster is of another day", None
        if self._draft_for is None:
            return "nothing was approved", None
        try:
            draft = self._draft_for(parties, roles_of(settle.draft))
        except ValueError as error:
            return clip(str(error)), None
        words = differences(draft.to_json(), settle.draft)
        if words:
            return clip("the host settled something else: " + "; ".join(words)), None
        return "", Gathered(draft, settle.nonces, settle.created)

    def _try_begin(self) -> None:
        begin, gathered = self._begin, self._gathered
        if begin is None or gathered is None:
            return
        lobby = self.link.lobby
        if all_echo(begin.statements, lobby, gathered.descriptor, self._documents):
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
            case GuestState.KNOCKING:
                self._outbox.append(self._knock())
            case GuestState.CHOOSING if self._fetching and self._program is not None:
                missing = [i for i in range(self._program.pieces) if i not in self._pieces]
                self._outbox.append(Want(lobby, self._program.sha256, tuple(missing)))
            case GuestState.READY if self._program is not None:
                self._outbox.append(Ready(lobby, self._program.sha256))
            case GuestState.SETTLED if self._confirmed and self._gathered and self._settle:
                descriptor = self._gathered.descriptor
                statement = sign(lobby, descriptor, self._me, self._speaker)
                self._outbox.append(Echo(lobby, self._settle.seq, statement))

    def _knock(self) -> Knock:
        link = self.link
        return Knock(link.lobby, link.token, self._nonce, self._created, self._name, self._role)

    def _leave(self, reason: str) -> None:
        """Go because of what the host did; it hears why."""
        self._outbox.append(Leave(self.link.lobby, clip(reason)))
        self._end(reason)

    def _end(self, reason: str, *, ours: bool = False) -> None:
        self.state = GuestState.LEFT
        self._events.append(Over(reason, ours))

    def _done(self) -> bool:
        return self.state in (GuestState.BEGUN, GuestState.LEFT)
