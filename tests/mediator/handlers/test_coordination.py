"""Coordinate mediation 3.0: who gets an account, and whose mail it may take."""

from collections.abc import Callable
from pathlib import Path

import aiohttp

from mediator.app import Mediator, running
from mediator.settings.config import Config, Limits
from messaging.protocols import coordinate_mediation as mediation
from tests.support.mediator_client import Party


async def test_a_grant_names_the_mediator_and_answers_the_request(
    stranger: Party, mediator: Mediator
) -> None:
    request = mediation.MediateRequest().to_message()
    grant = await stranger.ask(request)
    assert mediation.MediateGrant.from_message(grant).routing_dids == (mediator.identity.did,)
    assert grant.body["routing_did"] == [mediator.identity.did]  # a list in 3.0
    assert (grant.frm, grant.to, grant.thid) == (mediator.identity.did, (stranger.did,), request.id)
    assert grant.created_time is not None


async def test_asking_again_is_granted_again(alice: Party) -> None:
    await alice.register()
    assert await alice.bound() == (alice.did,)


async def test_a_change_is_not_made_again_after_a_restart(tmp_path: Path, limits: Limits) -> None:
    config = Config(
        tmp_path / "m.db", "127.0.0.1", 0, public_url="http://m", limits=limits, stun_ports=(0,)
    )
    async with aiohttp.ClientSession() as http, running(config) as mediator:
        alice = Party(http, mediator.identity.did, f"http://127.0.0.1:{mediator.listens[1]}")
        await alice.register()
        add = mediation.RecipientUpdate(
            (mediation.Update("did:example:other", mediation.Action.ADD),)
        )
        envelope = await alice.seal(add.to_message())
        await alice.post(envelope)
        await alice.bind("did:example:other", "remove")
    async with aiohttp.ClientSession() as http, running(config) as mediator:
        alice.http, alice.url = http, f"http://127.0.0.1:{mediator.listens[1]}"
        report = (await alice.open((await alice.post(envelope)).body)).message
        assert report.body["code"] == "e.p.crypto.message.dejavu"
        assert await alice.bound() == (alice.did,)


async def test_nothing_is_bound_by_a_grant_alone(stranger: Party) -> None:
    await stranger.ask(mediation.MediateRequest().to_message())
    assert await stranger.bound() == ()


async def test_a_did_is_added_and_removed(alice: Party) -> None:
    assert await alice.bind(alice.did) == "no_change"
    assert await alice.bind(alice.did, "remove") == "success"
    assert await alice.bind(alice.did, "remove") == "no_change"
    assert await alice.bind(alice.did) == "success"


async def test_a_did_url_binds_the_did(alice: Party, stranger: Party) -> None:
    assert await alice.bind(f"{stranger.did}#key-1") == "success"
    assert await alice.bound() == (alice.did, stranger.did)


async def test_the_answer_spells_the_did_as_it_was_asked(alice: Party, stranger: Party) -> None:
    spelled = f"{stranger.did}#key-1"
    update = mediation.Update(spelled, mediation.Action.ADD)
    answer = await alice.ask(mediation.RecipientUpdate((update,)).to_message())
    assert answer.body["updated"][0]["recipient_did"] == spelled


async def test_registration_of_a_stranger_is_refused_before_a_grant(stranger: Party) -> None:
    update = mediation.Update(stranger.did, mediation.Action.ADD)
    problem = await stranger.problem(mediation.RecipientUpdate((update,)).to_message())
    assert problem == "e.p.req.not_enroll"
    assert await stranger.problem(mediation.RecipientQuery().to_message()) == "e.p.req.not_enroll"


async def test_an_anonymous_request_gets_no_account(stranger: Party) -> None:
    request = mediation.MediateRequest().to_message()
    reply = await stranger.post(await stranger.seal(request, anonymous=True))
    assert (reply.status, reply.content_type) == (400, "application/didcomm-signed+json")


async def test_the_did_of_an_account_cannot_be_taken_by_another(alice: Party, bob: Party) -> None:
    assert await bob.bind(alice.did) == "client_error"
    assert await bob.bind(alice.did, "remove") == "no_change"
    await alice.forward(alice.did, {"n": 1})
    assert await bob.fetch() == []
    assert len(await alice.fetch()) == 1


async def test_an_unproven_did_goes_to_its_true_owner_with_its_mail(
    alice: Party, stranger: Party
) -> None:
    assert await alice.bind(stranger.did) == "success"
    await alice.forward(stranger.did, {"n": 1})
    await stranger.register()
    assert [a.json for a in await stranger.fetch()] == [{"n": 1}]
    assert await alice.fetch() == []
    assert await alice.bind(stranger.did) == "client_error"


async def test_an_owner_that_stood_aside_takes_its_did_back(alice: Party, bob: Party) -> None:
    await alice.bind(alice.did, "remove")
    assert await bob.bind(alice.did) == "success"
    assert await alice.bind(alice.did) == "success"
    assert await bob.bound() == (bob.did,)


async def test_the_mediators_own_did_is_nobodys_in_any_spelling(
    alice: Party, mediator: Mediator
) -> None:
    for spelling in ("", "#key-1", "?x=1"):
        assert await alice.bind(mediator.identity.did + spelling) == "client_error"


async def test_what_is_no_did_is_refused_by_entry(alice: Party, stranger: Party) -> None:
    updates = (
        mediation.Update("did:peer:", mediation.Action.ADD),
        mediation.Update("nonsense", mediation.Action.ADD),
        mediation.Update(stranger.did, mediation.Action.ADD),
    )
    answer = await alice.ask(mediation.RecipientUpdate(updates).to_message())
    results = [entry["result"] for entry in answer.body["updated"]]
    assert results == ["client_error", "client_error", "success"]


async def test_an_account_has_a_limit_of_dids(alice: Party, party: Callable[[], Party]) -> None:
    results = [await alice.bind(party().did) for _ in range(4)]
    assert results == ["success", "success", "success", "client_error"]


async def test_a_query_lists_in_pages(alice: Party, party: Callable[[], Party]) -> None:
    dids = [alice.did, *(party().did for _ in range(3))]
    for did in dids[1:]:
        await alice.bind(did)
    answer = await alice.ask(mediation.RecipientQuery(limit=2, offset=1).to_message())
    assert answer.body["dids"] == [{"recipient_did": did} for did in dids[1:3]]
    assert answer.body["pagination"] == {"count": 2, "offset": 1, "remaining": 1}
