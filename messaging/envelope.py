"""What an envelope may look like and what it has to agree with: pure checks, no keys.

Layers, from the outside; each may be missing, none may come twice or in another order:

    anoncrypt ( authcrypt ( signed ( message ) ) )

Source: DIDComm Messaging v2.1, "IANA Media Types" and "Message Layer Addressing Consistency".
"""

from dataclasses import dataclass, field

from messaging.compat import STRICT, Leniency
from messaging.encoding import MAX_BYTES, load_object
from messaging.errors import Expired, MalformedMessage, NotAddressedToUs, UnprovenSender
from messaging.jwe import DIDCOMM, Dialect, Jwe
from messaging.jws import Jws
from messaging.key_agreement import Agreement
from messaging.message import Message

CLOCK_SKEW = 120  # seconds that two clocks may differ
MAX_AGE = 7 * 24 * 3600  # seconds; nobody keeps a message for longer

Layer = Jwe | Jws | Message


def read(data: bytes, leniency: Leniency = STRICT) -> Layer:
    """The outermost layer of `data`; size first, then structure.

    Raises: MalformedMessage, UnsupportedAlgorithm.
    """
    if len(data) > MAX_BYTES:
        raise MalformedMessage(f"longer than {MAX_BYTES} bytes")
    value = load_object(data)
    # Only a message has a type, and it may have unknown headers by the names of the others.
    if "type" in value:
        return Message.from_json(value)
    if "ciphertext" in value:
        return Jwe.from_json(value, leniency)
    if "payload" in value:
        return Jws.from_json(value)
    raise MalformedMessage("neither encrypted nor signed nor a message")


def read_inside(outer: Jwe | Jws, data: bytes, leniency: Leniency = STRICT) -> Layer:
    """The layer that `outer` held. Raises: also MalformedMessage if it may not stand there."""
    inner = read(data, leniency)
    if _depth(inner) <= _depth(outer):
        raise MalformedMessage("layers in an order that DIDComm does not have")
    return inner


def _depth(layer: Layer) -> int:
    if isinstance(layer, Jwe):
        return 0 if layer.agreement is Agreement.ANONYMOUS else 1
    return 2 if isinstance(layer, Jws) else 3


@dataclass(slots=True)
class Evidence:
    """What the layers of one envelope have proven, all of it DIDs."""

    recipient: str | None = None  # ours: its key opened the envelope
    sender: str | None = None  # its key agreement key sealed the envelope
    signers: set[str] = field(default_factory=set)  # their authentication keys signed the message
    dialect: Dialect = DIDCOMM  # in which the sender sealed

    @property
    def author(self) -> str | None:
        return self.sender if self.sender is not None else next(iter(self.signers), None)


def check_addressing(
    message: Message, evidence: Evidence, our_dids: frozenset[str] | set[str]
) -> None:
    """The header must say what the envelope proved.

    A missing `to` is fine (forwards often have none) unless the message is signed and encrypted:
    whoever received such a message could seal it again, and make it look meant for us.

    Raises: UnprovenSender, NotAddressedToUs.
    """
    proven = {evidence.sender} if evidence.sender is not None else set()
    if (proven | evidence.signers) - {message.frm}:
        raise UnprovenSender("`from` is not who sealed or signed the message")
    if message.to:
        ours = {evidence.recipient} if evidence.recipient is not None else our_dids
        if ours.isdisjoint(message.to):
            raise NotAddressedToUs(message.to)
    elif evidence.signers and evidence.recipient is not None:
        raise NotAddressedToUs(())


def check_times(message: Message, now: int) -> None:
    """`now` in UTC seconds. Raises: Expired."""
    if message.expires_time is not None and message.expires_time + CLOCK_SKEW < now:
        raise Expired("the message has expired")
    if message.created_time is not None:
        if message.created_time - CLOCK_SKEW > now:
            raise Expired("the message is from the future: one of the clocks is wrong")
        if message.created_time + MAX_AGE + CLOCK_SKEW < now:
            raise Expired("the message is older than anybody keeps messages")
