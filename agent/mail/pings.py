"""Trust-pings both ways: we wait for answers to ours, and answer whoever can be answered safely."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator

from messaging.errors import MessagingError
from messaging.message import Message
from messaging.packing import Opened
from messaging.protocols import trust_ping

MAX_ANSWERS = 16  # on their way at a time
ANSWER_SECONDS = 20.0


class Pings:
    """What of a mailbox's letters is a ping, or the answer to one."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[float]] = {}  # by party and thread
        self._answers = 0

    @contextlib.contextmanager
    def waiting(self, did: str, ping: Message) -> Iterator[asyncio.Future[float]]:
        """Becomes the `time.perf_counter()` at which the answer came."""
        pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[did, ping.id] = pong
        try:
            yield pong
        finally:
            del self._waiting[did, ping.id]

    def is_answer(self, opened: Opened) -> bool:
        return self._waited_for(opened) is not None

    def take_answer(self, opened: Opened) -> None:
        pong = self._waited_for(opened)
        if pong is not None and not pong.done():
            pong.set_result(time.perf_counter())

    def wants_answer(self, opened: Opened) -> bool:
        """Whether there is somebody to answer, and few others are being answered."""
        try:
            wanted = trust_ping.Ping.from_message(opened.message).response_requested
        except MessagingError:
            wanted = False
        return opened.sender is not None and wanted and self._answers < MAX_ANSWERS

    async def answer(self, bring: Callable[[], Awaitable[None]]) -> None:
        """Bring one answer. Raises: TimeoutError, and what `bring` raises."""
        self._answers += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await bring()
        finally:
            self._answers -= 1

    def _waited_for(self, opened: Opened) -> asyncio.Future[float] | None:
        """A party that we asked under its former DID may answer under the one it has now."""
        thread = opened.message.thid or ""
        asked = opened.prior.old if opened.prior else opened.sender or ""
        return self._waiting.get((opened.sender or "", thread)) or self._waiting.get(
            (asked, thread)
        )
