"""`from_prior`: a party under a new DID keeps its account, and nobody else gets it."""

import time
from collections.abc import Callable
from dataclasses import replace

import orjson

from mediator.app import Mediator
from mediator.handlers.rotations import Rotations
from messaging.jws import sign_compact
from messaging.message import Message
from messaging.packing import pack
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols import message_pickup as pickup
from messaging.protocols.report_problem import ProblemReport
from messaging.rotation import PriorDid, sign_prior
from tests.support.mediator_client import Party

NOW = int(time.time())


async def test_keylist_and_queue_follow_to_the_new_did(
    alice: Party, party: Callable[[], Party]
) -> None:
    old = alice.did
    await alice.forward(old, {"n": 1})
    new = party()
    answer = await ask(new, pickup.StatusRequest().to_message(), _prior(alice, new))
    assert pickup.Status.from_message(answer).message_count == 1
    assert await new.bound() == (old,)
    await new.forward(old, {"n": 2})  # who has not heard of it writes to the old DID
    assert [a.json["n"] for a in await new.fetch()] == [1, 2]


async def test_the_old_did_has_no_account_any_more(
    alice: Party, party: Callable[[], Party]
) -> None:
    await rotate(alice, party())
    assert await alice.problem(pickup.StatusRequest().to_message()) == "e.p.req.not_enroll"


async def test_it_may_come_with_any_message_and_again_and_again(
    alice: Party, party: Callable[[], Party]
) -> None:
    new = party()
    prior = _prior(alice, new)
    for _ in range(3):
        answer = await ask(new, mediation.RecipientQuery().to_message(), prior)
        assert mediation.Recipients.from_message(answer).dids == (alice.did,)


async def test_answers_go_to_the_new_did(alice: Party, party: Callable[[], Party]) -> None:
    new = party()
    answer = await ask(new, pickup.StatusRequest().to_message(), _prior(alice, new))
    assert answer.to == (new.did,)


async def test_two_accounts_of_one_party_become_one(alice: Party, bob: Party) -> None:
    await alice.forward(alice.did, {"n": 1})
    await alice.forward(bob.did, {"n": 2})
    await rotate(alice, bob)
    assert set(await bob.bound()) == {alice.did, bob.did}
    assert [a.json["n"] for a in await bob.fetch()] == [1, 2]


async def test_a_did_that_a_squatter_bound_comes_along(
    alice: Party, bob: Party, party: Callable[[], Party]
) -> None:
    """The envelope proves the new DID; the squatter proved nothing."""
    new = party()
    assert await bob.bind(new.did) == "success"
    await rotate(alice, new)
    assert new.did in await new.bound()
    assert new.did not in await bob.bound()


async def test_nobody_takes_an_account_without_the_signature_of_its_did(
    alice: Party, bob: Party, party: Callable[[], Party]
) -> None:
    await alice.forward(alice.did, {"n": 1})
    thief, kid, key = party(), f"{alice.did}#key-2", bob.secrets[f"{bob.did}#key-2"]
    tokens = [
        sign_prior(kid, key, thief.did, NOW),  # with another's key
        _prior(alice, bob),  # for somebody else
    ]
    for token in tokens:
        request = pickup.StatusRequest().to_message(from_prior=token)
        reply = await thief.post(await thief.seal(request))
        assert reply.status == 400
    assert [a.json["n"] for a in await alice.fetch()] == [1]


async def test_a_key_for_encryption_signs_no_rotation(
    alice: Party, party: Callable[[], Party]
) -> None:
    new = party()
    token = sign_prior(f"{alice.did}#key-1", alice.secrets[f"{alice.did}#key-2"], new.did, NOW)
    request = pickup.StatusRequest().to_message(from_prior=token)
    assert (await new.post(await new.seal(request))).status == 400
    assert await alice.bound() == (alice.did,)


async def test_a_rotation_that_was_followed_is_not_followed_again(
    alice: Party, party: Callable[[], Party]
) -> None:
    """Who kept the old statement cannot use it on an account that was opened afterwards."""
    new = party()
    prior = _prior(alice, new, NOW)
    await ask(new, pickup.StatusRequest().to_message(), prior)
    await alice.register()  # the old DID again, for something else
    await ask(new, pickup.StatusRequest().to_message(), prior)
    await ask(new, pickup.StatusRequest().to_message(), _prior(alice, new, NOW - 5))
    assert (await alice.status()).message_count == 0
    await rotate(alice, new, NOW + 1)
    assert await alice.problem(pickup.StatusRequest().to_message()) == "e.p.req.not_enroll"


async def test_a_statement_without_a_time_is_followed_once(
    alice: Party, party: Callable[[], Party]
) -> None:
    new = party()
    claims = orjson.dumps({"iss": alice.did, "sub": new.did})
    prior = sign_compact(
        claims, alice.secrets[f"{alice.did}#key-2"], f"{alice.did}#key-2", typ="JWT"
    )
    await ask(new, pickup.StatusRequest().to_message(), prior)
    assert await new.bound() == (alice.did,)
    await alice.register()
    await ask(new, pickup.StatusRequest().to_message(), prior)
    assert await alice.bound() == (alice.did,)


async def test_an_envelope_that_is_replayed_moves_nothing(
    alice: Party, party: Callable[[], Party]
) -> None:
    new, newer = party(), party()
    request = pickup.StatusRequest().to_message(from_prior=_prior(alice, new))
    envelope = await new.seal(request)
    await new.post(envelope)
    await rotate(new, newer)
    report = (await new.open((await new.post(envelope)).body)).message
    assert ProblemReport.from_message(report).code == "e.p.crypto.message.dejavu"
    assert await newer.bound() == (alice.did,)


async def test_whoever_has_no_account_gets_none_by_it(
    stranger: Party, party: Callable[[], Party]
) -> None:
    new = party()
    request = pickup.StatusRequest().to_message()
    answer = await ask(new, request, _prior(stranger, new))
    assert ProblemReport.from_message(answer).code == "e.p.req.not_enroll"


async def test_an_anonymous_message_rotates_nothing(
    alice: Party, mediator: Mediator, party: Callable[[], Party]
) -> None:
    new = party()
    message = replace(
        pickup.StatusRequest().to_message(from_prior=_prior(alice, new)), created_time=NOW
    )
    envelope = await pack(
        message, to=mediator.identity.did, sender=None, secrets={}, resolver=new.resolver
    )
    assert (await new.post(envelope)).status == 400
    assert await alice.bound() == (alice.did,)


async def test_whom_the_operator_denies_does_not_come_back_under_a_new_did() -> None:
    moved: list[str] = []

    class Accounts:
        async def has_account(self, did: str) -> bool:
            return True

        async def rotate(self, old: str, new: str, *, issued: int) -> bool:
            moved.append(old)
            return True

    rotations = Rotations(Accounts(), {"did:example:bad"}.__contains__)  # type: ignore[arg-type]
    for old in ("did:example:bad", "did:example:good"):
        await rotations.follow(PriorDid(old, "did:example:new", NOW))
    assert moved == ["did:example:good"]


async def rotate(old: Party, new: Party, issued: int = NOW) -> None:
    answer = await ask(new, pickup.StatusRequest().to_message(), _prior(old, new, issued))
    assert answer.type == pickup.Status.TYPE, answer


async def ask(party: Party, message: Message, prior: str) -> Message:
    return await party.ask(replace(message, from_prior=prior))


def _prior(old: Party, new: Party, issued: int = NOW) -> str:
    kid = f"{old.did}#key-2"
    return sign_prior(kid, old.secrets[kid], new.did, issued)
