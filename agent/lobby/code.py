"""The spoken code: three words that fetch the link, by SPAKE2, through a door of their own.

The first word gives a **door**: a DID whose keys everybody can derive who knows the word and the
mediator. The host has its mediator take the door's mail; whoever was told the words writes to it.
All three words are the secret of the exchange:

    guest -> door    speak    X*
    host  -> guest   answer   Y*             from the host's own DID, which goes into the key
    guest -> host    prove    proof of the key
    host  -> guest   link     its own proof, and the link

A mediator knows the door and could stand in it; it would have to guess the other two words, 1 in
2^20, and has one try: a wrong proof burns the code, and a guest that is shown a wrong proof stops.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.lobby.pake import BadElement, Exchange, Side, proof, proves
from identity import did_peer
from identity.keys import PrivateKey
from messaging.protocols.lobby import Answer, CodeMessage, GiveLink, Prove, Speak

MAX_EXCHANGES = 64  # under way at a time: the newest count


@dataclass(frozen=True)
class Door:
    did: str
    keys: Mapping[str, PrivateKey] = field(repr=False)


def door_of(code: str, mediator: str) -> Door:
    """The door of a code's first word at the mediator with this DID."""
    word = code.partition("-")[0]
    seed = hashlib.sha512(f"didmesh lobby door 1\n{mediator}\n{word}".encode()).digest()
    agreement = PrivateKey(X25519PrivateKey.from_private_bytes(seed[:32]))
    signing = PrivateKey(Ed25519PrivateKey.from_private_bytes(seed[32:]))
    service = did_peer.didcomm_service(mediator)
    did = did_peer.create_2([agreement.public], [signing.public], [service])
    return Door(did, {f"{did}#key-1": agreement, f"{did}#key-2": signing})


class Doorkeeper:
    """The host's side: gives the link to who knows the code; one wrong guess burns it."""

    def __init__(self, code: str, me: str, link: str) -> None:
        self.burnt = False
        self._code, self._me, self._link = code, me, link
        self._exchanges: OrderedDict[str, tuple[Exchange, bytes]] = OrderedDict()

    def handle_message(self, sender: str, message: CodeMessage) -> list[tuple[str, CodeMessage]]:
        """What to answer, to whom."""
        if self.burnt:
            return []
        match message:
            case Speak():
                return self._speak(sender, message)
            case Prove():
                return self._prove(sender, message)
        return []

    def _speak(self, sender: str, message: Speak) -> list[tuple[str, CodeMessage]]:
        exchange = Exchange.begin(Side.B, self._code, sender, self._me)
        try:
            key = exchange.key(message.element)
        except BadElement:
            return []
        self._exchanges[sender] = exchange, key
        self._exchanges.move_to_end(sender)
        if len(self._exchanges) > MAX_EXCHANGES:
            self._exchanges.popitem(last=False)
        return [(sender, Answer(exchange.element))]

    def _prove(self, sender: str, message: Prove) -> list[tuple[str, CodeMessage]]:
        _, key = self._exchanges.pop(sender, (None, None))
        if key is None:
            return []
        if not proves(message.proof, key, Side.A):
            self.burnt = True
            return []
        return [(sender, GiveLink(proof(key, Side.B), self._link))]


class WrongCode(Exception):
    """Whoever answered does not know the code, or we do not."""


class Caller:
    """The guest's side; `link` is what it was given, once it is."""

    def __init__(self, code: str, me: str) -> None:
        self.link: str | None = None
        self.host: str | None = None
        self._code, self._me = code, me
        self._exchange = Exchange.begin(Side.A, code, me, "")
        self._key: bytes | None = None

    def begin(self) -> Speak:
        return Speak(self._exchange.element)

    def handle_message(self, sender: str, message: CodeMessage) -> list[tuple[str, CodeMessage]]:
        """What to answer, to whom; only the first who answers is listened to. Raises: WrongCode."""
        match message:
            case Answer() if self._key is None:
                self.host = sender
                scalar = self._exchange.scalar
                exchange = Exchange(Side.A, self._code, self._me, sender, scalar)
                try:
                    self._key = exchange.key(message.element)
                except BadElement as error:
                    raise WrongCode from error
                return [(sender, Prove(proof(self._key, Side.A)))]
            case GiveLink() if sender == self.host and self._key is not None:
                if not proves(message.proof, self._key, Side.B):
                    raise WrongCode
                self.link = message.link
        return []
