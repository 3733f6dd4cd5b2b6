"""Clients that deviate, at the mediator: answered in the form in which they spoke, and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import orjson
import pytest

from identity.keys import PrivateKey, PublicKey
from mediator.settings.config import Compat, Conformance
from messaging.encoding import load_object
from messaging.jwe import encrypt_authenticated
from messaging.message import Message
from messaging.packing import Opened
from messaging.protocols import message_pickup as pickup
from messaging.protocols.report_problem import ProblemReport
from messaging.protocols.trust_ping import Ping
from tests.support import deviating, named_tests
from tests.support.mediator_client import Party


class Draft3(Party):
    """Seals authcrypt of ECDH-1PU draft 3 and reads nothing else."""

    async def seal(self, message: Message, *, anonymous: bool = False) -> bytes:
        assert not anonymous
        timed = replace(message, frm=self.did, to=(self.mediator,), created_time=int(time.time()))
        kid, key = self.own_key()
        return deviating.draft_3(timed.serialize(), [await self.theirs()], (kid, key))

    async def open(self, envelope: bytes) -> Opened:
        kid, key = self.own_key()
        _, sender = await self.theirs()
        message = Message.parse(deviating.open_draft_3(envelope, kid, key, sender))
        return Opened(message, self.mediator, None, self.did, kid, None)

    def own_key(self) -> tuple[str, PrivateKey]:
        kid = f"{self.did}#key-1"
        return kid, self.secrets[kid]

    async def theirs(self) -> tuple[str, PublicKey]:
        [method] = (await self.resolver.resolve(self.mediator)).keys("keyAgreement")
        assert method.key is not None
        return method.id, method.key


@pytest.fixture
async def veteran(party: Callable[[], Party]) -> Draft3:
    sample = party()
    veteran = Draft3(sample.http, sample.mediator, sample.url)
    await veteran.register()
    return veteran


async def test_who_speaks_draft_3_has_the_whole_cycle(veteran: Draft3, alice: Party) -> None:
    await alice.forward(veteran.did, {"n": 1})
    [mail] = await veteran.fetch()
    assert mail.json == {"n": 1}
    await veteran.acknowledge([mail.id])
    assert (await veteran.status()).message_count == 0


async def test_what_is_pushed_is_in_the_form_of_who_listens(veteran: Draft3, alice: Party) -> None:
    async with veteran.socket() as socket:
        await alice.forward(veteran.did, {"n": 2})
        [mail] = await socket.delivered(1)
    assert mail.json == {"n": 2}


async def test_a_problem_is_reported_in_the_form_of_who_has_it(veteran: Draft3) -> None:
    assert await veteran.problem(Message("https://example.org/unknown/1.0/thing")) == (
        "e.p.msg.unsupported"
    )


async def test_draft_3_is_acted_on_once(veteran: Draft3) -> None:
    envelope = await veteran.seal(Ping().to_message())
    assert (await veteran.post(envelope)).body
    again = await veteran.open((await veteran.post(envelope)).body)
    assert ProblemReport.from_message(again.message).code == "e.p.crypto.message.dejavu"


async def test_draft_3_gives_nobody_the_mail_of_another(
    veteran: Draft3, alice: Party, stranger: Party
) -> None:
    await alice.forward(alice.did, {"n": 3})
    request = pickup.DeliveryRequest(10).to_message()
    message = replace(request, frm=alice.did, to=(alice.mediator,), created_time=int(time.time()))
    recipients = [await veteran.theirs()]
    forgeries = {
        "as Mallory, who says she is Alice": (veteran.own_key(), 400),
        "under the name of Alice's key": ((f"{alice.did}#key-1", veteran.own_key()[1]), 400),
    }
    for name, (sender, status) in forgeries.items():
        envelope = deviating.draft_3(message.serialize(), recipients, sender)
        reply = await stranger.post(envelope)
        assert reply.status == status, name
        assert b"ciphertext" not in reply.body, name
    assert (await alice.status()).message_count == 1


async def test_forwards_of_every_form_arrive(veteran: Draft3, alice: Party) -> None:
    recipients = [await veteran.theirs()]
    for number, seal in enumerate((deviating.without_apv, deviating.epk_beside_kid)):
        forward = Message.from_json(
            {
                "id": "f",
                "type": "https://didcomm.org/routing/2.0/forward",
                "body": {"next": alice.did},
                "attachments": [{"data": {"json": {"n": number}}}],
            }
        )
        assert (await alice.post(seal(forward.serialize(), recipients))).status == 200
    assert [mail.json for mail in await alice.fetch()] == [{"n": 0}, {"n": 1}]


@pytest.mark.parametrize("kind", ["ISO 8601", "milliseconds"])
async def test_times_in_other_units_are_read(alice: Party, kind: str) -> None:
    now = time.time()
    iso = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now))
    written = iso if kind == "ISO 8601" else int(now * 1000)
    value = load_object(Ping().to_message(frm=alice.did, to=(alice.mediator,)).serialize())
    value["created_time"] = written
    kid = f"{alice.did}#key-1"
    [method] = (await alice.resolver.resolve(alice.mediator)).keys("keyAgreement")
    assert method.key is not None
    envelope = encrypt_authenticated(
        orjson.dumps(value), [(method.id, method.key)], kid, alice.secrets[kid]
    )
    answer = await alice.open((await alice.post(envelope)).body)
    assert answer.message.type.endswith("ping-response")


def test_every_switch_is_on_by_default_and_weighed_on_a_page() -> None:
    page = Path(__file__).parents[3] / "docs/decisions/compatibility.md"
    for switch in fields(Compat):
        assert switch.default is True
        assert f"| `{switch.name}` |" in page.read_text()


def test_every_switch_is_turned_off_for_the_client_that_it_serves() -> None:
    tests = [f"interop/test_client_switches.py::test_{switch.name}" for switch in fields(Compat)]
    assert named_tests.missing(tests) == []


def test_every_switch_for_public_suites_is_turned_on_for_a_case_of_theirs() -> None:
    cases = (named_tests.TESTS / "mediator/conformance/test_conformance_iohk.py").read_text()
    for switch in fields(Conformance):
        assert f"{switch.name}=True" in cases, switch.name
