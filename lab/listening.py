"""Hear what several commands print, line by line as it comes, without a thread."""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

AFTER_EXIT = 1.0  # seconds that the dead commands' children may still hold their pipes
AFTER_FAILURE = 20.0  # seconds that the others have to notice when one has failed


@dataclass(frozen=True)
class Line:
    who: str
    text: str
    is_error: bool  # it came on standard error


@dataclass
class _Pipe:
    who: str
    is_error: bool
    rest: bytes = field(default=b"")

    def lines(self, data: bytes) -> Iterator[Line]:
        """The lines that `data` completes; what is left over when `data` is empty (the end)."""
        *whole, self.rest = (self.rest + data).split(b"\n")
        if not data and self.rest:
            whole, self.rest = [self.rest], b""
        for line in whole:
            yield Line(self.who, line.decode(errors="replace").rstrip("\r"), self.is_error)


def listen(commands: Mapping[str, subprocess.Popen[bytes]], timeout: float) -> Iterator[Line]:
    """Lines of commands that were started with pipes, until all have ended.

    Or until `timeout` seconds are over, or too many since one of them failed: then
    some may still run.
    """
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for who, process in commands.items():
            _register(selector, process.stdout, _Pipe(who, is_error=False))
            _register(selector, process.stderr, _Pipe(who, is_error=True))
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(0.1):
                data = os.read(key.fd, 65536)
                yield from key.data.lines(data)
                if not data:
                    selector.unregister(key.fileobj)
            deadline = min(deadline, time.monotonic() + _patience(commands))
    for process in commands.values():  # one may close its pipes a moment before it ends
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def _register(selector: selectors.BaseSelector, pipe: IO[bytes] | None, heard: _Pipe) -> None:
    if pipe is not None:
        selector.register(pipe, selectors.EVENT_READ, heard)


def _patience(commands: Mapping[str, subprocess.Popen[bytes]]) -> float:
    codes = [process.poll() for process in commands.values()]
    if None not in codes:
        return AFTER_EXIT
    return AFTER_FAILURE if any(codes) else float("inf")
