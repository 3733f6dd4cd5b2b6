"""What a lab does about signals and orphans while it stands, and while it is taken down."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from lab import processes


@contextlib.contextmanager
def orphans_adopted() -> Iterator[None]:
    processes.adopt_orphans(True)
    try:
        yield
    finally:
        processes.adopt_orphans(False)


@contextlib.contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM and SIGHUP end the `with` like an exception, so that it cleans up."""
    with _handlers(_raise_exit, signal.SIGTERM, signal.SIGHUP):
        yield


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Nobody interrupts the cleaning up; it takes a second or two."""
    with _handlers(signal.SIG_IGN, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        yield


@contextlib.contextmanager
def _handlers(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers, *numbers: signal.Signals
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python hears none there
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
