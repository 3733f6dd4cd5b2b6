"""A mediator in the fuzzing process, reached over loopback as strangers reach it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from mediator.app import running
from mediator.settings.config import Config, Limits
from messaging import jwe
from resolvers.local import LocalResolver
from tests.support.mediator_client import Party

MEMORY = "/dev/shm"  # a commit there waits for no disk
UNLIMITED = 10**9
PATIENCE = 5.0  # seconds in which every input must be dealt with
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class LoopbackMediator:
    """Started for good: the process ends when the fuzzing does."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._faults: list[str] = []
        self._loop.set_exception_handler(lambda _, context: self._faults.append(str(context)))
        logging.getLogger("aiohttp").addHandler(_Noting(self._faults))
        logging.getLogger("aiohttp").propagate = False
        logging.getLogger("mediator").setLevel(logging.CRITICAL)
        self._loop.run_until_complete(self._start())

    def post(self, data: bytes) -> None:
        self._run(self._post(data))

    def sealed(self, data: bytes) -> None:
        self._run(self._sealed(data))

    def raw(self, data: bytes) -> None:
        self._run(self._raw(data))

    def websocket(self, data: bytes) -> None:
        self._run(self._raw(HANDSHAKE + data))

    def _run(self, work: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE):
                await work

        self._loop.run_until_complete(limited())
        if self._faults:
            raise RuntimeError(self._faults.pop())

    async def _start(self) -> None:
        folder = tempfile.mkdtemp(prefix="didmesh-fuzz-", dir=MEMORY)
        config = Config(
            Path(folder) / "mediator.db",
            "127.0.0.1",
            0,
            stun_ports=(0,),
            limits=replace(Limits(), account_rate=UNLIMITED, account_burst=UNLIMITED),
        )
        self._stack = contextlib.AsyncExitStack()
        mediator = await self._stack.enter_async_context(running(config))
        http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._address = mediator.listens
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        url = mediator.identity.public_url
        self._registered, self._stranger = (
            Party(http, mediator.identity.did, url) for _ in range(2)
        )
        await self._registered.register()
        document = await LocalResolver().resolve(mediator.identity.did)
        kid = document.key_agreement[0]
        self._recipients = [(kid, document.method(kid).key)]

    async def _post(self, data: bytes) -> int:
        if self._kept is None or self._kept[1].is_closing():
            self._kept = await asyncio.open_connection(*self._address)
        reader, writer = self._kept
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status < 500, head
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
            if line == b"connection: close":
                writer.close()
                self._kept = None
        return status

    async def _sealed(self, data: bytes) -> None:
        """Members that the envelope must agree with are put right, so that handlers are reached."""
        try:
            plaintext = json.loads(data[1:])
        except (ValueError, RecursionError):
            plaintext = None
        sender = [None, self._registered, self._stranger][data[0] % 3 if data else 0]
        if isinstance(plaintext, dict):
            if sender is not None:
                plaintext["from"] = sender.did
            plaintext |= {"id": "1", "to": [self._registered.mediator]}
            payload = json.dumps(plaintext).replace("{me}", self._registered.did).encode()
        else:
            payload = data[1:]
        if sender is None:
            await self._post(jwe.encrypt_anonymously(payload, self._recipients))
            return
        kid = f"{sender.did}#key-1"
        await self._post(
            jwe.encrypt_authenticated(payload, self._recipients, kid, sender.secrets[kid])
        )

    async def _raw(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(data)
            writer.write_eof()
            answer = await reader.read()
            assert b"HTTP/1.1 500" not in answer, answer
        except ConnectionError:
            return
        finally:
            writer.close()


class _Noting(logging.Handler):
    """What aiohttp logs as an error is an exception that nobody caught: a stranger's traceback."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(self.format(record))
