"""UPnP-IGD over the network: the search, and HTTP with a router that may be hostile.

Nothing but the gateway's own address is connected to, no redirect is followed, and every answer is
short or none.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from dataclasses import replace
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from traversal import upnp
from traversal.bounded_xml import MAX_SIZE
from traversal.candidate import Address
from traversal.port_mapping import WANTED_LIFETIME, Gateway, Mapped, Protocol, bounded, usable
from traversal.upnp import BadRouter, Control, Fault

ANSWER_WAIT: Final = 2.0  # seconds for one HTTP answer
SEARCH_WAIT: Final = 1.0  # seconds between two searches
EXTERNAL_PORTS: Final = range(20000, 60000)
ATTEMPTS: Final = 4  # to add a mapping; others may have our external port


async def open_port(gateway: Gateway, port: int) -> Mapped | None:
    """Search, description, mapping, external address; None as soon as one of them fails."""
    with contextlib.suppress(OSError, ClientError, TimeoutError, BadRouter):
        location = await _search(gateway)
        status, description = await _http("GET", location)
        if status == 200:
            control = upnp.parse_description(description, location, gateway.address)
            return await add(gateway, port, control, port)
    return None


async def add(gateway: Gateway, port: int, control: Control, external_port: int) -> Mapped | None:
    """A mapping, with another external port where this one is somebody else's; also renews it."""
    with contextlib.suppress(OSError, ClientError, TimeoutError, BadRouter):
        lifetime = WANTED_LIFETIME
        for _ in range(ATTEMPTS):
            call = upnp.add_port_mapping(control, gateway.client, port, external_port, lifetime)
            try:
                upnp.check_answer(*await _post(call))
            except Fault as fault:
                if fault.code == upnp.ONLY_PERMANENT:
                    lifetime = 0
                elif fault.code == upnp.CONFLICT:
                    external_port = secrets.choice(EXTERNAL_PORTS)
                else:
                    return None
            else:
                external = Address(await _external_host(control), external_port)
                mapped = Mapped(Protocol.UPNP, gateway, port, external, bounded(lifetime))
                return replace(mapped, control=control) if usable(external) else None
    return None


async def close_port(control: Control, external_port: int) -> None:
    """Raises: BadRouter, OSError, ClientError or TimeoutError, if it stays open."""
    upnp.check_answer(*await _post(upnp.delete_port_mapping(control, external_port)))


async def _external_host(control: Control) -> str:
    return upnp.parse_external_address(*await _post(upnp.get_external_address(control)))


async def _search(gateway: Gateway) -> str:
    """The description's URL, from the gateway and nobody else; runs until found or cancelled."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((gateway.client, 0))
        interface = socket.inet_aton(gateway.client)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        while True:
            for device in upnp.DEVICES:
                for host in (gateway.address, upnp.MULTICAST):
                    data = upnp.search(device, host)
                    await loop.sock_sendto(sock, data, (host, upnp.PORT))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEARCH_WAIT):
                    return await _search_answer(sock, gateway)


async def _search_answer(sock: socket.socket, gateway: Gateway) -> str:
    loop = asyncio.get_running_loop()
    while True:
        data, source = await loop.sock_recvfrom(sock, upnp.MAX_SEARCH_ANSWER + 1)
        if source[0] != gateway.address:
            continue
        with contextlib.suppress(BadRouter):
            return upnp.parse_search_answer(data, gateway.address)


async def _post(call: upnp.Call) -> tuple[int, bytes]:
    return await _http("POST", call.url, dict(call.headers), call.body)


async def _http(
    method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Raises: BadRouter, for an answer that is too long; OSError, ClientError or TimeoutError."""
    limits = ClientTimeout(total=ANSWER_WAIT)
    async with (
        ClientSession(timeout=limits, cookie_jar=DummyCookieJar(), auto_decompress=False) as web,
        web.request(method, url, headers=headers, data=body, allow_redirects=False) as answer,
    ):
        data = bytearray()
        async for piece in answer.content.iter_chunked(MAX_SIZE):
            data += piece
            if len(data) > MAX_SIZE:
                raise BadRouter("its answer is too long")
        return answer.status, bytes(data)
