"""Bringing an envelope to another party's mediator, and not giving up at the first failure.

CannotWrite       the recipient's DID gives no key or no way that we can use
NotDelivered      tried until the time was over, or every way was refused for good
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence

from agent.errors import MailboxError
from agent.mail.transport import AnswerTooLarge, EndpointRefused, EndpointUnreachable, Transport
from identity.did import shorten
from messaging.packing import Outgoing

FIRST_PAUSE = 0.2  # seconds
LONGEST_PAUSE = 5.0

log = logging.getLogger(__name__)


class CannotWrite(MailboxError):
    """Trying again is no use."""

    def __init__(self, to: str, error: Exception) -> None:
        super().__init__(f"cannot write to {shorten(to)}: {error}")


class NotDelivered(MailboxError):
    """No mediator of the recipient took the envelope; `reason` is what the last one said."""

    def __init__(self, to: str, reason: str) -> None:
        super().__init__(
            f"no mediator took the message to {shorten(to)}: {reason}",
            "is that party's mediator running, and can this machine reach it?",
        )
        self.to = to


async def deliver(
    ways: Sequence[Outgoing],
    to: str,
    transport: Transport,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Post to the first of `ways` that takes it; a return means that one has it on disk.

    The ways are alternatives in order of preference. All are tried in every round; rounds go on,
    with growing pauses, until `seconds` are over or each way has said no for good. The same bytes
    are sent every time, which a mediator keeps once.

    Raises: NotDelivered.
    """
    open_ways = [way for way in ways if way.uri.startswith(("http://", "https://"))]
    if not open_ways:
        raise NotDelivered(to, "its mediator offers no HTTP endpoint")
    deadline = clock() + seconds
    for pause in pauses():
        reason = ""
        for way in tuple(open_ways):
            try:
                await transport.post(way.uri, way.envelope)
            except (EndpointUnreachable, EndpointRefused) as error:
                log.debug("not delivered: %s", error)
                reason = str(error)
                if isinstance(error, EndpointRefused) and not error.worth_repeating:
                    open_ways.remove(way)
            except AnswerTooLarge:
                return  # it has taken the envelope, and what else it says is of no use
            else:
                return
        if not open_ways or clock() + pause >= deadline:
            raise NotDelivered(to, reason)
        await asyncio.sleep(pause)


def pauses(longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Seconds to wait before each next try: doubling, spread, for ever."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        pause = min(2 * pause, longest)
