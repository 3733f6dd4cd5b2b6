"""Runs the program inside the session's namespace and reads its result, with a watch on it.

MPC frameworks wait for ever when something goes wrong. Here a program that does not start, shows
no progress, or takes longer than its manifest allows is ended, and the reason is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.launch.adapters import Launch
from agent.launch.manifest import Timeouts
from agent.launch.program import memory_file
from agent.launchers.progress import Event, parse_progress
from agent.network_helper.client import NetworkHelper

MAX_RESULT = 1 << 20  # bytes
_MAX_LINE = 1 << 16
_LAST_LINES = 3


class ProgramFailed(Exception):
    """The program gave no result; the words are for people and name no input."""

    def __init__(self, words: str, lost: str | None = None) -> None:
        super().__init__(words)
        self.lost = lost  # whose connection ended first, as the program says: perhaps an index


async def run_program(
    helper: NetworkHelper,
    launch: Launch,
    workdir: Path,
    timeouts: Timeouts,
    step: Callable[[str, str], None],
) -> bytes:
    """The program's standard output, which is its result, byte for byte.

    Raises: ProgramFailed.
    """
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    stdin = memory_file(launch.stdin)
    try:
        child = await helper.launch(
            launch.argv, launch.env, str(workdir), stdin, out_write, err_write
        )
    finally:
        for handle in (stdin, out_write, err_write):
            os.close(handle)
    watch = _Watch(step)
    if not launch.tells_start:
        watch.started.set()
    try:
        async with asyncio.timeout(timeouts.run), asyncio.TaskGroup() as group:
            group.create_task(watch.read_progress(err_read))
            result = group.create_task(_read_result(out_read))
            group.create_task(watch.require_start(timeouts.start))
            code = await child.wait()
            watch.started.set()
    except TimeoutError:
        raise ProgramFailed(f"no result after {timeouts.run} s") from None
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        child.kill()
    if code != 0:
        watch.tell_last_words()
        raise ProgramFailed(watch.failure or f"it ended with exit code {code}", watch.lost)
    return result.result()


class _Watch:
    """Follows the launcher's lines; keeps only the last few of them."""

    def __init__(self, step: Callable[[str, str], None]) -> None:
        self.started = asyncio.Event()
        self._step = step
        self.lost: str | None = None
        self.failure: str | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def tell_last_words(self) -> None:
        """To our user alone: what a program writes as it dies may hold its private input."""
        if self._last:
            self._step("program", "its last words: " + " / ".join(self._last))

    async def require_start(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.started.wait()
        except TimeoutError:
            raise ProgramFailed(f"it did not start within {seconds:.0f} s") from None

    async def read_progress(self, handle: int) -> None:
        async with _reader(handle) as reader:
            while True:
                try:
                    line = (await reader.readline()).decode("utf-8", "replace").rstrip()
                except ValueError:  # a line longer than the buffer: skip what there is of it
                    continue
                if not line and reader.at_eof():
                    return
                self._follow(line)

    def _follow(self, line: str) -> None:
        progress = parse_progress(line)
        if progress is None:
            self._last.append(line[:200])
            return
        if progress.event is Event.STARTED:
            self.started.set()
            self._step("program", "the program has started")
        elif progress.event is Event.CONNECTED and progress.count:
            self._step("program", "connected {}/{}".format(*progress.count))
        elif progress.event is Event.REFUSED:
            self._step("program", f"refused a connection: {progress.sentence}")
        elif progress.event is Event.LOST:
            self.lost = progress.fields.get("party")
        elif progress.event is Event.FAILED:
            self.failure = progress.sentence or self.failure


async def _read_result(handle: int) -> bytes:
    async with _reader(handle) as reader:
        result = bytearray()
        while block := await reader.read(65536):
            result += block
            if len(result) > MAX_RESULT:
                raise ProgramFailed(f"its result is longer than {MAX_RESULT} bytes")
        return bytes(result)


@contextlib.asynccontextmanager
async def _reader(handle: int):  # type: ignore[no-untyped-def]
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_LINE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(handle, "rb", 0)
    )
    try:
        yield reader
    finally:
        transport.close()
