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

from agent.connection.http_tunnel import Refused, Stream, connect
from resolvers.guarded import GuardedError, Policy
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayTicket
from traversal.relay_filter import all_wireguard, is_bind
from traversal.relay_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    Frames,
    MalformedBatch,
    MalformedFrame,
    batch,
    masked_frame,
    runs_of,
)
from traversal.segments import (
    BESIDE,
    MAX_RUN,
    SOL_UDP,
    UDP_GRO,
    Data,
    Run,
    Segments,
    received,
    single,
)

READ_AT_ONCE = 64  # runs taken from the kernel in one turn of the loop
READ_SIZE = 128 * 1024  # bytes of them, about; a frame holds a run more
GATHER = 0.002  # seconds in which a stream's datagrams are gathered
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
        self._transport: asyncio.Transport | None = None
        self._gathering: asyncio.Handle | None = None

    @property
    def bound(self) -> bool:
        return self._transport is not None and self.binding.bound

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
        if self._transport is not None:
            self.binding.release(time.monotonic())
            self._send_binds(self._transport)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._socket.close()

    async def _run(self) -> None:
        wait = FIRST_WAIT
        while self.binding.refusal is None:
            try:
                async with asyncio.timeout(CONNECT_TIME):
                    stream = await connect(self._url, self._context, self._policy)
                wait = FIRST_WAIT
                await self._use(stream)
            except FAULTS as error:
                self.fault = str(error) or type(error).__name__
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _use(self, stream: Stream) -> None:
        """Until the connection ends. A new one is a new address to the relay: bind afresh."""
        self.binding = RelayBinding(self._ticket, self.local, time.monotonic())
        self._frames = Frames(masked=False)
        self._transport, self.fault = stream.transport, None
        binding = asyncio.create_task(self._keep_bound(stream.transport))
        try:
            stream.hand_over(self._hear)
            await stream.lost.wait()
            raise Refused(self.fault or "the relay is gone")
        finally:
            self._transport = None
            binding.cancel()
            await asyncio.gather(binding, return_exceptions=True)
            stream.transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await stream.lost.wait()
            stream.transport.abort()  # whoever does not agree that it is over

    def _hear(self, data: memoryview) -> None:
        transport = self._transport
        if transport is None:
            return
        try:
            for opcode, content in self._frames.feed(data):
                if opcode == BINARY:
                    self._deliver(content)
                elif opcode == PING:
                    transport.write(masked_frame([content], PONG))
                elif opcode == CLOSE:
                    self.fault = "the relay closed the WebSocket"
                    transport.write(masked_frame([content[:2]], CLOSE))
                    transport.close()
                    return
        except (MalformedFrame, MalformedBatch) as error:
            self.fault = str(error)
            transport.abort()

    def _deliver(self, content: Data) -> None:
        runs: list[Run] = []
        for run in runs_of(content):
            if all_wireguard(run):
                runs.append(run)
            else:
                runs += [single(data) for data in run.datagrams() if not self._is_ours(data)]
        self._deliveries.send(runs)

    def _is_ours(self, data: bytes) -> bool:
        return is_bind(data) and self.binding.handle_datagram(data, self.local, time.monotonic())

    async def _keep_bound(self, transport: asyncio.Transport) -> None:
        while (at := self.binding.next_timer()) is not None:
            await asyncio.sleep(max(0.01, min(1.0, at - time.monotonic())))
            self._send_binds(transport)

    def _send_binds(self, transport: asyncio.Transport) -> None:
        binds = self.binding.datagrams_to_send(time.monotonic())
        if binds:
            transport.write(masked_frame(batch([single(each.data) for each in binds])))

    def _read_local(self) -> None:
        """Something waits. Where more than one does there is a stream, and what a moment brings
        goes in one frame: frames cost, their size hardly."""
        if self._send_what_waits() > 1:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._gather()

    def _gather(self) -> None:
        self._gathering = asyncio.get_running_loop().call_later(GATHER, self._look_again)

    def _look_again(self) -> None:
        loop, number = asyncio.get_running_loop(), self._send_what_waits()
        if number == READ_AT_ONCE:
            self._gathering = loop.call_soon(self._look_again)
        elif number:
            self._gather()
        else:
            loop.add_reader(self._socket, self._read_local)

    def _send_what_waits(self) -> int:
        """In one frame; how many runs there were, READ_AT_ONCE where there may be more."""
        read: list[Run] = []
        receive, wireguard = self._socket.recvmsg, self._wireguard
        number = size = 0
        while number < READ_AT_ONCE and size < READ_SIZE:
            try:
                data, beside, _, source = receive(MAX_RUN, BESIDE)
            except OSError:  # nothing more, or an ICMP error for something we sent
                break
            number += 1
            size += len(data)
            if source == wireguard and data:
                read.append(received(data, beside))
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MAX_BUFFER:
            self.dropped += sum(run.number for run in read)
        elif read:
            transport.write(masked_frame(batch(read)))
        return number if size < READ_SIZE else READ_AT_ONCE


@cache
def _trust_of_the_system() -> ssl.SSLContext:
    """Read once: it takes tens of milliseconds, and every party may be reached by a stream."""
    return ssl.create_default_context()
