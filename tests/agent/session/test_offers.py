"""What a party may offer: its own key and nobody else's."""

import base64
from dataclasses import replace
from typing import cast

import pytest
from nacl.public import PrivateKey

from agent.connection.udp import UdpPort
from agent.session.offers import OwnSide, check_key
from messaging.protocols.session import Offer
from traversal.relay import BadTicket, RelayTicket

OWN = OwnSide("ab" * 32, cast(UdpPort, None), {}, {}, bytes(PrivateKey.generate()))


def offer(public: bytes) -> Offer:
    return Offer(OWN.session, "a.b.c", base64.b64encode(public).decode(), {})


def test_a_key_is_one_partys_alone() -> None:
    ours = bytes(PrivateKey(OWN.private_key).public_key)
    ben, carol = (bytes(PrivateKey.generate().public_key) for _ in range(2))
    honest = {"ben": offer(ben), "carol": offer(carol)}
    for party in honest:
        check_key(party, OWN, honest)
    for theirs in (ours, ben):
        with pytest.raises(ValueError, match="another party's"):
            check_key("carol", OWN, {**honest, "carol": offer(theirs)})


def test_nobody_gives_us_a_ticket_of_the_side_that_the_giver_keeps() -> None:
    ticket = RelayTicket(("192.0.2.1",), 41000, "t" * 20, 1, "s" * 20, 1, 2)
    theirs = replace(offer(bytes(32)), relays=(ticket.to_json(),))
    assert OWN.tickets("ben", theirs) == (ticket,)
    with pytest.raises(BadTicket):
        OWN.tickets("ben", replace(theirs, relays=({**ticket.to_json(), "side": 0},)))


def test_nobody_has_us_speak_to_our_own_machine_as_a_relay() -> None:
    ticket = RelayTicket(("192.0.2.1",), 41000, "t" * 20, 1, "s" * 20, 1, 2)
    ours = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.1")
    some, none = (
        {**ticket.to_json(), "hosts": list(hosts)} for hosts in (("192.0.2.1", *ours[:3]), ours)
    )
    theirs = replace(offer(bytes(32)), relays=(some, none))
    assert OWN.tickets("ben", theirs) == (ticket,)


def test_a_second_spelling_of_a_key_is_the_same_key() -> None:
    ben = bytes(PrivateKey.generate().public_key)
    text = base64.b64encode(ben).decode()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = letters[letters.index(text[-2]) + 1]  # the last bits carry nothing
    twins = {"ben": offer(ben), "carol": Offer(OWN.session, "a.b.c", text[:-2] + other + "=", {})}
    with pytest.raises(ValueError, match="another party's"):
        check_key("carol", OWN, twins)
