"""Which ports the caller of the network helper may have WireGuard's packets leave from."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.network_helper.held_ports import HeldPorts
from agent.network_helper.requests import MAX_PARTIES, RequestRefused
from agent.wireguard.config import Endpoint

PEER = ("192.0.2.1", 5000)


@pytest.fixture
def held() -> Iterator[HeldPorts]:
    made = HeldPorts()
    yield made
    made.close()


def test_a_port_whose_socket_was_handed_in_may_be_used(held: HeldPorts) -> None:
    with bound() as mine:
        held.take(mine.fileno(), PEER, [])
        held.check([endpoint(port_of(mine))])
        with pytest.raises(RequestRefused, match="not held"):
            held.check([endpoint(port_of(mine) ^ 1)])


def test_it_stays_ours_until_the_session_ends(held: HeldPorts) -> None:
    with bound() as mine:
        port = port_of(mine)
        held.take(mine.fileno(), PEER, [])
    with pytest.raises(OSError, match="in use"):
        bound(port=port)
    held.close()
    bound(port=port).close()
    with pytest.raises(RequestRefused):
        held.check([endpoint(port)])


def test_the_callers_socket_stays_as_it_is(held: HeldPorts) -> None:
    with bound() as mine:
        mine.setblocking(False)
        held.take(mine.fileno(), PEER, [])
        with pytest.raises(BlockingIOError):
            mine.recv(1)


def test_two_paths_do_not_share_a_port(held: HeldPorts) -> None:
    with bound() as mine:
        held.take(mine.fileno(), PEER, [])
        with pytest.raises(RequestRefused, match="twice"):
            held.check([endpoint(port_of(mine)), endpoint(port_of(mine))])


def test_of_too_many_ports_the_oldest_that_nothing_uses_is_given_back(held: HeldPorts) -> None:
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(bound()) for _ in range(MAX_PARTIES + 2)]
        ports = [port_of(one) for one in made]
        for one in made:
            held.take(one.fileno(), PEER, [endpoint(ports[1])])
    assert held.ports() == dict.fromkeys([ports[1], *ports[3:]], PEER)


NO_PORT = {
    "TCP": lambda: bound(socket.SOCK_STREAM),
    "a local socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "not bound": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "of one address": lambda: bound(host="127.0.0.1"),
}


@pytest.mark.parametrize("what", NO_PORT)
def test_what_is_no_port_of_every_address_is_refused(held: HeldPorts, what: str) -> None:
    with NO_PORT[what]() as other, pytest.raises(RequestRefused):
        held.take(other.fileno(), PEER, [])


def test_what_is_no_socket_is_refused(held: HeldPorts) -> None:
    with Path("/dev/null").open() as file, pytest.raises(OSError, match="socket"):
        held.take(file.fileno(), PEER, [])


def bound(
    kind: socket.SocketKind = socket.SOCK_DGRAM, host: str = "0.0.0.0", port: int = 0
) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def port_of(made: socket.socket) -> int:
    return int(made.getsockname()[1])


def endpoint(source_port: int | None) -> Endpoint:
    return Endpoint(bytes(32), PEER, 0, (), source_port)
