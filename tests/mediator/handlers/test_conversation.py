"""What a mediator says about itself."""

import time
from typing import Any

import pytest

from mediator.app import Mediator
from messaging.message import Message
from messaging.packing import unpack
from messaging.protocols import discover_features as discovery
from messaging.protocols import traversal
from messaging.protocols.empty import Empty
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party


@pytest.mark.parametrize("body", [{}, {"response_requested": True}, {"responseRequested": True}])
async def test_a_ping_is_answered_unless_it_says_no(stranger: Party, body: dict[str, Any]) -> None:
    assert (await stranger.ask(Message(Ping.TYPE, body))).type == PingResponse.TYPE


async def test_a_ping_that_wants_no_answer_gets_none(stranger: Party) -> None:
    reply = await stranger.post(await stranger.seal(Ping(response_requested=False).to_message()))
    assert (reply.status, reply.body) == (200, b"")


async def test_an_anonymous_ping_cannot_be_answered(stranger: Party) -> None:
    reply = await stranger.post(await stranger.seal(Ping().to_message(), anonymous=True))
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("type_", [Empty.TYPE, f"{Empty.TYPE}/empty"])
async def test_an_empty_message_is_heard_in_silence(stranger: Party, type_: str) -> None:
    reply = await stranger.post(await stranger.seal(Message(type_)))
    assert (reply.status, reply.body) == (200, b"")


async def test_features_are_found_by_name_and_by_prefix(stranger: Party) -> None:
    assert await disclosed(stranger, ("protocol", "https://didcomm.org/routing/2.0")) == [
        "https://didcomm.org/routing/2.0"
    ]
    assert await disclosed(stranger, ("protocol", "https://didcomm.org/*")) == [
        "https://didcomm.org/coordinate-mediation/2.0",
        "https://didcomm.org/coordinate-mediation/3.0",
        "https://didcomm.org/discover-features/2.0",
        "https://didcomm.org/empty/1.0",
        "https://didcomm.org/message-pickup/4.0",
        "https://didcomm.org/messagepickup/3.0",
        "https://didcomm.org/out-of-band/2.0",
        "https://didcomm.org/report-problem/2.0",
        "https://didcomm.org/routing/2.0",
        "https://didcomm.org/trust-ping/2.0",
    ]
    assert await disclosed(stranger, ("protocol", "https://didmesh.org/*")) == [
        "https://didmesh.org/relay/1.0",
        "https://didmesh.org/traversal/1.0",
    ]


async def test_a_protocol_is_disclosed_with_the_part_that_is_played(stranger: Party) -> None:
    roles = {
        "https://didcomm.org/messagepickup/3.0": ["mediator"],
        "https://didcomm.org/empty/1.0": None,
    }
    for protocol, expected in roles.items():
        request = discovery.Queries((discovery.Query("protocol", protocol),))
        [feature] = (await stranger.ask(request.to_message())).body["disclosures"]
        assert feature.get("roles") == expected


async def test_other_kinds_of_features_are_disclosed_as_such(stranger: Party) -> None:
    for kind, ids in {
        "goal-code": ["request-mediate"],
        "header": ["return_route"],
        "constraint": ["max_receive_bytes"],
        "extension": [
            "https://didmesh.org/pickup-paging/1.0",
            "https://didmesh.org/binding-proof/1.0",
        ],
        "nothing": [],
    }.items():
        assert await disclosed(stranger, (kind, "*")) == ids


async def test_every_protocol_disclosed_answers_and_every_other_is_unsupported(
    stranger: Party,
) -> None:
    """Truthful both ways: a message of each is understood, or at least not called unknown."""
    for protocol in await disclosed(stranger, ("protocol", "https://didcomm.org/*")):
        if protocol in SAY_NOTHING:
            continue
        answer = await stranger.ask(Message(f"{protocol}/{REQUESTS[protocol.split('/')[3]]}"))
        assert answer.body.get("code") != "e.p.msg.unsupported", protocol
    for version in ("1.0", "4.0"):
        unknown = Message(f"https://didcomm.org/coordinate-mediation/{version}/mediate-request")
        assert await stranger.problem(unknown) == "e.p.msg.unsupported"


async def test_a_pattern_of_a_stranger_is_never_an_expression(stranger: Party) -> None:
    assert await disclosed(stranger, ("protocol", ".*"), ("protocol", "(a+)+$")) == []


async def test_the_largest_message_is_disclosed(stranger: Party) -> None:
    request = discovery.Queries((discovery.Query("constraint", "max_receive_bytes"),))
    [feature] = (await stranger.ask(request.to_message())).body["disclosures"]
    assert feature == {"feature-type": "constraint", "id": "max_receive_bytes", "value": 1048576}


async def test_stun_servers_are_told_to_anyone_with_a_name(
    stranger: Party, mediator: Mediator
) -> None:
    answer = traversal.Servers.from_message(await stranger.ask(traversal.Query().to_message()))
    assert answer.stun == tuple(traversal.StunServer(port) for port in mediator.stun_ports)
    assert len(set(mediator.stun_ports)) == 2


async def test_what_is_said_to_strangers_is_signed(stranger: Party) -> None:
    reply = await stranger.post(b"rubbish")
    opened = await unpack(reply.body, secrets={}, resolver=stranger.resolver, now=int(time.time()))
    assert opened.signer == stranger.mediator
    assert opened.message.body["code"] == "e.p.msg.malformed"


async def test_a_broken_seal_is_reported_in_one_way_only(stranger: Party) -> None:
    """Which step failed is nothing a stranger should learn."""
    import orjson

    envelope = orjson.loads(await stranger.seal(Ping().to_message()))
    codes = set()
    for member in ("tag", "ciphertext", "iv"):
        text = envelope[member]
        broken = {**envelope, member: ("B" if text[0] == "A" else "A") + text[1:]}
        reply = await stranger.post(orjson.dumps(broken))
        opened = await unpack(
            reply.body, secrets={}, resolver=stranger.resolver, now=int(time.time())
        )
        codes.add((reply.status, opened.message.body["code"], opened.message.body["comment"]))
    assert len(codes) == 1


SAY_NOTHING = {  # heard in silence, or only ever said by the mediator itself
    "https://didcomm.org/empty/1.0",
    "https://didcomm.org/report-problem/2.0",
    "https://didcomm.org/out-of-band/2.0",
}
REQUESTS = {
    "coordinate-mediation": "mediate-request",
    "discover-features": "queries",
    "message-pickup": "status-request",
    "messagepickup": "status-request",
    "routing": "forward",
    "trust-ping": "ping",
}


async def disclosed(party: Party, *queries: tuple[str, str]) -> list[str]:
    request = discovery.Queries(tuple(discovery.Query(*query) for query in queries))
    answer = await party.ask(request.to_message())
    return [feature.id for feature in discovery.Disclose.from_message(answer).disclosures]
