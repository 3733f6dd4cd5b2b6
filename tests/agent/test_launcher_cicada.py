"""How parties of a Cicada program meet: by their addresses, and nobody else."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.launchers.cicada import NotConnected, meet
from tests.support.launched import PORT, addresses


def listening(host: str) -> socket.socket:
    listener = socket.create_server((host, PORT))
    listener.setblocking(False)
    return listener


def test_everybody_meets_everybody_and_knows_who_it_is() -> None:
    hosts = addresses(3)
    parties = [(host, PORT) for host in hosts]
    with (
        listening(hosts[0]) as first,
        listening(hosts[1]) as second,
        listening(hosts[2]) as third,
        ThreadPoolExecutor(3) as pool,
    ):
        met = list(
            pool.map(lambda rank: meet(parties, rank, [first, second, third][rank], 10), range(3))
        )
    for rank, found in enumerate(met):
        for other, sock in found.items():
            with sock:
                assert sock.getpeername()[0] == hosts[other]
                assert sock.getsockname()[0] == hosts[rank]


def test_who_has_no_partys_address_or_comes_twice_is_turned_away() -> None:
    hosts = addresses(3)
    parties = [(hosts[0], PORT), (hosts[1], PORT)]
    with listening(hosts[0]) as listener:
        stranger = socket.create_connection((hosts[0], PORT), 2, (hosts[2], 0))
        party = socket.create_connection((hosts[0], PORT), 2, (hosts[1], 0))
        with stranger, party:
            found = meet(parties, 0, listener, 5)
            assert list(found) == [1]
            with found[1]:
                assert stranger.recv(1) == b""
                found[1].sendall(b"x")
                assert party.recv(1) == b"x"


def test_a_party_that_does_not_come_is_named() -> None:
    hosts = addresses(2)
    parties = [(host, PORT) for host in hosts]
    with listening(hosts[0]) as listener, pytest.raises(NotConnected, match="party 1"):
        meet(parties, 0, listener, 0.2)
    with listening(hosts[1]) as listener, pytest.raises(NotConnected, match="party 0"):
        meet(parties, 1, listener, 0.2)
