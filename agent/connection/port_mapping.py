"""Port mapping: one UDP port of ours, opened at the gateway by whichever protocol it speaks.

PCP, NAT-PMP and UPnP-IGD are asked in parallel, the first success is taken. Only the gateway of the
default route is talked to, and only where both its address and ours are private: elsewhere no home
router can be, and nothing is to be asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from aiohttp import ClientError

from agent.connection import upnp
from agent.connection.interfaces import default_gateway, source_towards
from traversal import pcp
from traversal.candidate import Address
from traversal.port_mapping import Gateway, Mapped, PortRequest, release_datagrams
from traversal.upnp import BadRouter

RENEW_WAIT: Final = 4.0  # seconds
RELEASE_WAIT: Final = 1.0
RETRY_AFTER: Final = 60.0  # seconds, where a gateway has stopped answering


def find_gateway() -> Gateway | None:
    """The home router before us; None where there is none, or where nothing is private."""
    try:
        address = default_gateway()
    except OSError:
        return None
    server = None if address is None else Address(address, pcp.PORT)
    if server is None or not server.private:
        return None
    client = source_towards(server)
    return Gateway(server.host, client) if client and Address(client, 1).private else None


async def map_port(port: int, timeout: float) -> Mapped | None:
    """Our UDP port as the gateway opens it; None if it does not within `timeout` seconds.

    `Mapped.double_nat` says that the address is of no use to the outside. Whoever asked keeps the
    mapping with `keep_mapped`, or gives it back with `release`.
    """
    gateway = find_gateway()
    if gateway is None:
        return None
    ways = (_by_datagrams(gateway, port), upnp.open_port(gateway, port))
    return await _first(*ways, timeout=timeout)


async def keep_mapped(mapped: Mapped, on_change: Callable[[Mapped | None], None]) -> None:
    """Until cancelled: renews it, and deletes it at the end.

    `on_change` hears of another external address, and of None when the gateway stops granting.
    """
    known: Mapped | None = mapped
    try:
        while True:
            await asyncio.sleep(known.renew_after() if known else RETRY_AFTER)
            renewed = await _renew(mapped)
            if _address(renewed) != _address(known):
                on_change(renewed)
            known, mapped = renewed, renewed or mapped
    finally:
        await asyncio.shield(release(mapped))


async def release(mapped: Mapped) -> None:
    """Delete it at the gateway, as far as that answers within a second."""
    with contextlib.suppress(OSError, ClientError, TimeoutError, BadRouter):
        async with asyncio.timeout(RELEASE_WAIT):
            if mapped.control is not None:
                await upnp.close_port(mapped.control, mapped.external.port)
                return
            with _connected(mapped.gateway) as sock:
                for data in release_datagrams(mapped):
                    await asyncio.get_running_loop().sock_sendall(sock, data)


def _address(mapped: Mapped | None) -> Address | None:
    return None if mapped is None else mapped.external


async def _renew(mapped: Mapped) -> Mapped | None:
    gateway, port = mapped.gateway, mapped.internal_port
    if mapped.control is None:
        asking = _by_datagrams(gateway, port, mapped)
    else:
        asking = upnp.add(gateway, port, mapped.control, mapped.external.port)
    return await _first(asking, timeout=RENEW_WAIT)


async def _first(*ways: Coroutine[Any, Any, Mapped | None], timeout: float) -> Mapped | None:
    """What the first successful way gives; the others are cancelled."""
    everybody = [asyncio.create_task(way) for way in ways]
    waiting = set(everybody)
    deadline = time.monotonic() + timeout
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            done, waiting = await asyncio.wait(
                waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (granted := task.result()) is not None:
                    return granted
        return None
    finally:
        for task in everybody:
            task.cancel()
        await asyncio.gather(*everybody, return_exceptions=True)


async def _by_datagrams(gateway: Gateway, port: int, before: Mapped | None = None) -> Mapped | None:
    """PCP and NAT-PMP over one socket; runs until granted, refused or cancelled."""
    nonce = before.nonce if before else secrets.token_bytes(pcp.NONCE_SIZE)
    request = PortRequest(gateway, port, nonce, time.monotonic(), before)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError), _connected(gateway) as sock:
        while (timer := request.next_timer()) is not None:
            with contextlib.suppress(OSError):  # refused, or no answer yet: asked again
                for data in request.datagrams_to_send(time.monotonic()):
                    await loop.sock_sendall(sock, data)
                async with asyncio.timeout(timer - time.monotonic()):
                    data = await loop.sock_recv(sock, pcp.MAX_SIZE + 1)
                    request.handle_datagram(data, time.monotonic())
    return request.mapped


@contextlib.contextmanager
def _connected(gateway: Gateway) -> Iterator[socket.socket]:
    """A socket that hears the gateway's server and nobody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((gateway.client, 0))
        sock.connect((gateway.address, pcp.PORT))
        yield sock
