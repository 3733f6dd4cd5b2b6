"""What a mediator says about itself: ping, features, servers, and what it hears in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from mediator.errors import Refusal
from mediator.handlers.dispatch import Handler, Request
from mediator.settings.config import Conformance
from messaging import binding
from messaging.message import Message
from messaging.protocols.discover_features import Feature, Queries
from messaging.protocols.empty import Empty
from messaging.protocols.message_pickup import PAGING
from messaging.protocols.out_of_band import REQUEST_MEDIATE, Invitation
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.traversal import MAX_SERVERS, Query, Servers, StunServer
from messaging.protocols.trust_ping import Ping, PingResponse

BASIC_MESSAGE = "https://didcomm.org/basicmessage/2.0/message"
ROLES = {
    "coordinate-mediation": "mediator",
    "discover-features": "responder",
    "message-pickup": "mediator",
    "messagepickup": "mediator",
    "out-of-band": "sender",
    "relay": "relay",
    "routing": "mediator",
    "trust-ping": "receiver",
}


def handlers(
    stun_ports: Sequence[int], conformance: Conformance, stun_hosts: Sequence[str] = ()
) -> Mapping[str, Handler]:
    """`stun_hosts`: none are named where it is the host of the mediator's own URL."""
    stun = tuple(
        StunServer(port, host) for host in tuple(stun_hosts) or (None,) for port in stun_ports
    )

    async def servers(request: Request) -> Message:
        Query.from_message(request.message)
        request.proven_sender()
        return Servers(stun[:MAX_SERVERS]).to_message()

    return {
        Ping.TYPE: _answer_ping,
        Empty.TYPE: _hear,
        f"{Empty.TYPE}/empty": _hear,
        ProblemReport.TYPE: _hear,
        Query.TYPE: servers,
        **({BASIC_MESSAGE: _hear_words} if conformance.basic_messages else {}),
    }


def discovery(handled: Iterable[str], max_receive_bytes: int) -> Mapping[str, Handler]:
    """Discloses the protocols of the message types that are `handled`, its own among them."""
    features = [
        *(Feature("protocol", protocol, _roles(protocol)) for protocol in protocols(handled)),
        Feature("goal-code", REQUEST_MEDIATE),
        Feature("header", "return_route"),
        Feature("constraint", "max_receive_bytes", {"value": max_receive_bytes}),
        Feature("extension", PAGING),
        Feature("extension", binding.FORMAT),
    ]

    async def disclose(request: Request) -> Message:
        return Queries.from_message(request.message).select(features).to_message()

    return {Queries.TYPE: disclose}


def protocols(handled: Iterable[str]) -> list[str]:
    """Those that are spoken where these message types are `handled`."""
    return sorted({_protocol(type_) for type_ in (*handled, Queries.TYPE, Invitation.TYPE)})


def _roles(protocol: str) -> Mapping[str, Sequence[str]]:
    """Which parts of a protocol the mediator plays; most have but one that it could."""
    role = ROLES.get(protocol.rsplit("/", 2)[-2])
    return {} if role is None else {"roles": [role]}


def _protocol(type_: str) -> str:
    """The part that names protocol and version; of the empty message that is all of it."""
    found = re.match(r".*?/\d+\.\d+", type_)
    return type_ if found is None else found[0]


async def _answer_ping(request: Request) -> Message | None:
    wanted = Ping.from_message(request.message).response_requested
    return PingResponse().to_message() if wanted else None


async def _hear_words(request: Request) -> None:
    if not isinstance(request.message.body.get("content"), str):
        raise Refusal(f"e.p.msg.{BASIC_MESSAGE}", "`content` is not a string")


async def _hear(_: Request) -> None:
    """Nothing to do and nothing to say."""
