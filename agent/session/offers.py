"""Our side of every pair: the keys of one session, and the offer each other party gets of them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nacl.public import PrivateKey

from agent.connectivity import LocalSide, RemoteSide
from agent.udp import UdpPort
from messaging.errors import MalformedMessage
from messaging.protocols.session import Offer
from traversal.candidate import Candidate


@dataclass(frozen=True)
class OwnSide:
    """Everything here lives in memory only, and for one session."""

    session: str
    port: UdpPort
    sides: Mapping[str, LocalSide]  # by the one party that is offered it
    private_key: bytes = field(repr=False)  # WireGuard's, 32 bytes

    def offers(self) -> dict[str, Offer]:
        """Our offer for each other party."""
        public = base64.b64encode(bytes(PrivateKey(self.private_key).public_key)).decode()
        return {did: self._offer(public, side) for did, side in self.sides.items()}

    def _offer(self, public: str, side: LocalSide) -> Offer:
        return Offer(
            session=self.session,
            wireguard_key=public,
            ufrag=side.ufrag,
            password=side.password,
            candidates=tuple(candidate.to_json() for candidate in side.candidates),
        )


def make_own_side(
    session: str, port: UdpPort, candidates: Sequence[Candidate], others: Iterable[str]
) -> OwnSide:
    """Fresh keys for one session, and check credentials of their own for every pair.

    Nobody can answer checks in the name of another party, since nobody else has its password.
    """
    sides = {
        did: LocalSide(secrets.token_urlsafe(6), secrets.token_urlsafe(24), tuple(candidates))
        for did in others
    }
    return OwnSide(session, port, sides, bytes(PrivateKey.generate()))


def remote_side(offer: Offer) -> RemoteSide:
    """Another party's credentials and candidates.

    Raises: MalformedMessage.
    """
    try:
        candidates = tuple(Candidate.from_json(candidate) for candidate in offer.candidates)
    except ValueError as error:
        raise MalformedMessage(f"a candidate cannot be used: {error}") from error
    return RemoteSide(offer.ufrag, offer.password, candidates)


def peer_key(offer: Offer) -> bytes:
    """The other party's WireGuard public key, 32 bytes."""
    return base64.b64decode(offer.wireguard_key)
