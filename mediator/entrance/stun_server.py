"""The STUN service: tells agents from which address their datagrams come.

Two ports, so that an agent notices a NAT whose mapping depends on the destination. An answer holds
the address and nothing else; it goes out only for a well-formed binding request, so that neither
strangers' noise nor another server's answers are answered.
Source: RFC 8489, sections 6.3 and 12.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from traversal import stun
from traversal.candidate import Address
from traversal.stun import Class, MalformedStun, Message

MAX_UNKNOWN_NAMED = 4  # attribute numbers listed in a refusal
UNKNOWN_ATTRIBUTE = 420


class StunServer:
    def __init__(self) -> None:
        self._transports: list[asyncio.DatagramTransport] = []

    @property
    def ports(self) -> tuple[int, ...]:
        """As bound; 0 was replaced by what the system chose."""
        return tuple(transport.get_extra_info("sockname")[1] for transport in self._transports)

    async def start(self, host: str, ports: Sequence[int]) -> None:
        """All ports or none. Raises: OSError, if one cannot be bound."""
        loop = asyncio.get_running_loop()
        try:
            for port in ports:
                transport, _ = await loop.create_datagram_endpoint(
                    _Answering, local_addr=(host, port)
                )
                self._transports.append(transport)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for transport in self._transports:
            transport.close()
        self._transports.clear()


def answer(data: bytes, source: Address) -> bytes | None:
    """The bytes to send back, if any."""
    try:
        request = stun.parse(data)
    except MalformedStun:
        return None
    if request.cls is not Class.REQUEST or request.method != stun.BINDING:
        return None
    fingerprint = "FINGERPRINT" in request.attributes
    attributes: dict[str, Any] = {"XOR-MAPPED-ADDRESS": source}
    cls = Class.SUCCESS
    if request.unknown:
        cls = Class.ERROR
        unknown = request.unknown[:MAX_UNKNOWN_NAMED]
        attributes = {"ERROR-CODE": (UNKNOWN_ATTRIBUTE, ""), "UNKNOWN-ATTRIBUTES": unknown}
    return stun.serialize(Message(cls, request.transaction, attributes), fingerprint=fingerprint)


class _Answering(asyncio.DatagramProtocol):
    _transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, source: tuple[Any, ...]) -> None:
        reply = answer(data, Address(source[0], source[1]))
        if reply is not None:
            self._transport.sendto(reply, source)
