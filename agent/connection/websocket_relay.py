"""Where UDP is blocked: a local UDP port whose datagrams go to the relay over a WebSocket.

    async with WebSocketRelay(ticket, deliver_to=wireguard_port) as relay:
        relay.local      # 127.0.0.1:port, WireGuard's endpoint for this party: a degraded path
        relay.bound, relay.binding.other_bound, relay.binding.rtt

It binds, binds again, and connects again whenever the connection is lost, for as long as it is
entered. A proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name is gone through by CONNECT.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from functools import cache
from types import TracebackType
from typing import Self

from agent.connection.http_tunnel import Refused, connect, read_frame
from agent.connection.masking import masked_frame
from resolvers.guarded import GuardedError, Policy
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayTicket
from traversal.relay_frames import (
    BINARY,
    CLOSE,
    MAX_DATAGRAM,
    PING,
    PONG,
    MalformedBatch,
    batch,
    datagrams_of,
)
from traversal.relay_server import is_bind
from traversal.segments import BESIDE, SOL_UDP, UDP_GRO, Segments, cut

READ_AT_ONCE = 64  # datagrams taken from the kernel in one turn of the loop
GATHER = 0.001  # seconds in which a stream's datagrams are gathered
MAX_BUFFER = 1024 * 1024  # bytes written and not sent, over which datagrams are dropped
CONNECT_TIME = 10.0  # seconds
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds before connecting again
GOODBYE = 1.0  # seconds for the other end to agree that a connection ends
LOOPBACK = "127.0.0.1"
BUFFER = 4 * 1024 * 1024  # bytes asked of the kernel
FAULTS = (
    OSError,
    TimeoutError,
    Refused,
    GuardedError,
    asyncio.IncompleteReadError,
    MalformedBatch,
)


class WebSocketRelay:
    """`deliver_to` is the local port that gets what comes, and alone may send.

    `policy` limits where a URL may lead that another party has given.
    """

    def __init__(
        self,
        ticket: RelayTicket,
        deliver_to: int,
        context: ssl.SSLContext | None = None,
        policy: Policy | None = None,
    ) -> None:
        if ticket.websocket is None:
            raise ValueError("the relay has no WebSocket")
        self._url = ticket.websocket
        self._ticket = ticket
        self._context = context or _trust_of_the_system()
        self._policy = policy
        self._wireguard = (LOOPBACK, deliver_to)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with contextlib.suppress(OSError):  # a kernel without it gives one datagram at a time
            self._socket.setsockopt(SOL_UDP, UDP_GRO, 1)
        self._socket.bind((LOOPBACK, 0))
        self._deliveries = Segments(self._socket.sendmsg, self._wireguard)
        self.local = Address(*self._socket.getsockname())
        self.binding = RelayBinding(ticket, self.local, time.monotonic())
        self.dropped = 0  # datagrams that found the connection full or missing
        self.fault: str | None = None  # why there is no connection now
        self._writer: asyncio.StreamWriter | None = None
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def bound(self) -> bool:
        return self._writer is not None and self.binding.bound

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read_local)
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._gathering is not None:
            self._gathering.cancel()
        if self._writer is not None:
            self.binding.release(time.monotonic())
            self._send_binds(self._writer)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._socket.close()

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while self.binding.refusal is None:
            try:
                async with asyncio.timeout(CONNECT_TIME):
                    reader, writer = await connect(self._url, self._context, self._policy)
                wait = FIRST_WAIT
                await self._use(reader, writer)
            except FAULTS as error:
                self.fault = str(error) or type(error).__name__
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the connection ends. A new one is a new address to the relay: bind afresh."""
        self.binding = RelayBinding(self._ticket, self.local, time.monotonic())
        self._writer, self.fault = writer, None
        binding = asyncio.create_task(self._keep_bound(writer))
        try:
            while True:
                opcode, content = await read_frame(reader)
                if opcode == BINARY:
                    self._deliver(content)
                elif opcode == PING:
                    writer.write(masked_frame(content, PONG))
                elif opcode == CLOSE:
                    writer.write(masked_frame(content[:2], CLOSE))
                    raise Refused("the relay closed the WebSocket")
        finally:
            self._writer = None
            binding.cancel()
            await asyncio.gather(binding, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await writer.wait_closed()
            writer.transport.abort()  # whoever does not agree that it is over

    def _deliver(self, content: bytes) -> None:
        now, for_wireguard = time.monotonic(), []
        for data in datagrams_of(content):
            if not is_bind(data) or not self.binding.handle_datagram(data, self.local, now):
                for_wireguard.append(data)
        self._deliveries.send(for_wireguard)

    async def _keep_bound(self, writer: asyncio.StreamWriter) -> None:
        while (at := self.binding.next_timer()) is not None:
            await asyncio.sleep(max(0.01, min(1.0, at - time.monotonic())))
            self._send_binds(writer)

    def _send_binds(self, writer: asyncio.StreamWriter) -> None:
        binds = self.binding.datagrams_to_send(time.monotonic())
        if binds:
            writer.write(masked_frame(batch([each.data for each in binds])))

    def _read_local(self) -> None:
        """Something waits. Where more than one does there is a stream, and what a moment brings
        goes in one frame: frames cost, their size hardly."""
        if self._send_what_waits() > 1:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._gather(GATHER)

    def _gather(self, seconds: float) -> None:
        self._gathering = asyncio.get_running_loop().call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        number = self._send_what_waits()
        if number:
            self._gather(GATHER if number < READ_AT_ONCE else 0)
        else:
            asyncio.get_running_loop().add_reader(self._socket, self._read_local)

    def _send_what_waits(self) -> int:
        """In one frame; how many datagrams there were."""
        read: list[bytes] = []
        receive, wireguard = self._socket.recvmsg, self._wireguard
        number = 0
        while number < READ_AT_ONCE:
            try:
                data, beside, _, source = receive(MAX_DATAGRAM, BESIDE)
            except OSError:  # nothing more, or an ICMP error for something we sent
                break
            datagrams = cut(data, beside)
            number += len(datagrams)
            if source == wireguard:
                read += datagrams
        writer = self._writer
        if writer is None or writer.transport.get_write_buffer_size() > MAX_BUFFER:
            self.dropped += len(read)
        elif read:
            writer.write(masked_frame(batch(read)))
        return number


@cache
def _trust_of_the_system() -> ssl.SSLContext:
    """Read once: it takes tens of milliseconds, and every party may be reached by a stream."""
    return ssl.create_default_context()
