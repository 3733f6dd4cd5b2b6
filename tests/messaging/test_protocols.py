"""Every message type: out and in again, the words on the wire, and what is refused."""

from typing import Any

import pytest

from messaging.errors import MalformedMessage
from messaging.message import Attachment, Message
from messaging.protocols import (
    coordinate_mediation,
    discover_features,
    empty,
    message_pickup,
    out_of_band,
    relay,
    report_problem,
    routing,
    traversal,
    trust_ping,
)
from messaging.protocols.coordinate_mediation import Action, Result, Update, Updated
from messaging.protocols.discover_features import Feature, Query
from messaging.protocols.traversal import StunServer

DID = "did:peer:2.Ez6LS"
MAIL = Attachment(id="q7", json={"protected": "x"})

WIRE: list[tuple[Any, str, dict[str, Any]]] = [
    (trust_ping.Ping(), "trust-ping/2.0/ping", {"response_requested": True}),
    (trust_ping.PingResponse(), "trust-ping/2.0/ping-response", {}),
    (empty.Empty(), "empty/1.0", {}),
    (routing.Forward(DID, (MAIL,)), "routing/2.0/forward", {"next": DID}),
    (
        routing.Forward(DID, (MAIL,), -500),
        "routing/2.0/forward",
        {"next": DID, "delay_milli": -500},
    ),
    (
        report_problem.ProblemReport("e.p.req", "no {1}", ("luck",), "mailto:a@example.org"),
        "report-problem/2.0/problem-report",
        {
            "code": "e.p.req",
            "comment": "no {1}",
            "args": ["luck"],
            "escalate_to": "mailto:a@example.org",
        },
    ),
    (
        discover_features.Queries((Query("protocol", "https://didcomm.org/*"),)),
        "discover-features/2.0/queries",
        {"queries": [{"feature-type": "protocol", "match": "https://didcomm.org/*"}]},
    ),
    (
        discover_features.Disclose((Feature("protocol", "p", {"roles": ["mediator"]}),)),
        "discover-features/2.0/disclose",
        {"disclosures": [{"feature-type": "protocol", "id": "p", "roles": ["mediator"]}]},
    ),
    (coordinate_mediation.MediateRequest(), "coordinate-mediation/3.0/mediate-request", {}),
    (coordinate_mediation.MediateDeny(), "coordinate-mediation/3.0/mediate-deny", {}),
    (
        coordinate_mediation.MediateGrant((DID,)),
        "coordinate-mediation/3.0/mediate-grant",
        {"routing_did": [DID]},
    ),
    (
        coordinate_mediation.RecipientUpdate((Update(DID, Action.ADD),)),
        "coordinate-mediation/3.0/recipient-update",
        {"updates": [{"recipient_did": DID, "action": "add"}]},
    ),
    (
        coordinate_mediation.RecipientUpdateResponse(
            (Updated(DID, Action.REMOVE, Result.NO_CHANGE),)
        ),
        "coordinate-mediation/3.0/recipient-update-response",
        {"updated": [{"recipient_did": DID, "action": "remove", "result": "no_change"}]},
    ),
    (coordinate_mediation.RecipientQuery(), "coordinate-mediation/3.0/recipient-query", {}),
    (
        coordinate_mediation.RecipientQuery(5, 10),
        "coordinate-mediation/3.0/recipient-query",
        {"paginate": {"limit": 5, "offset": 10}},
    ),
    (
        coordinate_mediation.Recipients((DID,)),
        "coordinate-mediation/3.0/recipient",
        {"dids": [{"recipient_did": DID}]},
    ),
    (
        coordinate_mediation.Recipients((DID,), 10, 3),
        "coordinate-mediation/3.0/recipient",
        {
            "dids": [{"recipient_did": DID}],
            "pagination": {"count": 1, "offset": 10, "remaining": 3},
        },
    ),
    (message_pickup.StatusRequest(), "messagepickup/3.0/status-request", {}),
    (
        message_pickup.StatusRequest(DID),
        "messagepickup/3.0/status-request",
        {"recipient_did": DID},
    ),
    (
        message_pickup.Status(3, DID, True, 5, 6, 7, 8),
        "messagepickup/3.0/status",
        {
            "recipient_did": DID,
            "message_count": 3,
            "live_delivery": True,
            "longest_waited_seconds": 5,
            "newest_received_time": 6,
            "oldest_received_time": 7,
            "total_bytes": 8,
        },
    ),
    (message_pickup.DeliveryRequest(10), "messagepickup/3.0/delivery-request", {"limit": 10}),
    (message_pickup.Delivery((MAIL,), DID), "messagepickup/3.0/delivery", {"recipient_did": DID}),
    (
        message_pickup.MessagesReceived(("q7",)),
        "messagepickup/3.0/messages-received",
        {"message_id_list": ["q7"]},
    ),
    (
        message_pickup.LiveDeliveryChange(True),
        "messagepickup/3.0/live-delivery-change",
        {"live_delivery": True},
    ),
]


@pytest.mark.parametrize(("message", "type_", "body"), WIRE, ids=lambda value: str(value)[:40])
def test_messages_have_the_words_of_their_protocol(
    message: Any, type_: str, body: dict[str, Any]
) -> None:
    written = message.to_message(thid="t", frm=DID)
    assert (written.type, written.body) == (f"https://didcomm.org/{type_}", body)
    assert (written.thid, written.frm) == ("t", DID)
    assert type(message).from_message(Message.parse(written.serialize())) == message


V2, V4 = coordinate_mediation.Version.V2, message_pickup.Version.V4
OTHER_VERSIONS: list[tuple[Any, Any, str, dict[str, Any]]] = [
    (coordinate_mediation.MediateRequest(), V2, "mediate-request", {}),
    (coordinate_mediation.MediateDeny(), V2, "mediate-deny", {}),
    (coordinate_mediation.MediateGrant((DID,)), V2, "mediate-grant", {"routing_did": DID}),
    (
        coordinate_mediation.RecipientUpdate((Update(DID, Action.ADD),)),
        V2,
        "keylist-update",
        {"updates": [{"recipient_did": DID, "action": "add"}]},
    ),
    (
        coordinate_mediation.RecipientUpdateResponse((Updated(DID, Action.ADD, Result.SUCCESS),)),
        V2,
        "keylist-update-response",
        {"updated": [{"recipient_did": DID, "action": "add", "result": "success"}]},
    ),
    (
        coordinate_mediation.RecipientQuery(5, 10),
        V2,
        "keylist-query",
        {"paginate": {"limit": 5, "offset": 10}},
    ),
    (
        coordinate_mediation.Recipients((DID,)),
        V2,
        "keylist",
        {"keys": [{"recipient_did": DID}]},
    ),
    (message_pickup.StatusRequest(DID), V4, "status-request", {"recipient_did": DID}),
    (
        message_pickup.Status(3, DID, True, None, 6, 7, 8),
        V4,
        "status",
        {
            "recipient_did": DID,
            "message_count": 3,
            "live_delivery": True,
            "newest_received_time": 6000,
            "oldest_received_time": 7000,
            "total_bytes": 8,
        },
    ),
    (
        message_pickup.DeliveryRequest(10, DID, "q7"),
        V4,
        "delivery-request",
        {"message_count_limit": 10, "recipient_did": DID, "after": "q7"},
    ),
    (message_pickup.Delivery((MAIL,), DID), V4, "delivery", {"recipient_did": DID}),
    (message_pickup.Delivery(()), V4, "delivery", {}),
    (
        message_pickup.MessagesReceived(("q7",)),
        V4,
        "messages-received",
        {"message_id_list": ["q7"]},
    ),
    (message_pickup.LiveDeliveryChange(True), V4, "live-delivery-change", {"live_delivery": True}),
]


@pytest.mark.parametrize(
    ("message", "version", "name", "body"), OTHER_VERSIONS, ids=lambda value: str(value)[:40]
)
def test_another_version_says_the_same_in_its_own_words(
    message: Any, version: Any, name: str, body: dict[str, Any]
) -> None:
    written = message.to_message(version, thid="t")
    assert (written.type, written.body, written.thid) == (f"{version}/{name}", body, "t")
    assert type(message).from_message(Message.parse(written.serialize())) == message


def test_an_empty_delivery_has_an_empty_list_of_attachments() -> None:
    assert message_pickup.Delivery(()).to_message(V4).to_json()["attachments"] == []


def test_the_limit_of_drafts_is_read() -> None:
    message = Message(f"{V4}/delivery-request", {"limit": 5})
    assert message_pickup.DeliveryRequest.from_message(message).limit == 5


@pytest.mark.parametrize(
    "kind", dict.fromkeys(type(message) for message, _, _ in WIRE), ids=lambda k: k.__name__
)
def test_a_message_of_another_type_is_refused(kind: Any) -> None:
    with pytest.raises(MalformedMessage):
        kind.from_message(Message("https://example.org/other/1.0/thing"))


BROKEN: list[tuple[Any, dict[str, Any]]] = [
    (routing.Forward, {}),
    (routing.Forward, {"next": 5}),
    (routing.Forward, {"next": DID, "delay_milli": "soon"}),
    (report_problem.ProblemReport, {}),
    (report_problem.ProblemReport, {"code": "e.p", "args": "luck"}),
    (discover_features.Queries, {"queries": {}}),
    (discover_features.Queries, {"queries": [{"match": "*"}]}),
    (discover_features.Queries, {"queries": [{"feature-type": "protocol", "match": "*"}] * 33}),
    (discover_features.Disclose, {"disclosures": [5]}),
    (coordinate_mediation.MediateGrant, {"routing_did": 5}),
    (coordinate_mediation.RecipientUpdate, {"updates": [{"recipient_did": DID}]}),
    (
        coordinate_mediation.RecipientUpdate,
        {"updates": [{"recipient_did": DID, "action": "steal"}]},
    ),
    (
        coordinate_mediation.RecipientUpdate,
        {"updates": [{"recipient_did": DID, "action": "add"}] * 101},
    ),
    (coordinate_mediation.RecipientQuery, {"paginate": []}),
    (coordinate_mediation.RecipientQuery, {"paginate": {"limit": -1}}),
    (message_pickup.Status, {}),
    (message_pickup.Status, {"message_count": True}),
    (message_pickup.DeliveryRequest, {"limit": -1}),
    (message_pickup.DeliveryRequest, {"limit": 10, "after": 7}),
    (message_pickup.DeliveryRequest, {"limit": "10"}),
    (message_pickup.MessagesReceived, {"message_id_list": ["x"] * 1001}),
    (message_pickup.LiveDeliveryChange, {}),
    (message_pickup.LiveDeliveryChange, {"live_delivery": "perhaps"}),
    (traversal.Servers, {"stun": [{"port": 0}]}),
    (traversal.Servers, {"stun": [{"port": 3478, "host": "x" * 256}]}),
    (traversal.Servers, {"stun": [{"port": 3478}] * 17}),
]


@pytest.mark.parametrize(("kind", "body"), BROKEN, ids=lambda value: str(value)[:40])
def test_bodies_of_the_wrong_shape_are_refused(kind: Any, body: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        kind.from_message(Message(kind.TYPE, body, attachments=(MAIL,)))


def test_a_ping_is_answered_unless_it_says_no() -> None:
    ping = trust_ping.Ping
    assert ping.from_message(Message(ping.TYPE, {})).response_requested
    assert ping.from_message(Message(ping.TYPE, {"responseRequested": True})).response_requested
    no = Message(ping.TYPE, {"response_requested": False})
    assert not ping.from_message(no).response_requested


def test_both_names_of_the_empty_message_are_read() -> None:
    empty.Empty.from_message(Message(empty.Empty.TYPE + "/empty"))


def test_a_grant_with_a_single_routing_did_is_read() -> None:
    message = Message(coordinate_mediation.MediateGrant.TYPE, {"routing_did": DID})
    assert coordinate_mediation.MediateGrant.from_message(message).routing_dids == (DID,)


def test_the_older_name_of_recipient_did_is_read() -> None:
    message = Message(message_pickup.StatusRequest.TYPE, {"recipient_key": DID})
    assert message_pickup.StatusRequest.from_message(message).recipient_did == DID


def test_live_delivery_may_come_as_text() -> None:
    message = Message(message_pickup.LiveDeliveryChange.TYPE, {"live_delivery": "true"})
    assert message_pickup.LiveDeliveryChange.from_message(message).live_delivery


def test_a_delivered_message_without_id_cannot_be_acknowledged_and_is_refused() -> None:
    message = Message(message_pickup.Delivery.TYPE, attachments=(Attachment(json={}),))
    with pytest.raises(MalformedMessage):
        message_pickup.Delivery.from_message(message)


A_TICKET: dict[str, Any] = {
    "hosts": ["198.51.100.9", "relay.example"],
    "port": 41007,
    "ticket": "t" * 63,
    "secrets": ["a" * 43, "b" * 43],
    "bind_by": 1_800_000_600,
    "until": 1_800_086_400,
    "rate": 100_000_000,
}


def test_relay_tickets_keep_what_they_say() -> None:
    written = Message(relay.Tickets.TYPE, {"tickets": [A_TICKET]})
    tickets = relay.Tickets.from_message(written)
    assert tickets.pairs[0].secrets == ("a" * 43, "b" * 43)
    assert tickets.to_message().body == written.body
    request = relay.Request("ab" * 32, 2)
    assert request.to_message().type == "https://didmesh.org/relay/1.0/request"
    assert relay.Request.from_message(request.to_message()) == request


@pytest.mark.parametrize(
    "change",
    [
        {"hosts": ["not a host"]},
        {"hosts": ["::"]},
        {"hosts": "198.51.100.9"},
        {"port": 0},
        {"secrets": ["a" * 43]},
        {"secrets": ["a" * 43, "b"]},
        {"ticket": "t" * 200},
        {"bind_by": -1},
        {"rate": 0},
        {"websocket": "https://relay.example"},
    ],
    ids=str,
)
def test_a_relay_ticket_nobody_can_use_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        relay.Tickets.from_message(Message(relay.Tickets.TYPE, {"tickets": [A_TICKET | change]}))


@pytest.mark.parametrize("change", [{"count": 0}, {"count": 64}, {"session": "ab"}, {"count": "1"}])
def test_a_relay_request_is_for_one_session_and_few_pairs(change: dict[str, Any]) -> None:
    good = {"session": "ab" * 32, "count": 1}
    with pytest.raises(MalformedMessage):
        relay.Request.from_message(Message(relay.Request.TYPE, good | change))


def test_traversal_servers_leave_out_the_mediators_own_host() -> None:
    servers = traversal.Servers((StunServer(3478), StunServer(3479, "198.51.100.9")))
    written = servers.to_message()
    assert written.type == "https://didmesh.org/traversal/1.0/servers"
    assert written.body == {"stun": [{"port": 3478}, {"port": 3479, "host": "198.51.100.9"}]}
    assert traversal.Servers.from_message(written) == servers
    query = traversal.Query().to_message()
    assert query.type == "https://didmesh.org/traversal/1.0/query"
    assert traversal.Query.from_message(query) == traversal.Query()


def test_features_are_matched_by_their_beginning_and_disclosed_once() -> None:
    ours = (
        Feature("protocol", "https://didcomm.org/trust-ping/2.0"),
        Feature("protocol", "https://didcomm.org/routing/2.0"),
        Feature("goal-code", "https://didcomm.org/trust-ping/2.0"),
    )
    select = discover_features.Queries(
        (
            Query("protocol", "https://didcomm.org/trust-*"),
            Query("protocol", "https://didcomm.org/trust-ping/2.0"),
        )
    ).select
    assert select(ours).disclosures == ours[:1]
    everything = discover_features.Queries((Query("protocol", "*"),))
    assert everything.select(ours).disclosures == ours[:2]
    # A star elsewhere, or a regular expression, is only text.
    for match in ("*ping*", "https://didcomm.org/.*", "https://didcomm.org"):
        assert discover_features.Queries((Query("protocol", match),)).select(ours).disclosures == ()


def test_the_words_of_a_problem_report_name_its_arguments() -> None:
    report = report_problem.ProblemReport("e.p", "cannot reach {1} at {2} {3}", ("bob", "home"))
    assert report.text == "cannot reach bob at home ?"
    assert report_problem.ProblemReport("e.p.xfer").text == "e.p.xfer"


def test_an_invitation_survives_its_url() -> None:
    invitation = out_of_band.Invitation(DID, "request-mediate", "RequestMediate")
    for base in ("https://m.example/invitation", "https://m.example/?lang=en"):
        url = invitation.to_url(base)
        assert url.startswith(base)
        assert out_of_band.Invitation.from_url(url) == invitation
    written = invitation.to_message()
    assert written.type == "https://didcomm.org/out-of-band/2.0/invitation"
    assert written.body == {
        "accept": ["didcomm/v2"],
        "goal_code": "request-mediate",
        "goal": "RequestMediate",
    }


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://m.example/",
        "https://m.example/?_oob=",
        "https://m.example/?_oob=%%%",
        "https://m.example/?_oob=e30",
        "https://m.example/?_oob=e30&_oob=e30",
        "https://[m.example/?_oob=e30",
        "https://m.example/?_oob=" + "A" * 20000,
    ],
)
def test_a_url_that_holds_no_invitation_is_refused(url: str) -> None:
    with pytest.raises(MalformedMessage):
        out_of_band.Invitation.from_url(url)


def test_an_invitation_from_nobody_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        out_of_band.Invitation.from_message(Message(out_of_band.Invitation.TYPE))
