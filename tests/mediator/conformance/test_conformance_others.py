"""What three other projects check in their own tests: estoc, Affinidi and Indicio.

A table for each says which test stands for which case. Where we promise something else, the
case says what.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from mediator.app import Mediator, running
from mediator.settings.config import Compat, Config
from messaging.message import Message
from tests.support import foreign_words as wire
from tests.support import named_tests
from tests.support.foreign_words import COORDINATIONS, PICKUPS, Coordination, Pickup
from tests.support.mediator_client import Party

ESTOC: dict[str, str] = {
    "a grant names the DID that was addressed": (
        "mediator/conformance/test_conformance_others.py"
        "::test_each_did_of_the_mediator_answers_as_itself"
    ),
    "bindings are exclusive, first come": (
        "mediator/conformance/test_conformance_others.py::test_who_binds_a_did_first_has_it"
    ),
    "the mediator's own DID is nobody's, in every spelling": (
        "mediator/conformance/test_conformance_others.py::test_what_is_taken_cannot_be_bound"
    ),
    "a DID that holds an account is nobody else's": (
        "mediator/conformance/test_conformance_others.py::test_what_is_taken_cannot_be_bound"
    ),
    "a query comes in pages": (
        "mediator/conformance/test_conformance_others.py::test_pages_together_are_the_whole_list"
    ),
    "an anonymous forward is accepted": (
        "mediator/conformance/test_conformance_iohk.py::test_k1_mail_is_counted"
    ),
    "a delivery is threaded (and, unlike there, JSON)": (
        "mediator/conformance/test_conformance_iohk.py::test_k3_mail_is_delivered_as_it_was_sent"
    ),
    "an acknowledgement is its owner's only": (
        "mediator/conformance/test_conformance_others.py::test_only_the_owner_reads_or_acknowledges"
    ),
    "an unknown recipient is met with silence": (
        "mediator/handlers/test_forwarding.py::test_an_unknown_recipient_looks_like_a_known_one"
    ),
    "an account beats an earlier squatter": (
        "mediator/conformance/test_conformance_others.py::test_an_account_beats_an_earlier_squatter"
    ),
    "live mode over HTTP": (
        "mediator/handlers/test_pickup.py::test_live_delivery_over_http_is_refused"
    ),
    "an unknown type is reported to a proven sender (to others signed, and no success)": (
        "mediator/handlers/test_traps.py::test_a_report_to_nobody_in_particular_is_signed"
    ),
    "garbage is a bad request": (
        "mediator/entrance/test_entrance.py::test_no_bytes_bring_the_entrance_down"
    ),
    "without a return_route it is done in silence": (
        "mediator/conformance/test_conformance_others.py"
        "::test_without_return_route_it_is_done_in_silence"
    ),
    "the invitation is stable": (
        "mediator/operation/test_process.py"
        "::test_did_and_invitation_survive_a_restart_and_show_tells_them_always"
    ),
    "quota (over it: refused, not dropped)": (
        "mediator/handlers/test_forwarding.py::test_a_full_inbox_refuses_with_a_report"
    ),
    "mail ends": (
        "mediator/stores/test_store_conformance.py::test_expired_messages_are_deleted_and_make_room"
    ),
    "no address inside is gone to, in any spelling": (
        "resolvers/test_guarded.py::test_nobody_leads_us_into_a_private_network"
    ),
    "redirects are not followed": "resolvers/test_guarded.py::test_redirects_are_not_followed",
    "an account that goes takes its keylist and inbox with it": (
        "mediator/stores/test_administration.py"
        "::test_a_closed_account_is_gone_with_its_mail_and_nobody_elses"
    ),
}
AFFINIDI: dict[str, str] = {
    "what was not acknowledged comes again on the next connection": (
        "mediator/conformance/test_conformance_others.py"
        "::test_what_is_left_comes_again_and_not_twice_on_one"
    ),
    "and not twice on one": (
        "mediator/conformance/test_conformance_others.py"
        "::test_what_is_left_comes_again_and_not_twice_on_one"
    ),
    "what arrives between counting and pushing is not dropped": (
        "mediator/delivery/test_live.py::test_each_message_is_counted_or_pushed_never_neither"
    ),
    "a slow consumer loses nothing": (
        "mediator/conformance/test_conformance_others.py"
        "::test_a_socket_that_nobody_reads_loses_nothing"
    ),
    "parcels for others are taken by one, and again when that one is gone": (
        "mediator/stores/test_store_conformance.py"
        "::test_a_parcel_is_taken_when_it_is_due_and_by_one_alone"
    ),
    "counters are right after deletions": (
        "mediator/conformance/test_conformance_others.py"
        "::test_a_status_counts_what_is_there_and_nothing_else"
    ),
    "an unknown DID is turned away where registration is closed": (
        "mediator/stores/test_administration.py::test_registration_is_open_until_it_is_closed"
    ),
    "a token admits and is not shown": (
        "mediator/stores/test_administration.py::test_an_invitation_is_not_shown_whole_by_accident"
    ),
    "a DID has so many sockets, and one more is told": (
        "mediator/entrance/test_abuse.py"
        "::test_an_account_has_so_many_live_sockets_and_the_newcomer_is_told"
    ),
    "a forward through two mediators": (
        "mediator/handlers/test_routing.py::test_a_forward_for_another_mediator_is_passed_on"
    ),
    "what is wrapped anew on the way arrives as it was": (
        "mediator/handlers/test_routing.py"
        "::test_mail_for_a_party_elsewhere_is_brought_to_its_mediator"
    ),
    "no mail is carried where it must not go": (
        "mediator/handlers/test_routing.py::test_a_private_address_is_not_gone_to"
    ),
    "one slow consumer holds up nobody else": (
        "mediator/entrance/test_abuse.py::test_a_recipient_that_does_not_read_harms_nobody_else"
    ),
    "mail that a killed process was carrying is carried by another": (
        "mediator/handlers/test_routing.py"
        "::test_two_processes_pass_mail_on_and_none_is_lost_when_one_is_killed"
    ),
    "the clock is handed in": (
        "mediator/conformance/test_conformance_others.py::test_time_is_what_the_clock_says"
    ),
}


INDICIO: dict[str, str] = {
    "status and delivery, empty and filled": (
        "mediator/conformance/test_conformance_iohk.py::test_k1_mail_is_counted"
    ),
    "several deliveries": (
        "mediator/conformance/test_conformance_others.py"
        "::test_deliveries_go_on_where_acknowledgements_end"
    ),
    "recipient_key": ("mediator/handlers/test_traps.py::test_both_names_of_the_recipient_filter"),
    "acknowledgements without ids, and of ids that are none": (
        "mediator/conformance/test_conformance_others.py"
        "::test_an_acknowledgement_of_nothing_changes_nothing"
    ),
}


@pytest.fixture(params=COORDINATIONS, ids=str)
def words(request: pytest.FixtureRequest) -> Coordination:
    assert isinstance(request.param, Coordination)
    return request.param


@pytest.fixture(params=PICKUPS, ids=str)
def pickup(request: pytest.FixtureRequest) -> Pickup:
    assert isinstance(request.param, Pickup)
    return request.param


def test_no_case_is_without_its_test() -> None:
    assert named_tests.missing([*ESTOC.values(), *AFFINIDI.values(), *INDICIO.values()]) == []


# estoc


async def test_each_did_of_the_mediator_answers_as_itself(
    tmp_path: Path, words: Coordination
) -> None:
    """It has one for each URL that it was ever run with, and all of them work."""
    old_url, new_url = "http://old.example", "http://new.example"
    async with _mediator(tmp_path, public_url=old_url) as (old, _):
        old_did = old.identity.did
    async with _mediator(tmp_path, public_url=new_url) as (new, party):
        for did in (old_did, new.identity.did):
            client = party()
            client.mediator = did
            grant = await client.ask(wire.message(f"{words.protocol}/mediate-request"))
            assert grant.frm == did
            assert grant.body["routing_did"] in (did, [did])


async def test_who_binds_a_did_first_has_it(
    alice: Party, bob: Party, stranger: Party, words: Coordination
) -> None:
    results = [
        (await wire.update(party, words, stranger.did, "add"))["result"]
        for party in (alice, bob, alice)
    ]
    assert results == ["success", "client_error", "no_change"]
    assert (await wire.update(bob, words, stranger.did, "remove"))["result"] == "no_change"


async def test_what_is_taken_cannot_be_bound(
    alice: Party, bob: Party, mediator: Mediator, words: Coordination
) -> None:
    for did in (mediator.identity.did, bob.did):
        for spelling in (did, f"{did}#key-1", f"{did}?service=x"):
            entry = await wire.update(alice, words, spelling, "add")
            assert (entry["recipient_did"], entry["result"]) == (spelling, "client_error")


async def test_pages_together_are_the_whole_list(
    alice: Party, party: Callable[[], Party], words: Coordination
) -> None:
    dids = [alice.did, *(party().did for _ in range(3))]
    for did in dids[1:]:
        await wire.update(alice, words, did, "add")
    listed: list[str] = []
    remaining = len(dids)
    while remaining:
        query = {"paginate": {"limit": 3, "offset": len(listed)}}
        answer = await alice.ask(wire.message(f"{words.protocol}/{words.query}", query))
        page = [entry["recipient_did"] for entry in answer.body[words.entries]]
        remaining -= len(page)
        assert answer.body["pagination"] == {
            "count": len(page),
            "offset": len(listed),
            "remaining": remaining,
        }
        listed += page
    assert listed == dids


async def test_only_the_owner_reads_or_acknowledges(
    alice: Party, bob: Party, pickup: Pickup
) -> None:
    await wire.forward(bob, alice.did, b'{"protected":"x"}')
    [message] = (await wire.delivery(alice, pickup, 1)).attachments
    received = {"message_id_list": [message.id]}
    await bob.post(await bob.seal(wire.message(f"{pickup.protocol}/messages-received", received)))
    request = {pickup.limit: 5, "recipient_did": alice.did}
    answer = await bob.ask(wire.message(f"{pickup.protocol}/delivery-request", request))
    assert answer.attachments == ()
    assert (await wire.status(bob, pickup, recipient_did=alice.did)).body["message_count"] == 0
    assert (await wire.status(alice, pickup)).body["message_count"] == 1


async def test_an_account_beats_an_earlier_squatter(
    alice: Party, stranger: Party, words: Coordination, pickup: Pickup
) -> None:
    await wire.update(alice, words, stranger.did, "add")
    await wire.forward(alice, stranger.did, b'{"protected":"x"}')
    await stranger.ask(wire.message(f"{words.protocol}/mediate-request"))
    assert len((await wire.delivery(stranger, pickup, 5)).attachments) == 1
    assert (await wire.delivery(alice, pickup, 5)).attachments == ()


@pytest.mark.parametrize(("assumed", "route"), [(True, "none"), (False, "none"), (False, None)])
async def test_without_return_route_it_is_done_in_silence(
    tmp_path: Path, words: Coordination, assumed: bool, route: str | None
) -> None:
    """That no `return_route` at all is answered, too, is a switch: one client relies on it."""
    compat = Compat(assumed_return_route=assumed)
    async with _mediator(tmp_path, compat=compat) as (_, party):
        client = party()
        request = Message(f"{words.protocol}/mediate-request", return_route=route)
        reply = await client.post(await client.seal(request))
        assert (reply.status, reply.body) == (200, b"")
        answer = await client.ask(wire.message(f"{words.protocol}/{words.query}"))
        assert answer.type == f"{words.protocol}/{words.listing}"


# Affinidi


async def test_what_is_left_comes_again_and_not_twice_on_one(alice: Party, pickup: Pickup) -> None:
    change = wire.message(f"{pickup.protocol}/live-delivery-change", {"live_delivery": True})
    request = wire.message(f"{pickup.protocol}/delivery-request", {pickup.limit: 9})
    async with alice.socket(live=False) as socket:
        await socket.ask(change)
        await wire.forward(alice, alice.did, b'{"protected":"1"}')
        [first] = (await socket.receive()).attachments
        await wire.forward(alice, alice.did, b'{"protected":"2"}')
        [second] = (await socket.receive()).attachments
        assert first.id != second.id
    async with alice.socket(live=False) as socket:
        again = wire.message(change.type, {"live_delivery": True})
        assert (await socket.ask(again)).body["message_count"] == 2
        delivery = await socket.ask(request)
        assert [a.id for a in delivery.attachments] == [first.id, second.id]


async def test_a_socket_that_nobody_reads_loses_nothing(alice: Party, pickup: Pickup) -> None:
    change = wire.message(f"{pickup.protocol}/live-delivery-change", {"live_delivery": True})
    padding = "x" * 200_000
    async with alice.socket(live=False) as socket:
        await socket.ask(change)
        for number in range(20):
            letter = f'{{"n":{number},"padding":"{padding}"}}'.encode()
            assert (await wire.forward(alice, alice.did, letter)).status == 200
        # Only now are the megabytes read that wait in the buffers of both ends and before them.
        pushed: list[int] = []
        while len(pushed) < 20:
            pushed += [a.json["n"] for a in (await socket.receive()).attachments]
    assert pushed == list(range(20))
    assert (await wire.status(alice, pickup)).body["message_count"] == 20


async def test_a_status_counts_what_is_there_and_nothing_else(alice: Party, pickup: Pickup) -> None:
    for number in range(4):
        await wire.forward(alice, alice.did, f'{{"protected":"{number}"}}'.encode())
    messages = (await wire.delivery(alice, pickup, 4)).attachments
    size = len(messages[0].content())
    for left, message in zip((3, 2, 1, 0), messages, strict=True):
        received = {"message_id_list": [message.id, message.id, "999999"]}
        await alice.post(
            await alice.seal(wire.message(f"{pickup.protocol}/messages-received", received))
        )
        body = (await wire.status(alice, pickup)).body
        assert (body["message_count"], body["total_bytes"]) == (left, left * size)


async def test_time_is_what_the_clock_says(tmp_path: Path, pickup: Pickup) -> None:
    import time

    started = int(time.time())
    now = [started]
    async with _mediator(tmp_path, clock=lambda: now[0]) as (_, party):
        client = party()
        await client.register()
        await wire.forward(client, client.did, b'{"protected":"x"}')
        now[0] += 30
        body = (await wire.status(client, pickup)).body
        unit = 1 if pickup.protocol.endswith("3.0") else 1000
        assert body["oldest_received_time"] == started * unit
        assert body.get("longest_waited_seconds", 30) == 30


# Indicio


async def test_deliveries_go_on_where_acknowledgements_end(alice: Party, pickup: Pickup) -> None:
    for number in range(5):
        await wire.forward(alice, alice.did, f'{{"n":{number}}}'.encode())
    seen: list[int] = []
    while messages := (await wire.delivery(alice, pickup, 2)).attachments:
        seen += [message.json["n"] for message in messages]
        received = {"message_id_list": [message.id for message in messages]}
        await alice.post(
            await alice.seal(wire.message(f"{pickup.protocol}/messages-received", received))
        )
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ids", [None, [], ["junk"], ["-1", "0", "9" * 40, "\u0661", ""]])
async def test_an_acknowledgement_of_nothing_changes_nothing(
    alice: Party, pickup: Pickup, ids: list[str] | None
) -> None:
    await wire.forward(alice, alice.did, b'{"protected":"x"}')
    body = {} if ids is None else {"message_id_list": ids}
    received = wire.message(f"{pickup.protocol}/messages-received", body)
    reply = await alice.post(await alice.seal(received))
    assert reply.status == 200
    if reply.body:
        status = (await alice.open(reply.body)).message
        assert status.type == "https://didcomm.org/messagepickup/3.0/status"
    assert (await wire.status(alice, pickup)).body["message_count"] == 1


# Helpers


@contextlib.asynccontextmanager
async def _mediator(
    folder: Path,
    *,
    public_url: str | None = None,
    compat: Compat | None = None,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[tuple[Mediator, Callable[[], Party]]]:
    config = Config(
        folder / "others.db",
        "127.0.0.1",
        0,
        public_url=public_url,
        stun_ports=(0,),
        compat=compat or Compat(),
    )
    clocks = {} if clock is None else {"clock": clock}
    async with running(config, **clocks) as mediator, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{mediator.listens[1]}"
        yield mediator, lambda: Party(http, mediator.identity.did, url)
