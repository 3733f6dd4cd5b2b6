"""The mediator's end of the relay helper: starts it, tells it of pairs, and has no privilege.

If the helper cannot be started or ends, Python forwards: no pair is lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from mediator.relay.service import Count, KernelFlow
from mediator.relay_helper.requests import MAX_CHANGES
from mediator.settings.config import RelaySettings

log = logging.getLogger(__name__)

MAX_REPLY = 256 * 1024
PATIENCE = 10.0  # seconds for an answer
MEGABIT = 1_000_000


class HelperGone(Exception):
    """There is no relay helper, or it does not do what it is told."""


@contextlib.asynccontextmanager
async def kernel_forwarding(settings: RelaySettings) -> AsyncIterator[KernelForwarding | None]:
    """Yields None where the kernel is not to, or cannot be told to."""
    if not settings.kernel:
        yield None
        return
    try:
        forwarding = KernelForwarding(await _Helper.start(settings.helper))
        await forwarding.start(settings)
    except HelperGone as error:
        log.info("Python relays datagrams, which is slower than the kernel: %s", error)
        yield None
        return
    working = asyncio.create_task(forwarding.run())
    try:
        yield forwarding
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await forwarding.end()


class KernelForwarding:
    """`works` is false from the moment on at which the helper failed."""

    def __init__(self, helper: _Helper) -> None:
        self.works = True
        self._helper = helper
        self._versions: tuple[int, ...] = ()
        self._todo: dict[int, list[dict[str, Any]] | None] = {}  # the flows of ports; None: none
        self._wanted = asyncio.Event()

    async def start(self, settings: RelaySettings) -> None:
        """Raises: HelperGone"""
        reply = await self._helper.ask(
            request="start",
            first_port=settings.ports[0],
            last_port=settings.ports[-1],
            rate=settings.rate * MEGABIT,
        )
        self._versions = tuple(reply["versions"])

    def open(self, port: int, flows: tuple[KernelFlow, KernelFlow]) -> bool:
        if flows[0].source.version not in self._versions:
            return False
        described = [
            {
                "source": flow.source.host,
                "source_port": flow.source.port,
                "destination": flow.destination.host,
                "destination_port": flow.destination.port,
                "own": flow.own,
            }
            for flow in flows
        ]
        self._want(port, described)
        return True

    def close(self, port: int) -> None:
        self._want(port, None)

    async def counts(self) -> Mapping[int, Count]:
        if not self.works:
            return {}
        try:
            reply = await self._helper.ask(request="counts")
        except HelperGone as error:
            self._give_up(error)
            return {}
        return {int(port): Count(*numbers) for port, numbers in reply["counts"].items()}

    async def run(self) -> None:
        """Tell the helper for as long as it works.

        Many pairs go in one request: the kernel takes them all in hardly more time than one.
        """
        while True:
            await self._wanted.wait()
            ports = list(self._todo)[:MAX_CHANGES]
            changes = {port: self._todo.pop(port) for port in ports}
            if not self._todo:
                self._wanted.clear()
            if not self.works:
                continue
            opened = [{"port": port, "flows": flows} for port, flows in changes.items() if flows]
            closed = [port for port, flows in changes.items() if not flows]
            try:
                await self._helper.ask(request="change", open=opened, close=closed)
            except HelperGone as error:
                self._give_up(error)

    async def end(self) -> None:
        await self._helper.end()

    def _want(self, port: int, flows: list[dict[str, Any]] | None) -> None:
        """In place of what was wanted of this port before."""
        self._todo[port] = flows
        self._wanted.set()

    def _give_up(self, error: HelperGone) -> None:
        """Without the helper its table is gone, too, and all datagrams come to us again."""
        if self.works:
            log.error("Python relays datagrams from now on: %s", error)
        self.works = False
        self._helper.close()


class _Helper:
    def __init__(self, mediator: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        mediator.setblocking(False)
        self._socket = mediator
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, path: Path) -> _Helper:
        """Through systemd's socket, else through sudo. Raises: HelperGone"""
        mediator = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            mediator.connect(str(path))
            return cls(mediator, None)
        except FileNotFoundError:
            mediator.close()
        except OSError as error:
            mediator.close()
            raise HelperGone(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
        mediator, helpers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with helpers:
            try:
                command = ["sudo", "-n", sys.executable, "-I", "-m", "mediator.relay_helper"]
                process = await asyncio.to_thread(
                    subprocess.Popen,
                    command,
                    stdin=helpers.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except OSError as error:
                mediator.close()
                raise HelperGone("no relay helper listens, and there is no sudo") from error
        return cls(mediator, process)

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Raises: HelperGone, also where it refuses or fails."""
        async with self._turn:
            try:
                self._socket.send(json.dumps(request).encode())
                async with asyncio.timeout(PATIENCE):
                    data = await self._received()
            except (OSError, TimeoutError) as error:
                raise HelperGone("the relay helper does not answer") from error
        if not data:
            raise HelperGone("the relay helper has ended; may this user start it?")
        reply: dict[str, Any] = json.loads(data)
        for fault in ("refused", "failed"):
            if fault in reply:
                raise HelperGone(f"the relay helper {fault}: {reply[fault]}")
        return reply

    async def _received(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._socket)
        return self._socket.recv(MAX_REPLY)

    def close(self) -> None:
        self._socket.close()

    async def end(self) -> None:
        """The table is gone when this returns, where we started the helper ourselves."""
        self.close()
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await asyncio.to_thread(self._process.wait)
