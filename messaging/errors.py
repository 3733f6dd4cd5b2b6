"""What can be wrong with a message, by what the caller does about it.

MessagingError
├── MalformedMessage        not a DIDComm message, or beyond a limit: drop it
├── UnsupportedAlgorithm    well formed, but sealed in a way we do not open: tell the sender
├── NotAddressedToUs        none of our keys, or `to` names others: drop it and tell nobody
├── DecryptionFailed        addressed to us, yet not sealed for us or altered: drop it
├── UnprovenSender          says it is from somebody it is not: drop it, perhaps log it
├── UnresolvedSender        the sender's DID cannot be looked up now: try again later
├── Expired                 too old, or from the future
├── Replayed                we have acted on it before
└── Unreachable             packing: the other party offers no key or no service we can use
"""

from collections.abc import Sequence


class MessagingError(Exception):
    """Anything this package refuses."""


class MalformedMessage(MessagingError):
    """Breaks the format, a limit, or the order in which layers may be nested."""


class UnsupportedAlgorithm(MessagingError):
    """An `alg` or `enc` outside the list that DIDComm v2.1 asks for."""

    def __init__(self, name: object) -> None:
        super().__init__(f"unsupported algorithm {str(name)[:60]!r}")


class NotAddressedToUs(MessagingError):
    """The envelope lists none of our keys, or the message names other recipients."""

    def __init__(self, kids: Sequence[str]) -> None:
        super().__init__(f"we are not among the {len(kids)} recipients")


class DecryptionFailed(MessagingError):
    """One of our keys is named, but it does not open the envelope.

    Always the same words: which step failed is nothing a stranger should learn.
    """

    def __init__(self) -> None:
        super().__init__("the envelope does not open")


class UnprovenSender(MessagingError):
    """What the message says about its sender is not what the envelope proves."""


class UnresolvedSender(MessagingError):
    """The document of the DID that sealed or signed could not be had."""

    def __init__(self, did: str) -> None:
        super().__init__(f"cannot resolve {did[:60]}")


class Expired(MessagingError):
    """Outside the time in which the message may be acted on."""


class Replayed(MessagingError):
    """The same message from the same sender was opened before."""

    def __init__(self) -> None:
        super().__init__("this message was received before")


class Unreachable(MessagingError):
    """No key or service endpoint that both sides can use."""
