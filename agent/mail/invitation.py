"""From what a person is given (an address, a link, a DID) to the mediator's DID."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from agent.errors import AgentError, UsageMistake
from agent.mail.transport import EndpointRefused, Transport
from identity.did import parse_did, shorten
from identity.errors import InvalidDid
from messaging.errors import MalformedMessage
from messaging.message import Message
from messaging.protocols.out_of_band import Invitation


class NoInvitation(AgentError):
    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"{uri} is not a mediator: {reason}",
            "the address that `mediator run` prints, without anything behind it",
        )


@dataclass(frozen=True)
class Invited:
    """Where we may ask for an account; a closed mediator wants `by`, the invitation's id."""

    mediator: str | None  # its DID; None: nowhere
    by: str | None = None


async def find_mediator(text: str, transport: Transport) -> Invited:
    """The mediator that `text` names.

    `text` is a DID, a link that carries an invitation (`?_oob=`), or the address of a mediator,
    which is asked for its invitation.

    Raises: UsageMistake, NoInvitation, EndpointUnreachable.
    """
    if text.startswith("did:"):
        try:
            parse_did(text)
        except InvalidDid as error:
            raise UsageMistake(str(error)) from error
        return Invited(text)
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageMistake(
            f"{shorten(text)!r} is neither a DID nor an address",
            "for example --mediator https://mediator.example",
        )
    try:
        if "_oob" in parse_qs(parts.query):
            invitation = Invitation.from_url(text)
        else:
            invitation = await _ask(text, transport)
        return Invited(invitation.frm, invitation.id)
    except MalformedMessage as error:
        raise NoInvitation(text, str(error)) from error


async def _ask(address: str, transport: Transport) -> Invitation:
    address = address.rstrip("/")
    uri = address if address.endswith("/invitation") else f"{address}/invitation"
    try:
        answer = await transport.get_json(uri)
    except EndpointRefused as error:
        raise NoInvitation(address, str(error)) from error
    except ValueError:
        raise NoInvitation(address, "its invitation is not JSON") from None
    if not isinstance(answer, dict):
        raise NoInvitation(address, "its invitation is not an object")
    return Invitation.from_message(Message.from_json(answer))
