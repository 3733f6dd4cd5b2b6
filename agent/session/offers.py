"""Our side of every pair: the keys of one session, and the offer each other party gets of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nacl.public import PrivateKey

from agent.connection.turn import TurnRelay
from agent.connection.udp import UdpPort
from agent.session.preshared import PairKeys
from messaging.protocols.session import Offer
from traversal.candidate import (
    MAX_CANDIDATES,
    Candidate,
    LocalSide,
    is_elsewhere,
    turn_candidate,
)
from traversal.relay import BadTicket, RelayTicket, tickets_from_json


@dataclass(frozen=True)
class OwnSide:
    """Everything here lives in memory only, and for one session."""

    session: str
    port: UdpPort
    sides: Mapping[str, LocalSide]  # by the one party that is offered it
    relays: Mapping[str, tuple[RelayTicket, RelayTicket]]  # ours and theirs, where there is one
    private_key: bytes = field(repr=False)  # WireGuard's, 32 bytes
    turn: TurnRelay | None = None

    def offers(self, pairs: PairKeys | None) -> dict[str, Offer]:
        """Our offer for each other party, not signed yet; with `pairs` for a pre-shared key."""
        return {
            did: Offer(
                self.session,
                "",
                self.public_key,
                side.to_json(),
                self._relays_for(did),
                None if pairs is None else pairs.sent_to(did),
            )
            for did, side in self.sides.items()
        }

    @property
    def public_key(self) -> str:
        """WireGuard's, base64."""
        return base64.b64encode(bytes(PrivateKey(self.private_key).public_key)).decode()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What everybody was offered alike."""
        return next(iter(self.sides.values())).candidates

    def tickets(self, did: str, offer: Offer) -> tuple[RelayTicket, ...]:
        """Our side's at our own mediator's relay and at theirs. Raises: BadTicket."""
        own = [self.relays[did][0]] if did in self.relays else []
        return (*own, *given_tickets(offer.relays))

    def _relays_for(self, did: str) -> list[dict[str, object]]:
        return [self.relays[did][1].to_json()] if did in self.relays else []


def make_own_side(
    session: str,
    port: UdpPort,
    sides: Mapping[str, LocalSide],
    relays: Mapping[str, tuple[RelayTicket, RelayTicket]],
    turn: TurnRelay | None = None,
) -> OwnSide:
    """A fresh key for one session; `sides` are fresh, too, with credentials for one pair each.

    `relays` are tickets by party, ours and theirs, where we have them.

    Nobody can answer checks in the name of another party, since nobody else has its password.
    """
    return OwnSide(session, port, sides, relays, bytes(PrivateKey.generate()), turn)


def given_tickets(relays: Sequence[Mapping[str, Any]]) -> tuple[RelayTicket, ...]:
    """What another party gives us: tickets of our side at its mediator's relay. Raises: BadTicket.

    Hosts that no other machine can be are passed over: another party does not have us speak to
    ourselves.
    """
    theirs = tickets_from_json(list(relays))
    if any(ticket.side == 0 for ticket in theirs):  # whose mediator it is keeps that side
        raise BadTicket("a ticket of the side that is not ours")
    elsewhere = (ticket.at(tuple(filter(is_elsewhere, ticket.hosts))) for ticket in theirs)
    return tuple(ticket for ticket in elsewhere if ticket.hosts)


def with_turn(candidates: Sequence[Candidate], turn: TurnRelay | None) -> tuple[Candidate, ...]:
    """The address that we have on a TURN server among our own."""
    if turn is None or turn.relayed is None:
        return tuple(candidates)
    return (*candidates[: MAX_CANDIDATES - 1], turn_candidate(turn.relayed))


def check_key(did: str, own: OwnSide, offers: Mapping[str, Offer]) -> None:
    """Whoever offers another's key would take its place, or make us refuse the mesh as a whole.

    Which of two that offer the same is honest, nobody can tell here.

    Raises: ValueError.
    """
    keys = {bytes(PrivateKey(own.private_key).public_key)}
    keys |= {peer_key(offer) for party, offer in offers.items() if party != did}
    if peer_key(offers[did]) in keys:
        raise ValueError("its WireGuard key is another party's, too")


def peer_key(offer: Offer) -> bytes:
    """The other party's WireGuard public key, 32 bytes."""
    return base64.b64decode(offer.wireguard_key)
