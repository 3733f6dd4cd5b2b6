"""Twenty-five places in the specifications where mediators and their clients fall out.

TRAPS says for each which tests stand on it: in test_traps.py, or with the code that it concerns.
A name in it that no test has is an error.
"""

from tests.support import named_tests

TRAPS: dict[str, tuple[str, ...]] = {
    "1 key derivation of ECDH-1PU": (
        "mediator/handlers/test_traps.py::test_authcrypt_binds_the_tag_with_its_length",
        "interop/test_envelopes.py::test_they_open_what_we_seal",
        "interop/test_envelopes.py::test_we_open_what_they_seal",
        "interop/test_client_switches.py::test_draft_3_authcrypt",
    ),
    "2 unknown headers": (
        "mediator/handlers/test_traps.py::test_unknown_headers_do_no_harm",
        "mediator/handlers/test_traps.py::test_the_route_of_older_clients_is_seen",
    ),
    "3 return_route": (
        "mediator/entrance/test_entrance.py::test_an_answer_comes_back_the_same_way",
        "mediator/entrance/test_entrance.py::test_without_a_return_route_it_is_done_in_silence",
        "mediator/handlers/test_traps.py::test_a_route_said_once_on_a_socket_lasts",
        "mediator/delivery/test_outbound.py"
        "::test_an_absent_return_route_means_none_to_whoever_wants_the_specification",
        "mediator/conformance/test_conformance_iohk.py"
        "::test_p2_a_ping_is_answered_at_the_senders_address_and_not_in_the_body",
    ),
    "4 status of HTTP": (
        "mediator/handlers/test_traps.py::test_200_with_an_answer_and_200_with_nothing_at_all",
    ),
    "5 media types": (
        "mediator/entrance/test_entrance.py::test_any_content_type_is_let_in",
        "mediator/handlers/test_traps.py::test_the_typ_of_an_envelope_may_leave_out_application",
        "mediator/handlers/test_traps.py::test_what_is_not_encrypted_is_refused",
    ),
    "6 typ of the plaintext": (
        "messaging/test_message.py::test_typ_is_optional_and_body_may_be_missing",
        "messaging/test_message.py::test_a_message_is_written_in_the_words_of_the_specification",
    ),
    "7 forms of kid": (
        "mediator/handlers/test_traps.py::test_a_key_is_found_under_every_name_it_had",
        "identity/test_did_peer.py::test_legacy_key_ids_name_the_same_key",
        "identity/test_document.py::test_relative_ids_become_absolute_and_absolute_ones_stay",
        "interop/test_client_switches.py::test_legacy_key_ids",
    ),
    "8 services of did:peer:2": (
        "identity/test_did_peer.py::test_every_old_shape_of_a_service_is_read",
        "identity/test_did_peer.py::test_two_services_in_one_list_get_two_ids",
        "identity/test_document.py::test_every_form_of_endpoint_is_read",
        "mediator/handlers/test_routing.py"
        "::test_old_and_new_shapes_of_did_peer_2_are_found_as_they_were_bound",
    ),
    "9 routing_did": (
        "mediator/conformance/test_conformance_iohk.py"
        "::test_m0_mediation_is_granted_with_a_routing_did",
        "messaging/test_protocols.py::test_a_grant_with_a_single_routing_did_is_read",
        "mediator/conformance/test_conformance_iohk.py::test_m1_a_did_is_added",
    ),
    "10 recipient_did and recipient_key": (
        "mediator/handlers/test_traps.py::test_both_names_of_the_recipient_filter",
    ),
    "11 form of attachments": (
        "mediator/handlers/test_traps.py::test_mail_is_delivered_alike_however_it_was_attached",
        "mediator/handlers/test_forwarding.py::test_equal_envelopes_are_kept_once_however_attached",
    ),
    "12 ids of attachments": (
        "mediator/handlers/test_traps.py::test_ids_of_delivered_messages_are_the_mediators_own",
    ),
    "13 answer to messages-received": (
        "mediator/handlers/test_traps.py::test_received_with_and_without_a_thread",
        "mediator/handlers/test_pickup_4.py::test_an_acknowledgement_works_and_is_not_answered",
    ),
    "14 empty queue, units, names": (
        "mediator/conformance/test_conformance_iohk.py"
        "::test_k4_where_nothing_waits_there_is_nothing_to_open",
        "mediator/handlers/test_pickup_4.py::test_a_status_has_milliseconds_and_no_waiting_time",
        "mediator/handlers/test_pickup_4.py::test_a_delivery_has_at_most_the_count_asked_for",
    ),
    "15 live mode": (
        "mediator/delivery/test_live.py::test_what_comes_is_pushed_as_a_delivery_and_stays",
        "mediator/handlers/test_traps.py::test_live_mode_is_off_on_every_new_connection",
        "mediator/handlers/test_traps.py::test_live_mode_may_come_as_text",
    ),
    "16 live mode over HTTP": (
        "mediator/delivery/test_live.py::test_a_stranger_cannot_go_live",
        "mediator/handlers/test_pickup.py::test_live_delivery_over_http_is_refused",
        "mediator/handlers/test_pickup_4.py"
        "::test_live_delivery_over_http_is_refused_in_the_protocols_own_words",
    ),
    "17 problem codes": (
        "mediator/handlers/test_traps.py::test_a_report_names_the_thread_it_is_about",
        "mediator/handlers/test_traps.py::test_a_report_to_nobody_in_particular_is_signed",
        "mediator/entrance/test_entrance.py::test_a_problem_report_is_never_answered",
        "mediator/handlers/test_pickup_4.py"
        "::test_a_report_of_the_protocols_own_type_is_never_answered",
    ),
    "18 thid": (
        "mediator/handlers/test_traps.py::test_every_answer_is_in_the_thread_of_its_request",
        "mediator/handlers/test_traps.py::test_what_is_pushed_is_in_no_thread_of_anybodys",
    ),
    "19 next": (
        "mediator/handlers/test_forwarding.py::test_the_recipient_is_found_by_one_of_its_keys",
        "mediator/handlers/test_forwarding.py"
        "::test_a_long_did_is_found_by_its_short_form_and_the_other_way_round",
        "mediator/handlers/test_routing.py::test_a_recipient_is_found_by_its_key_as_did_key",
        "mediator/handlers/test_routing.py::test_by_a_key_mail_is_queued_once_for_the_account",
        "mediator/handlers/test_routing.py::test_a_key_leads_to_whoever_proved_a_did_that_has_it",
    ),
    "20 an endpoint that is a DID": (
        "messaging/test_routing.py"
        "::test_the_mediator_comes_before_the_routing_keys_and_after_its_own",
        "messaging/test_routing.py::test_a_mediator_behind_a_mediator_named_by_did_is_refused",
        "mediator/handlers/test_forwarding.py::test_the_mediator_forwards_nothing_to_itself",
        "mediator/handlers/test_routing.py"
        "::test_a_sender_wraps_for_nested_mediators_by_the_recipients_document",
        "mediator/handlers/test_routing.py"
        "::test_a_document_that_names_this_url_as_endpoint_is_mail_for_nobody",
        "mediator/handlers/test_routing.py"
        "::test_its_own_url_is_not_passed_on_to_however_it_is_spelled",
    ),
    "21 several keys": (
        "messaging/test_roundtrips.py::test_every_recipient_opens_the_same_envelope",
        "messaging/test_roundtrips.py::test_an_envelope_is_for_keys_of_one_curve_for_agreement",
        "interop/test_envelopes.py::test_several_keys_of_the_recipient_in_one_envelope",
    ),
    "22 ids of messages": (
        "mediator/handlers/test_traps.py::test_an_id_is_as_long_as_it_is",
        "mediator/handlers/test_traps.py::test_two_senders_may_use_one_id",
    ),
    "23 times": (
        "mediator/handlers/test_traps.py::test_times_in_every_form_that_occurs",
        "mediator/handlers/test_forwarding.py::test_mail_expires_when_the_forward_says_so",
        "mediator/handlers/test_traps.py"
        "::test_the_time_of_what_is_inside_is_none_of_the_mediators_business",
        "mediator/handlers/test_routing.py::test_mail_waits_for_its_expiry_and_no_longer",
    ),
    "24 please_ack": (
        "mediator/handlers/test_traps.py::test_no_forward_is_acknowledged_by_a_mediator",
        "mediator/handlers/test_routing.py::test_an_acknowledgement_asked_for_is_not_given",
    ),
    "25 out-of-band": (
        "mediator/handlers/test_traps.py::test_the_invitation_is_compact_and_safe_in_a_url",
    ),
}


def test_the_table_names_twenty_five_traps_and_no_test_that_is_not_there() -> None:
    assert [int(trap.split()[0]) for trap in TRAPS] == list(range(1, 26))
    assert named_tests.missing(test for tests in TRAPS.values() for test in tests) == []
