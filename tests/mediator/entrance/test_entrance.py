"""What comes through the door: sizes, media types, rubbish, repetition, routes back."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediator.app import Mediator, running
from mediator.settings.config import Config
from messaging.message import Attachment, Message
from messaging.protocols.out_of_band import Invitation
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.trust_ping import Ping, PingResponse
from tests.support.mediator_client import Party

UNKNOWN = Message("https://example.org/unknown/1.0/question")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/didcomm-encrypted+json",
        "application/didcomm-encrypted+json; charset=utf-8",
        "application/octet-stream",
        "text/plain",
        "nonsense",
    ],
)
async def test_any_content_type_is_let_in(alice: Party, content_type: str) -> None:
    envelope = await alice.seal(Ping().to_message())
    reply = await alice.post(envelope, **{"Content-Type": content_type})
    assert (reply.status, reply.content_type) == (200, "application/didcomm-encrypted+json")


@pytest.mark.parametrize("route", [None, "all", "thread"])
async def test_an_answer_comes_back_the_same_way(alice: Party, route: str | None) -> None:
    ping = Ping().to_message(return_route=route)
    answer = await alice.ask(ping)
    assert (answer.type, answer.thid) == (PingResponse.TYPE, ping.id)


async def test_without_a_return_route_it_is_done_in_silence(alice: Party) -> None:
    reply = await alice.post(await alice.seal(Ping().to_message(return_route="none")))
    assert (reply.status, reply.body) == (200, b"")


async def test_a_message_in_a_thread_is_answered_in_it(alice: Party) -> None:
    assert (await alice.ask(Ping().to_message(thid="thread-1"))).thid == "thread-1"


async def test_an_unknown_type_is_reported_to_who_proved_to_have_sent_it(alice: Party) -> None:
    answer = await alice.ask(UNKNOWN)
    assert answer.type == ProblemReport.TYPE
    assert answer.body["code"] == "e.p.msg.unsupported"
    assert answer.pthid == UNKNOWN.id


@pytest.mark.parametrize(
    ("type_", "answer"),
    [
        ("https://didcomm.org/trust-ping/2.0/ping", PingResponse.TYPE),
        ("https://didcomm.org/trust-ping/2.7/ping", PingResponse.TYPE),
        ("https://didcomm.org/Trust_Ping/2.0/PING", PingResponse.TYPE),
        (
            "https://didcomm.org/messagepickup/4.0/status-request",
            "https://didcomm.org/message-pickup/4.0/status",
        ),
        (
            "https://didcomm.org/message-pickup/3.1/StatusRequest",
            "https://didcomm.org/messagepickup/3.0/status",
        ),
        ("https://didcomm.org/trust-ping/3.0/ping", ProblemReport.TYPE),
        ("https://didcomm.org/trust-ping/2/ping", ProblemReport.TYPE),
        ("https://example.org/trust-ping/2.0/ping", ProblemReport.TYPE),
        ("https://didcomm.org/trust-ping/2.0/ping/x", ProblemReport.TYPE),
        (f"https://didcomm.org/trust-ping/2.0/{'-' * 300}ping", ProblemReport.TYPE),
    ],
)
async def test_a_type_is_known_by_its_names_and_its_major_version(
    alice: Party, type_: str, answer: str
) -> None:
    assert (await alice.ask(Message(type_))).type == answer


async def test_a_forward_by_another_spelling_is_no_less_a_forward(alice: Party) -> None:
    """What is refused of it, may be repeated of it and is counted of it is the same."""
    message = Message(
        "https://didcomm.org/Routing/2.1/FORWARD",
        {"next": alice.did},
        attachments=(Attachment(json={"protected": "x"}),),
    )
    envelope = await alice.seal(message)
    assert [(await alice.post(envelope)).body for _ in range(2)] == [b"", b""]
    assert len(await alice.fetch()) == 1


async def test_a_problem_report_is_never_answered(alice: Party) -> None:
    for message in (
        ProblemReport("e.p.whatever").to_message(pthid="x"),
        Message(ProblemReport.TYPE, {"no": "code"}),
    ):
        for anonymous in (False, True):
            reply = await alice.post(await alice.seal(message, anonymous=anonymous))
            assert (reply.status, reply.body) == (200, b"")


async def test_the_same_bytes_are_acted_on_once(alice: Party) -> None:
    envelope = await alice.seal(Ping().to_message())
    assert (await alice.open((await alice.post(envelope)).body)).message.type == PingResponse.TYPE
    report = (await alice.open((await alice.post(envelope)).body)).message
    assert report.body["code"] == "e.p.crypto.message.dejavu"


async def test_an_envelope_of_the_largest_size_is_read_and_one_more_byte_is_not(
    alice: Party,
) -> None:
    largest = b"{" + b" " * (1024 * 1024 - 1)
    assert (await alice.post(largest)).status == 400
    assert (await alice.post(largest + b" ")).status == 413


async def test_a_body_of_unknown_length_is_read_to_the_limit_only(alice: Party) -> None:
    async def endless() -> object:
        for _ in range(64):
            yield b" " * 65536

    try:
        async with alice.http.post(alice.url, data=endless()) as answer:
            assert answer.status == 413
    except aiohttp.ClientConnectionError:
        pass  # closed while we were still sending
    assert (await alice.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_a_compressed_body_is_not_unpacked(alice: Party) -> None:
    import zlib

    bomb = zlib.compress(b" " * (8 * 1024 * 1024))
    with contextlib.suppress(aiohttp.ClientConnectionError):  # closed while we were sending
        assert (await alice.post(bomb, **{"Content-Encoding": "deflate"})).status == 415
    assert (await alice.ask(Ping().to_message())).type == PingResponse.TYPE


async def test_too_large_a_frame_closes_the_socket(alice: Party) -> None:
    async with alice.socket(live=False) as socket:
        await socket.connection.send_bytes(b" " * (1024 * 1024 + 1))
        assert (await socket.connection.receive(timeout=5)).data == 1009


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("HEAD", "/livez", 200),
        ("GET", "/invitation", 200),
        ("GET", "/", 200),
        ("GET", "/readyz", 200),
        ("PUT", "/", 405),
        ("POST", "/livez", 405),
        ("POST", "/elsewhere", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/ws", 426),
    ],
)
async def test_there_are_few_doors(alice: Party, method: str, path: str, status: int) -> None:
    async with alice.http.request(method, f"{alice.url}{path}") as answer:
        assert answer.status == status


async def test_the_invitation_names_the_mediator(alice: Party) -> None:
    async with alice.http.get(f"{alice.url}/invitation") as answer:
        invitation = Invitation.from_message(Message.parse(await answer.read()))
    assert (invitation.frm, invitation.goal_code) == (alice.mediator, "request-mediate")


async def test_a_public_url_with_a_path_moves_every_door(tmp_path: Path) -> None:
    config = Config(
        tmp_path / "m.db", "127.0.0.1", 0, public_url="http://localhost:1/mail", stun_ports=(0,)
    )
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        assert mediator.identity.websocket_url == "ws://localhost:1/mail/ws"
        address = f"http://127.0.0.1:{mediator.listens[1]}"
        for path in ("", "/mail", "/mail/"):
            party = Party(http, mediator.identity.did, address + path)
            assert (await party.ask(Ping().to_message())).type == PingResponse.TYPE
        async with http.get(f"{address}/mail/invitation") as answer:
            assert answer.status == 200
        async with http.ws_connect(f"{address}/mail/ws") as socket:
            await socket.close()


async def test_a_slow_stranger_harms_nobody(mediator: Mediator, alice: Party) -> None:
    host, port = mediator.listens
    slow = [await asyncio.open_connection(host, port) for _ in range(50)]
    for _, writer in slow:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert (await asyncio.wait_for(alice.ask(Ping().to_message()), 5)).type == PingResponse.TYPE
    for _, writer in slow:
        writer.close()


async def test_a_client_that_waits_for_a_go_ahead_gets_it(mediator: Mediator) -> None:
    reader, writer = await asyncio.open_connection(*mediator.listens)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 2)).startswith(b"HTTP/1.1 100")
    writer.write(b"{}")
    await reader.readline()
    assert (await asyncio.wait_for(reader.readline(), 2)).startswith(b"HTTP/1.1 400")
    writer.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)
BODIES = ("next", "updates", "limit", "message_id_list", "live_delivery", "queries", "paginate")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300) | json_values.map(lambda v: json.dumps(v).encode()))
def test_no_bytes_bring_the_entrance_down(loopback: Callable[..., int], data: bytes) -> None:
    assert loopback(data) == 400


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.integers(0, 20),
    body=st.dictionaries(st.sampled_from(BODIES), json_values, max_size=4),
    attachments=json_values,
    anonymous=st.booleans(),
)
def test_no_sealed_message_brings_a_handler_down(
    loopback: Callable[..., int], kind: int, body: object, attachments: object, anonymous: bool
) -> None:
    assert loopback(None, kind, body, attachments, anonymous) in {200, 400, 413}


@pytest.fixture
def loopback(tmp_path: Path) -> object:
    """Posts bytes, or a message sealed by somebody who is registered; the status."""
    from mediator.handlers import conversation, coordination, forwarding, pickup
    from mediator.settings.config import Compat, Conformance, Limits

    types = sorted(
        {
            *coordination.handlers(None, (), Conformance(), Compat(), None, None),  # type: ignore[arg-type]
            *forwarding.handlers(None, None, None, None, Limits(), Conformance(), True),  # type: ignore[arg-type]
            *pickup.handlers(None, None, Limits(), None),  # type: ignore[arg-type]
            *conversation.handlers((), Conformance(basic_messages=True)),
            *conversation.discovery((), 1),
        }
    )
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def start() -> Party:
            config = Config(tmp_path / "m.db", "127.0.0.1", 0, stun_ports=(0,))
            mediator = await stack.enter_async_context(running(config))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            party = Party(http, mediator.identity.did, mediator.identity.public_url)
            await party.register()
            return party

        party = runner.run(start())

        async def post(
            data: bytes | None,
            kind: int = 0,
            body: object = None,
            attachments: object = None,
            anonymous: bool = False,
        ) -> int:
            if data is None:
                raw = {"id": "x", "type": types[kind % len(types)], "body": body}
                if isinstance(attachments, list):
                    raw["attachments"] = [{"data": value} for value in attachments]
                data = await _seal_raw(party, raw, anonymous)
            return (await party.post(data)).status

        yield lambda *arguments: runner.run(post(*arguments))
        runner.run(stack.aclose())


async def _seal_raw(party: Party, raw: dict[str, object], anonymous: bool) -> bytes:
    """Seal what no well-behaved library would."""
    from messaging.jwe import encrypt_anonymously, encrypt_authenticated

    document = await party.resolver.resolve(party.mediator)
    keys = [(m.id, m.key) for m in document.keys("keyAgreement") if m.key is not None]
    if anonymous:
        raw = {"to": [party.mediator], **raw}
        return encrypt_anonymously(json.dumps(raw).encode(), keys)
    raw = {"from": party.did, "to": [party.mediator], **raw}
    kid = f"{party.did}#key-1"
    return encrypt_authenticated(json.dumps(raw).encode(), keys, kid, party.secrets[kid])
