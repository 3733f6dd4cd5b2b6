"""What wireguard-go's control socket is told and what it answers."""

import pytest

from agent.wireguard import uapi
from agent.wireguard.config import Endpoint, PeerStatus

OURS, THEIRS = bytes(range(32)), b"\x01" * 32
ANSWER = (
    f"private_key={OURS.hex()}\nlisten_port=51820\n"
    f"public_key={THEIRS.hex()}\npreshared_key={OURS.hex()}\nprotocol_version=1\n"
    "endpoint=192.0.2.7:7\nlast_handshake_time_sec=1700000000\n"
    "last_handshake_time_nsec=500000000\ntx_bytes=34\nrx_bytes=12\n"
    "persistent_keepalive_interval=25\nallowed_ip=10.0.0.2/32\nallowed_ip=fd00::2/128\n"
    f"public_key={OURS.hex()}\nprotocol_version=1\nendpoint=[2001:db8::1]:8\n"
    "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=148\nrx_bytes=0\n"
    f"persistent_keepalive_interval=0\npublic_key={'02' * 32}\nprotocol_version=1\n"
    "errno=0\n\n"
)


def test_endpoint_and_keepalive_go_together_for_peers_that_are_there() -> None:
    first = Endpoint(THEIRS, ("2001:db8::1", 4500), 25)
    second = Endpoint(OURS, ("192.0.2.7", 7), 5)
    assert uapi.set_endpoints([first, second]) == (
        "set=1\n"
        f"public_key={'01' * 32}\nupdate_only=true\n"
        "endpoint=[2001:db8::1]:4500\npersistent_keepalive_interval=25\n"
        f"public_key={OURS.hex()}\nupdate_only=true\n"
        "endpoint=192.0.2.7:7\npersistent_keepalive_interval=5\n"
        "\n"
    )


def test_an_answer_is_read_peer_by_peer() -> None:
    assert uapi.parse_status(ANSWER) == (
        PeerStatus(THEIRS, ("192.0.2.7", 7), 1700000000.5, 12, 34),
        PeerStatus(OURS, ("2001:db8::1", 8), 0.0, 0, 148),
        PeerStatus(b"\x02" * 32, None, 0.0, 0, 0),
    )


def test_an_interface_without_peers_has_no_status() -> None:
    assert uapi.parse_status("listen_port=51820\nerrno=0\n\n") == ()


@pytest.mark.parametrize(("answer", "up"), [("listen_port=7", True), ("listen_port=0", False)])
def test_an_interface_listens_once_it_has_a_port(answer: str, *, up: bool) -> None:
    assert uapi.listens(f"private_key=00\n{answer}\nerrno=0\n\n") is up


def test_what_went_wrong_has_a_number() -> None:
    assert uapi.parse_errno("errno=-22\n\n") == -22
    assert uapi.parse_errno(ANSWER) == 0


@pytest.mark.parametrize("answer", ["", "\n\n", "hello", "public_key=zz\nerrno=0\n\n"])
def test_a_broken_answer_is_an_error(answer: str) -> None:
    with pytest.raises(ValueError):
        uapi.parse_status(answer)
