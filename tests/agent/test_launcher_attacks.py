"""Who may be which party: attacks with real processes on loopback addresses."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.launch import program
from agent.launchers import Exit
from agent.launchers.progress import Event
from tests.support import launched
from tests.support.launched import PORT, Ended, Party

BIDS = (120, 150, 135)
RESULT = "winner=party1 price=135\n"
KEYS = bytes(16)  # MPyC's shared keys of a dialler; one of 16 bytes for 1 of 3 parties
LOOPS = pytest.mark.parametrize("env", [{}, {"MPYC_NOUVLOOP": "1"}], ids=["uvloop", "asyncio"])


@LOOPS
async def test_a_stranger_who_claims_an_index_is_refused_and_the_run_is_right(
    tmp_path: Path, env: dict[str, str]
) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path, env) as victim:
        assert await says(other_address(hosts), hosts[2], claim(0)) == b""
        ended = await honest_run(auction, hosts, victim, tmp_path, env)
    assert_right(ended)
    assert [line.fields["source"] for line in ended[2].told(Event.REFUSED)] == [
        other_address(hosts)
    ]


@LOOPS
async def test_an_insider_who_claims_another_index_is_refused_and_the_run_is_right(
    tmp_path: Path, env: dict[str, str]
) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path, env) as victim:
        heard = await says(hosts[1], hosts[2], claim(0))
        ended = await honest_run(auction, hosts, victim, tmp_path, env)
    assert heard == b"didmesh mpyc 1: party 2 of 3, threshold 1\n"
    assert_right(ended)
    [refused] = ended[2].told(Event.REFUSED)
    assert refused.sentence == f"{hosts[1]} is party 1, but says it is party 0"


async def test_an_index_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path) as victim:
        for index in (2, 3, 0xFFFF):
            await says(hosts[0], hosts[2], claim(index))
        ended = await honest_run(auction, hosts, victim, tmp_path)
    assert_right(ended)
    assert len(ended[2].told(Event.REFUSED)) == 3


async def test_an_index_is_taken_once_even_by_two_who_connected_at_the_same_time(
    tmp_path: Path,
) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path) as victim:
        first, second = await dialled(hosts[1], hosts[2]), await dialled(hosts[1], hosts[2])
        with first, second:
            for sock in (first, second):  # both are let in before either says who it is
                assert (await asyncio.get_running_loop().sock_recv(sock, 80)).endswith(b"\n")
            await send(first, claim(1))
            assert (await victim.until(Event.CONNECTED)).fields == {"party": "1"}
            await send(second, claim(1))
            twice = f"{hosts[1]} says again that it is party 1"
            assert (await victim.until(Event.REFUSED)).sentence == twice
            third = await says(hosts[1], hosts[2], claim(1))
            assert third == b""
            assert (
                await victim.until(Event.REFUSED)
            ).sentence == f"{hosts[1]} is connected already"


async def test_half_a_claim_blocks_nobody(tmp_path: Path) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path) as victim:
        with await dialled(hosts[1], hosts[2]) as silent, await dialled(hosts[0], hosts[2]) as half:
            await send(half, b"\x00")
            ended = await honest_run(auction, hosts, victim, tmp_path)
            assert silent.fileno() >= 0
    assert_right(ended)


async def test_a_party_listens_on_its_own_mesh_address_only(tmp_path: Path) -> None:
    auction, hosts = launched.AUCTION, launched.addresses(3)
    async with listening(auction, hosts, tmp_path):
        for elsewhere in (other_address(hosts), "127.0.0.1"):
            with pytest.raises(ConnectionRefusedError):
                await dialled(elsewhere, elsewhere)


async def test_whoever_holds_a_partys_port_learns_nothing_and_everybody_ends(
    tmp_path: Path,
) -> None:
    probe = launched.write_program(tmp_path / "probe", TALK, start=3)
    hosts = launched.addresses(3)
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(listen, hosts[2], PORT):
        started = [await launched.start(probe, hosts, rank, 1, tmp_path) for rank in range(3)]
        ended = await launched.ends(started, 20)
    await asyncio.sleep(0)
    assert [party.code for party in ended] == [
        Exit.NOT_CONNECTED,
        Exit.NOT_CONNECTED,
        Exit.ADDRESS_UNUSABLE,
    ]
    assert ended[2].sentence == f"cannot listen on {hosts[2]}:{PORT}: Address already in use"
    assert f"party 2 ({hosts[2]}) accepts the connection but does not greet" in ended[0].sentence
    assert len(heard) == 2
    assert b"".join(heard) == b""


async def test_code_that_a_party_sends_as_data_is_not_run(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", SEND_CODE)
    ended = await launched.run(probe, (1, 1, 1), tmp_path)
    for rank in (0, 2):
        assert ended[rank].code != Exit.DONE
        assert ended[rank].stdout == ""
        assert not (tmp_path / f"party{rank}" / "owned").exists()
    assert "a party sent more than data: posix.mkdir" in ended[0].stderr


async def test_data_and_field_elements_pass_between_parties(tmp_path: Path) -> None:
    probe = launched.write_program(tmp_path / "probe", SEND_DATA)
    ended = await launched.run(probe, (1, 2, 3), tmp_path)
    wanted = "[('text', {'n': [0, None]}, 5), ('text', {'n': [1, None]}, 5)]\n"
    assert [party.stdout for party in ended] == [wanted] * 3, ended[0].stderr


TALK = """
from mpyc.runtime import mpc

async def main():
    async with mpc:
        secint = mpc.SecInt()
        while True:
            await mpc.output(mpc.input(secint(1)))

mpc.run(main())
"""

SEND_CODE = """
import os
from mpyc.runtime import mpc

class Code:
    def __reduce__(self):
        return os.mkdir, ("owned",)

async def main():
    async with mpc:
        print(await mpc.transfer(Code(), senders=[1], receivers=[0, 2]))

mpc.run(main())
"""

SEND_DATA = """
from mpyc.runtime import mpc

async def main():
    async with mpc:
        element = mpc.SecInt().field(5)
        data = ("text", {"n": [mpc.pid, None]}, element)
        heard = await mpc.transfer(data, senders=[0, 1])
        print([(text, table, int(number)) for text, table, number in heard])

mpc.run(main())
"""


@asynccontextmanager
async def listening(
    chosen: program.Program,
    hosts: tuple[str, ...],
    below: Path,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Party]:
    """Party 2 alone, waiting for the others."""
    victim = await launched.start(chosen, hosts, 2, BIDS[2], below, env=env)
    try:
        await victim.until(Event.LISTENING)
        yield victim
    finally:
        if victim.process.returncode is None:
            victim.process.kill()
            await victim.ended()


async def honest_run(
    chosen: program.Program,
    hosts: tuple[str, ...],
    victim: Party,
    below: Path,
    env: dict[str, str] | None = None,
) -> list[Ended]:
    others = [
        await launched.start(chosen, hosts, rank, BIDS[rank], below, env=env) for rank in (0, 1)
    ]
    return await launched.ends([*others, victim])


def assert_right(ended: list[Ended]) -> None:
    assert [(party.code, party.stdout) for party in ended] == [(Exit.DONE, RESULT)] * 3


def other_address(hosts: tuple[str, ...]) -> str:
    return hosts[0].rpartition(".")[0] + ".99"


def claim(index: int) -> bytes:
    return index.to_bytes(2, "little") + KEYS


async def dialled(source: str, target: str) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (target, PORT))
    except OSError:
        sock.close()
        raise
    return sock


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def says(source: str, target: str, data: bytes) -> bytes:
    """Dial, say that, and everything heard until the other end hangs up."""
    heard = b""
    with await dialled(source, target) as sock:
        async with asyncio.timeout(10):
            try:
                await send(sock, data)
                while more := await asyncio.get_running_loop().sock_recv(sock, 1024):
                    heard += more
            except ConnectionError:
                pass
    return heard
