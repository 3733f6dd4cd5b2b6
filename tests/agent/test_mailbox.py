"""What a mailbox promises, against a mediator that can be made to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from agent.errors import Exit, TookTooLong
from agent.first_profile import make_profile
from agent.mail.account import (
    Account,
    MediatorConfused,
    MediatorRefused,
    MediatorUnusable,
    NoMediator,
    OtherRouting,
)
from agent.mail.delivery import CannotWrite, NotDelivered
from agent.mail.letters import Received
from agent.mail.mailbox import BATCH, Mailbox
from agent.mail.transport import EndpointUnreachable, Transport
from identity import did_peer
from identity.keys import Curve
from identity.keystore import Profile
from messaging.message import Message
from messaging.packing import pack, unpack
from messaging.protocols import message_pickup as pickup
from messaging.protocols import trust_ping
from messaging.protocols.routing import Forward
from messaging.protocols.traversal import StunServer
from messaging.rotation import PriorDid, sign_prior
from resolvers.registry import default_registry
from tests.support.parties import make_party
from tests.support.stub_mediator import StubMediator

RESOLVER = default_registry()
HELLO = "https://example.org/chat/1.0/hello"


@dataclass
class Correspondents:
    """Alice and Bob, each with a mediator of its own."""

    alice: Profile
    bob: Profile
    at_alice: StubMediator
    at_bob: StubMediator

    async def bobs_envelope(self, text: str, id_: str = "", **headers: object) -> bytes:
        """What Bob's mediator would bring to Alice's."""
        message = Message(HELLO, {"text": text}, **headers)  # type: ignore[arg-type]
        message = replace(message, id=id_) if id_ else message
        return await pack(
            message,
            to=self.alice.did,
            sender=self.bob.did,
            secrets=self.bob.secrets,
            resolver=RESOLVER,
        )


@pytest.fixture
async def both() -> AsyncIterator[Correspondents]:
    async with StubMediator().running() as at_alice, StubMediator().running() as at_bob:
        yield Correspondents(make_profile(at_alice.did), make_profile(at_bob.did), at_alice, at_bob)


# -- registering


async def test_registering_asks_for_mediation_and_adds_our_own_did(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        await mailbox.register()
        assert await registered(both.alice)
    assert both.at_alice.recipients == [both.alice.did]


async def test_registering_again_changes_nothing(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        await mailbox.register()
        await mailbox.register()
    assert both.at_alice.recipients == [both.alice.did]


async def test_a_grant_for_another_routing_did_is_refused_as_an_identity_mismatch(
    both: Correspondents,
) -> None:
    both.at_alice.routing_dids = (both.at_bob.did,)
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        with pytest.raises(OtherRouting) as caught:
            await mailbox.register()
    assert caught.value.exit_code is Exit.IDENTITY
    assert both.at_alice.recipients == []


async def test_a_mediator_may_deny(both: Correspondents) -> None:
    both.at_alice.denies = True
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        with pytest.raises(MediatorRefused):
            await mailbox.register()


async def test_an_answer_from_anybody_but_our_mediator_is_not_believed(
    both: Correspondents,
) -> None:
    both.at_alice.answers_as = both.at_bob
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        with pytest.raises(MediatorConfused):
            await mailbox.register()


async def test_a_mediator_that_forgot_us_says_not_registered(both: Correspondents) -> None:
    both.at_alice.forgets_everybody = True
    assert not await registered(both.alice)


async def test_a_mailbox_registers_again_at_a_mediator_that_lost_its_memory(
    both: Correspondents,
) -> None:
    both.at_alice.forgets_everybody = True
    async with Mailbox(both.alice, RESOLVER), asyncio.timeout(5):
        await until(lambda: both.at_alice.recipients == [both.alice.did])
        await until(lambda: both.at_alice.sockets)


def test_a_profile_without_a_mediator_has_no_mailbox() -> None:
    with pytest.raises(NoMediator):
        Mailbox(make_profile(None), RESOLVER)


async def test_a_mediator_without_an_endpoint_is_named_unusable() -> None:
    async with Mailbox(make_profile(make_profile(None).did), RESOLVER) as mailbox:
        with pytest.raises(MediatorUnusable):
            await mailbox.register()


# -- sending


async def test_a_message_reaches_the_other_party_through_its_own_mediator(
    both: Correspondents,
) -> None:
    async with Mailbox(both.alice, RESOLVER) as alice, Mailbox(both.bob, RESOLVER) as bob:
        await alice.send(Message(HELLO, {"text": "hi"}), both.bob.did)
        received = await first(bob)
    assert received.opened.sender == both.alice.did
    assert received.opened.message.body == {"text": "hi"}
    assert both.at_alice.acknowledged == []


async def test_expiry_is_told_to_the_mediator_and_to_the_recipient(both: Correspondents) -> None:
    expires = int(time.time()) + 60
    async with Mailbox(both.alice, RESOLVER) as alice, Mailbox(both.bob, RESOLVER) as bob:
        await alice.send(Message(HELLO), both.bob.did, expires)
        received = await first(bob)
    assert received.opened.message.expires_time == expires
    assert both.at_bob.forwards[0].expires_time == expires


async def test_sending_is_tried_again_until_the_mediator_takes_it(both: Correspondents) -> None:
    both.at_bob.refuses = [503, 429]
    async with Mailbox(both.alice, RESOLVER) as alice:
        await alice.send(Message(HELLO), both.bob.did)
    assert len(both.at_bob.queue) == 1


async def test_a_refusal_for_good_ends_sending_at_once(both: Correspondents) -> None:
    both.at_bob.refuses = [413]
    async with Mailbox(both.alice, RESOLVER) as alice:
        with pytest.raises(NotDelivered, match="413"):
            await alice.send(Message(HELLO), both.bob.did, seconds=60)


async def test_sending_gives_up_when_its_time_is_over(both: Correspondents) -> None:
    gone = await a_mediator_that_is_gone()
    async with Mailbox(both.alice, RESOLVER) as alice:
        with pytest.raises(NotDelivered, match="cannot reach"):
            await alice.send(Message(HELLO), make_profile(gone).did, seconds=0.5)


async def test_a_party_without_a_service_cannot_be_written_to(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as alice:
        for did in (make_profile(None).did, "did:nothing:here", "no did"):
            with pytest.raises(CannotWrite):
                await alice.send(Message(HELLO), did)


async def test_the_second_endpoint_is_used_when_the_first_is_gone(both: Correspondents) -> None:
    gone = await a_mediator_that_is_gone()
    target = make_two_mediator_party(gone, both.at_bob.did)
    async with Mailbox(both.alice, RESOLVER) as alice:
        await alice.send(Message(HELLO), target)
    assert len(both.at_bob.queue) == 1


# -- senders that have another DID than before


def moved(before: Profile, now: Profile) -> str:
    """`from_prior`: who was `before` is `now`."""
    kid = next(kid for kid, key in before.secrets.items() if key.curve is Curve.ED25519)
    return sign_prior(kid, before.secrets[kid], now.did, int(time.time()))


async def test_every_letter_tells_who_has_another_did_than_before(both: Correspondents) -> None:
    told: list[PriorDid] = []
    now = make_profile(both.at_bob.did)
    async with (
        Mailbox(both.alice, RESOLVER) as alice,
        Mailbox(now, RESOLVER) as bob,
    ):
        alice.on_rotation(told.append)
        message = Message(HELLO, from_prior=moved(both.bob, now))
        await bob.send(message, both.alice.did)
        received = await first(alice)
        await bob.send(message, both.alice.did)
        await received.acknowledge()
    assert received.opened.sender == now.did
    assert [(prior.old, prior.new) for prior in told] == [(both.bob.did, now.did)]


async def test_a_ping_under_a_former_did_may_be_answered_under_the_present_one(
    both: Correspondents,
) -> None:
    told: list[PriorDid] = []
    now = make_profile(both.at_bob.did)
    secrets = {**both.bob.secrets, **now.secrets}
    async with Mailbox(both.alice, RESOLVER) as alice:
        alice.on_rotation(told.append)
        asked = asyncio.create_task(alice.ping(both.bob.did, 5))
        while not both.at_bob.queue:
            await asyncio.sleep(0.01)
        [envelope] = both.at_bob.queue.values()
        ping = await unpack(envelope, secrets=secrets, resolver=RESOLVER, now=int(time.time()))
        pong = trust_ping.PingResponse().to_message(thid=ping.message.id)
        pong = replace(pong, frm=now.did, to=(both.alice.did,))
        answer = await pack(
            replace(pong, from_prior=moved(both.bob, now)),
            to=both.alice.did,
            sender=now.did,
            secrets=now.secrets,
            resolver=RESOLVER,
        )
        await both.at_alice.put(answer)
        assert await asked < 5
    assert [prior.new for prior in told] == [now.did]


# -- receiving


async def test_what_waited_before_we_came_is_picked_up(both: Correspondents) -> None:
    await both.at_alice.put(await both.bobs_envelope("early"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        assert text(await first(mailbox)) == "early"


async def test_mail_is_pushed_while_we_are_live(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        await settled(both.at_alice)
        asked = len(both.at_alice.asked)
        await both.at_alice.put(await both.bobs_envelope("now"))
        assert text(await reader.next()) == "now"
        assert len(both.at_alice.asked) == asked


async def test_messages_stay_queued_until_acknowledged(both: Correspondents) -> None:
    id_ = await both.at_alice.put(await both.bobs_envelope("keep me"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        received = await first(mailbox)
        await asyncio.sleep(0.1)
        assert list(both.at_alice.queue) == [id_]
        await received.acknowledge()
        await until(lambda: not both.at_alice.queue)


async def test_letters_that_come_one_after_the_other_are_acknowledged_together(
    both: Correspondents,
) -> None:
    letters = [await both.bobs_envelope(f"one of many {number}") for number in range(19)]
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        await settled(both.at_alice)
        both.at_alice.asked.clear()
        for letter in letters:
            await both.at_alice.put(letter)
            await (await reader.next()).acknowledge()
        await until(lambda: not both.at_alice.queue)
        assert len(both.at_alice.asked) <= 3


async def test_letters_that_are_read_while_others_are_picked_up_are_asked_for_once(
    both: Correspondents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.mail.mailbox.ACKNOWLEDGE_WAIT", 0.0)
    both.at_alice.pages = True
    for number in range(BATCH + 19):
        await both.at_alice.put(await both.bobs_envelope(f"one of many {number}"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        for _ in range(BATCH + 19):
            await (await reader.next()).acknowledge()
        await until(lambda: not both.at_alice.queue)
        await settled(both.at_alice)
    assert both.at_alice.asked.count(pickup.DeliveryRequest.TYPE) <= 5


async def test_an_acknowledgement_given_just_before_closing_is_not_lost(
    both: Correspondents,
) -> None:
    await both.at_alice.put(await both.bobs_envelope("last"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        await (await first(mailbox)).acknowledge()
    assert not both.at_alice.queue


async def test_a_crash_before_the_acknowledgement_means_to_see_it_again(
    both: Correspondents,
) -> None:
    await both.at_alice.put(await both.bobs_envelope("again"))
    for _ in range(2):
        async with Mailbox(both.alice, RESOLVER) as mailbox:
            assert text(await first(mailbox)) == "again"


async def test_what_one_reader_leaves_is_there_for_the_next_and_what_it_took_is_not(
    both: Correspondents,
) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        async with reading(mailbox) as reader:
            for word in ("left", "taken"):
                await both.at_alice.put(await both.bobs_envelope(word))
            got = {text(one): one for one in (await reader.next(), await reader.next())}
            await got["taken"].acknowledge()
            got["left"].leave()
        async with reading(mailbox) as reader:
            assert text(await reader.next()) == "left"
            await both.at_alice.put(await both.bobs_envelope("last"))
            assert text(await reader.next()) == "last"


async def test_what_one_reader_leaves_does_not_hold_up_what_comes_later(
    both: Correspondents,
) -> None:
    for number in range(250):
        await both.at_alice.put(await both.bobs_envelope(f"not mine {number}"))
        if number == 80:
            mine = await both.at_alice.put(await both.bobs_envelope("mine"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        while text(received := await reader.next()) != "mine":
            pass
        await received.acknowledge()
        await until(lambda: mine not in both.at_alice.queue)
        await until(lambda: both.at_alice.sockets)
        await both.at_alice.put(await both.bobs_envelope("later"))
        while text(received := await reader.next()) != "later":
            pass
    assert len(both.at_alice.queue) == 251


@pytest.mark.parametrize("offers_socket", [True, False])
async def test_any_number_of_letters_left_unread_holds_up_nothing_behind_them(
    both: Correspondents, offers_socket: bool
) -> None:
    both.at_alice.pages, both.at_alice.offers_socket = True, offers_socket
    for number in range(230):
        await both.at_alice.put(await both.bobs_envelope(f"not mine {number}"))
    mine = await both.at_alice.put(await both.bobs_envelope("mine"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        while text(received := await reader.next()) != "mine":
            pass
        await received.acknowledge()
        await until(lambda: mine not in both.at_alice.queue)
        await both.at_alice.put(await both.bobs_envelope("later"))
        while text(received := await reader.next()) != "later":
            pass
    assert len(both.at_alice.queue) == 231


async def test_a_message_delivered_twice_is_handed_on_once(both: Correspondents) -> None:
    id_ = await both.at_alice.put(await both.bobs_envelope("one"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        assert text(await reader.next()) == "one"
        await until(lambda: both.at_alice.sockets)
        await both.at_alice.push(id_)
        await both.at_alice.push(id_)
        await both.at_alice.put(await both.bobs_envelope("two"))
        assert text(await reader.next()) == "two"


async def test_a_message_its_sender_repeated_is_handed_on_once_and_acknowledged_wholly(
    both: Correspondents,
) -> None:
    for _ in range(3):
        await both.at_alice.put(await both.bobs_envelope("said thrice", "same-id"))
    await both.at_alice.put(await both.bobs_envelope("other"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        thrice = await reader.next()
        assert text(thrice) == "said thrice"
        other = await reader.next()
        assert text(other) == "other"
        await thrice.acknowledge()
        await until(lambda: len(both.at_alice.queue) == 1)
        await both.at_alice.put(await both.bobs_envelope("said thrice", "same-id"))
        await until(lambda: len(both.at_alice.queue) == 1)


async def test_the_same_id_from_two_senders_is_two_messages(both: Correspondents) -> None:
    mallory = replace(both, bob=make_profile(both.at_bob.did))
    await both.at_alice.put(await mallory.bobs_envelope("first", "same-id"))
    await both.at_alice.put(await both.bobs_envelope("second", "same-id"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        assert [text(await reader.next()) for _ in range(2)] == ["first", "second"]


async def test_messages_out_of_order_are_all_handed_on(both: Correspondents) -> None:
    both.at_alice.pushes = False
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        await settled(both.at_alice)
        ids = [await both.at_alice.put(await both.bobs_envelope(str(n))) for n in range(4)]
        await both.at_alice.push(ids[3], ids[1])
        await both.at_alice.push(ids[2], ids[0])
        assert [text(await reader.next()) for _ in range(4)] == ["3", "1", "2", "0"]


GARBAGE = {
    "not JSON": b"\x00\xff garbage",
    "empty": b"",
    "an object": b"{}",
    "plaintext": b'{"id":"1","type":"https://example.org/1.0/x","body":{}}',
    "a broken envelope": b'{"protected":"e30","recipients":[],"iv":"","ciphertext":"","tag":""}',
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_does_not_open_is_acknowledged_and_dropped(
    both: Correspondents, garbage: bytes
) -> None:
    await both.at_alice.put(garbage)
    await both.at_alice.put(await both.bobs_envelope("after it"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        assert text(await first(mailbox)) == "after it"
        await until(lambda: len(both.at_alice.queue) == 1)


async def test_an_altered_envelope_is_dropped(both: Correspondents) -> None:
    envelope = await both.bobs_envelope("true")
    await both.at_alice.put(envelope.replace(b'"tag":"', b'"tag":"A', 1))
    async with Mailbox(both.alice, RESOLVER), asyncio.timeout(5):
        await until(lambda: not both.at_alice.queue)


async def test_mail_for_somebody_else_is_dropped(both: Correspondents) -> None:
    other = make_party()
    envelope = await pack(
        Message(HELLO),
        to=other.did,
        sender=both.bob.did,
        secrets=both.bob.secrets,
        resolver=RESOLVER,
    )
    await both.at_alice.put(envelope)
    async with Mailbox(both.alice, RESOLVER):
        await until(lambda: not both.at_alice.queue)


async def test_a_message_whose_time_is_over_is_dropped(both: Correspondents) -> None:
    past = int(time.time()) - 3600
    await both.at_alice.put(await both.bobs_envelope("old news", expires_time=past))
    async with Mailbox(both.alice, RESOLVER):
        await until(lambda: not both.at_alice.queue)


async def test_frames_of_a_stranger_on_the_socket_do_no_harm(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        stranger = pickup.Delivery(()).to_message()
        for data in (
            b"garbage",
            await both.bobs_envelope("not from the mediator"),
            await pack(
                replace(stranger, attachments=()),
                to=both.alice.did,
                sender=None,
                secrets={},
                resolver=RESOLVER,
            ),
        ):
            await both.at_alice.say(data)
        await both.at_alice.put(await both.bobs_envelope("still here"))
        assert text(await reader.next()) == "still here"
        assert len(both.at_alice.sockets) == 1


async def test_mail_is_polled_when_there_is_no_socket(both: Correspondents) -> None:
    both.at_alice.offers_socket = False
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: pickup.DeliveryRequest.TYPE in both.at_alice.asked)
        await both.at_alice.put(await both.bobs_envelope("polled"))
        assert text(await reader.next()) == "polled"


async def test_a_lost_socket_is_opened_again_and_what_came_meanwhile_is_fetched(
    both: Correspondents,
) -> None:
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await until(lambda: both.at_alice.sockets)
        both.at_alice.pushes = False
        await both.at_alice.drop_sockets()
        await both.at_alice.put(await both.bobs_envelope("meanwhile"))
        assert text(await reader.next()) == "meanwhile"
        both.at_alice.pushes = True
        await until(lambda: both.at_alice.sockets)
        await both.at_alice.put(await both.bobs_envelope("live again"))
        assert text(await reader.next()) == "live again"


async def test_a_mediator_that_goes_away_and_comes_back_is_found_again(
    both: Correspondents,
) -> None:
    stub = StubMediator()
    async with stub.running() as mediator:
        profile = make_profile(mediator.did)
        port = mediator.port
    mailbox = Mailbox(profile, RESOLVER)
    async with mailbox, reading(mailbox) as reader:
        await asyncio.sleep(0.3)
        async with stub.running(port):
            await stub.put(await replace(both, alice=profile).bobs_envelope("back"))
            assert text(await reader.next()) == "back"


async def test_a_mailbox_that_nobody_reads_leaves_mail_alone(both: Correspondents) -> None:
    await both.at_alice.put(await both.bobs_envelope("for later"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        await until(lambda: pickup.DeliveryRequest.TYPE in both.at_alice.asked)
        await settled(both.at_alice)
        assert len(both.at_alice.queue) == 1
        assert text(await first(mailbox)) == "for later"


async def test_a_reader_that_leaves_gives_back_what_it_did_not_take(both: Correspondents) -> None:
    for number in range(3):
        await both.at_alice.put(await both.bobs_envelope(str(number)))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        assert text(await first(mailbox)) == "0"
        async with reading(mailbox) as reader:
            assert {text(await reader.next()) for _ in range(2)} == {"1", "2"}


async def test_two_mailboxes_of_one_profile_both_see_the_mail(both: Correspondents) -> None:
    one, two = Mailbox(both.alice, RESOLVER), Mailbox(both.alice, RESOLVER)
    async with one, two, reading(one) as here, reading(two) as there:
        await until(lambda: len(both.at_alice.sockets) == 2)
        await both.at_alice.put(await both.bobs_envelope("for the second"))
        assert text(await here.next()) == "for the second"
        received = await there.next()
        assert text(received) == "for the second"
        await received.acknowledge()
        await until(lambda: not both.at_alice.queue)


async def test_a_second_reader_of_one_mailbox_is_refused(both: Correspondents) -> None:
    await both.at_alice.put(await both.bobs_envelope("for the first"))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        await reader.next()
        with pytest.raises(RuntimeError, match="reader"):
            await first(mailbox)


async def test_a_flood_is_held_back_at_the_mediator_and_not_in_memory(
    both: Correspondents,
) -> None:
    for number in range(200):
        await both.at_alice.put(await both.bobs_envelope(str(number)))
    async with Mailbox(both.alice, RESOLVER) as mailbox, reading(mailbox) as reader:
        received = await reader.next()
        await until(mailbox._inbox.full)
        await settled(both.at_alice)
        assert mailbox._inbox.qsize() == 64
        seen = {text(received)}
        await received.acknowledge()
        while len(seen) < 200:
            received = await reader.next()
            await received.acknowledge()
            seen.add(text(received))


# -- pings


async def test_any_open_mailbox_answers_a_ping(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as alice, Mailbox(both.bob, RESOLVER):
        assert 0 < await alice.ping(both.bob.did, 5) < 5
    assert not both.at_alice.queue
    assert not both.at_bob.queue


async def test_a_ping_that_nobody_answers_is_a_timeout(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as alice:
        with pytest.raises(TookTooLong):
            await alice.ping(both.bob.did, 0.3)


async def test_a_mailbox_says_what_keeps_mail_away(both: Correspondents) -> None:
    gone = await a_mediator_that_is_gone()
    async with Mailbox(make_profile(gone), RESOLVER) as mailbox:
        await until(lambda: mailbox.trouble)
        assert mailbox.trouble == "connection refused"
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        await until(lambda: both.at_alice.sockets)
        assert mailbox.trouble is None


async def test_a_ping_that_wants_no_answer_gets_none(both: Correspondents) -> None:
    async with Mailbox(both.alice, RESOLVER) as alice, Mailbox(both.bob, RESOLVER):
        await alice.send(trust_ping.Ping(response_requested=False).to_message(), both.bob.did)
        await until(lambda: both.at_bob.acknowledged)
        await asyncio.sleep(0.1)
        assert not both.at_alice.queue


async def test_only_the_party_that_was_pinged_can_answer(both: Correspondents) -> None:
    mallory = make_profile(both.at_bob.did)
    both.at_bob.pushes = False
    async with Mailbox(both.alice, RESOLVER) as alice, Mailbox(mallory, RESOLVER) as attacker:
        ping = asyncio.create_task(alice.ping(both.bob.did, 1))
        await until(lambda: both.at_bob.forwards)
        [envelope] = Forward.from_message(both.at_bob.forwards[0]).envelopes()
        seen = await unpack(
            envelope, secrets=both.bob.secrets, resolver=RESOLVER, now=int(time.time())
        )
        thread = seen.message.id
        await attacker.send(trust_ping.PingResponse().to_message(thid=thread), both.alice.did)
        with pytest.raises(TookTooLong):
            await ping


# -- the rest


async def test_stun_servers_without_a_host_are_at_the_mediator(both: Correspondents) -> None:
    both.at_alice.stun = [StunServer(3478), StunServer(3479, "127.0.0.9")]
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        assert await mailbox.account.stun_servers() == (("127.0.0.1", 3478), ("127.0.0.9", 3479))


async def test_whose_mail_is_at_our_mediator_is_known_without_asking_anybody(
    both: Correspondents,
) -> None:
    neighbour, nobody = make_profile(both.at_alice.did), make_profile(None)
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        found = [
            await mailbox.account.keeps_mail_of(other.did)
            for other in (neighbour, both.bob, nobody)
        ]
    assert found == [True, False, False]


async def test_errors_of_the_caller_leave_the_mailbox_as_they_are(both: Correspondents) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Mailbox(both.alice, RESOLVER):
            raise ZeroDivisionError


async def test_an_unreachable_mediator_is_named(both: Correspondents) -> None:
    gone = await a_mediator_that_is_gone()
    async with Mailbox(make_profile(gone), RESOLVER) as mailbox:
        with pytest.raises(EndpointUnreachable, match="cannot reach mediator http://"):
            await mailbox.register()


async def test_secrets_appear_in_no_repr(both: Correspondents) -> None:
    await both.at_alice.put(await both.bobs_envelope("hi"))
    async with Mailbox(both.alice, RESOLVER) as mailbox:
        shown = repr(mailbox) + repr(await first(mailbox)) + repr(both.alice)
    for key in both.alice.secrets.values():
        assert key.to_jwk()["d"] not in shown


# -- helpers


class Reader:
    """Waits for the next message from the start, as a program would."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._stream = mailbox.received()
        self._expect()

    async def next(self) -> Received:
        async with asyncio.timeout(10):
            received = await self._coming
        self._expect()
        return received

    async def close(self) -> None:
        self._coming.cancel()
        await asyncio.wait({self._coming})
        await self._stream.aclose()

    def _expect(self) -> None:
        self._coming = asyncio.ensure_future(anext(self._stream))


@contextlib.asynccontextmanager
async def reading(mailbox: Mailbox) -> AsyncIterator[Reader]:
    reader = Reader(mailbox)
    try:
        yield reader
    finally:
        await reader.close()


async def first(mailbox: Mailbox) -> Received:
    async with reading(mailbox) as reader:
        return await reader.next()


def text(received: Received) -> object:
    return received.opened.message.body.get("text")


async def registered(profile: Profile) -> bool:
    async with Transport() as transport:
        return await Account(profile, RESOLVER, transport).registered()


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def settled(stub: StubMediator) -> None:
    """Until it is asked nothing more."""
    asked = -1
    while asked != len(stub.asked):
        asked = len(stub.asked)
        await asyncio.sleep(0.2)


async def a_mediator_that_is_gone() -> str:
    async with StubMediator().running() as stub:
        return stub.did


def make_two_mediator_party(first_did: str, second_did: str) -> str:
    party = make_party()
    services = [did_peer.didcomm_service(did) for did in (first_did, second_did)]
    return did_peer.create_2([party.encryption.public], [party.authentication.public], services)
