"""What `wg` is told and what it answers."""

import base64

import pytest

from agent.wireguard.config import (
    Endpoint,
    Interface,
    Peer,
    PeerStatus,
    parse_dump,
    paths,
    serialize,
)

OURS, THEIRS, SHARED = bytes(range(32)), b"\x01" * 32, b"\x02" * 32


def test_the_configuration_gives_each_peer_exactly_its_addresses() -> None:
    assert serialize(OURS, 51820, [a_peer()]) == (
        "[Interface]\n"
        "PrivateKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        "ListenPort = 51820\n"
        "[Peer]\n"
        "PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
        "PresharedKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n"
        "AllowedIPs = 10.0.0.2/32, fd00::2/128\n"
    )


def test_nothing_that_makes_wireguard_send_is_in_the_configuration() -> None:
    configuration = serialize(OURS, 51820, [a_peer()])
    assert "Keepalive" not in configuration
    assert "Endpoint" not in configuration


def test_endpoint_and_keepalive_go_together_for_each_peer() -> None:
    first = Endpoint(THEIRS, ("2001:db8::1", 4500), 25)
    second = Endpoint(OURS, ("192.0.2.7", 7), 5)
    assert paths([first, second]) == [
        *("peer", text(THEIRS), "endpoint", "[2001:db8::1]:4500", "persistent-keepalive", "25"),
        *("peer", text(OURS), "endpoint", "192.0.2.7:7", "persistent-keepalive", "5"),
    ]


def test_secret_keys_are_not_shown() -> None:
    interface = Interface(OURS, 51820, (a_peer(),))
    for shown in (repr(interface), repr(a_peer())):
        assert repr(OURS) not in shown
        assert repr(SHARED) not in shown
        assert text(OURS) not in shown


def test_a_dump_is_read_peer_by_peer() -> None:
    dump = (
        f"{text(OURS)}\t{text(THEIRS)}\t51820\toff\n"
        f"{text(THEIRS)}\t(none)\t192.0.2.7:7\t10.0.0.2/32\t1700000000\t12\t34\t25\n"
        f"{text(SHARED)}\t(none)\t[2001:db8::1]:8\t10.0.0.3/32\t0\t0\t148\t25\n"
        f"{text(OURS)}\t(none)\t(none)\t10.0.0.4/32\t0\t0\t0\toff\n"
    )
    assert parse_dump(dump) == (
        PeerStatus(THEIRS, ("192.0.2.7", 7), 1700000000.0, 12, 34),
        PeerStatus(SHARED, ("2001:db8::1", 8), 0.0, 0, 148),
        PeerStatus(OURS, None, 0.0, 0, 0),
    )


def test_a_dump_of_no_peers_is_empty() -> None:
    assert parse_dump(f"{text(OURS)}\t{text(THEIRS)}\t51820\toff\n") == ()


@pytest.mark.parametrize(
    "line", ["", "a\tb", "!\t\t(none)\t\t0\t0\t0\t0", "A\tb\tc\td\te\tf\tg\th"]
)
def test_a_broken_dump_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        parse_dump(f"interface\n{line}\n")


def a_peer() -> Peer:
    return Peer(THEIRS, ("10.0.0.2/32", "fd00::2/128"), SHARED)


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()
