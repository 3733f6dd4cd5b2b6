"""The last check before a program starts: the very ports it will use, in both directions.

A firewall inside the machine, a forgotten listener or a half-open tunnel shows here, with the name
of the party, and not as a program that hangs. Sockets are made by the network helper inside the
session's namespace, so what is probed is what the program will get.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from traversal.candidate import Address

FIRST_RETRY, LONGEST_RETRY = 0.05, 0.5  # seconds between attempts; others may come later
MakeSocket = Callable[[], Awaitable[socket.socket]]


class PortsClosed(Exception):
    """Some of the program's ports could not be reached, or did not see everybody."""

    def __init__(self, unreached: list[str], unseen: list[str]) -> None:
        super().__init__("the program's ports are not open in both directions")
        self.unreached = unreached  # parties whose port we could not connect to
        self.unseen = unseen  # parties that did not connect to ours


async def probe_ports(
    make_socket: MakeSocket, own: Address, others: Mapping[str, Address], timeout: float
) -> dict[str, float]:
    """Round trip, in seconds, of a TCP handshake with each party's program port.

    Returns when we reached everybody and everybody reached us, from their own mesh address.
    Raises: PortsClosed, after `timeout` seconds.
    """
    seen = {did: asyncio.Event() for did in others}
    reached: dict[str, float] = {}
    try:
        async with asyncio.timeout(timeout), _listening(make_socket, own, others, seen):
            async with asyncio.TaskGroup() as group:
                for did, address in others.items():
                    group.create_task(_reach(make_socket, own, did, address, reached, seen[did]))
            for event in seen.values():
                await event.wait()
    except TimeoutError:
        raise PortsClosed(
            [did for did in others if did not in reached],
            [did for did in others if not seen[did].is_set()],
        ) from None
    return reached


@contextlib.asynccontextmanager
async def _listening(
    make_socket: MakeSocket,
    own: Address,
    others: Mapping[str, Address],
    seen: Mapping[str, asyncio.Event],
) -> AsyncIterator[None]:
    hosts = {address.host: did for did, address in others.items()}
    listener = await make_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(own)
    listener.listen(len(others))

    async def accept() -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, source = await loop.sock_accept(listener)
            connection.close()
            if source[0] in hosts:
                seen[hosts[source[0]]].set()

    task = asyncio.create_task(accept())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


async def _reach(
    make_socket: MakeSocket,
    own: Address,
    did: str,
    address: Address,
    reached: dict[str, float],
    seen: asyncio.Event,
) -> None:
    """Ever more rarely, and at once when this party has come to our port: then its own is open."""
    loop = asyncio.get_running_loop()
    pause = FIRST_RETRY
    while True:
        attempt = await make_socket()
        was_seen = seen.is_set()
        try:
            attempt.bind((own.host, 0))
            began = time.monotonic()
            await loop.sock_connect(attempt, address)
            reached[did] = time.monotonic() - began
            return
        except OSError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.sleep(pause) if was_seen else seen.wait())
            pause = min(2 * pause, LONGEST_RETRY)
        finally:
            attempt.close()
