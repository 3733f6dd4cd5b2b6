"""Telling the sender of a forward that the mail in it could not be brought to its target."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mediator.addresses import shorten
from mediator.delivery.outbound import Origin, Report
from mediator.handlers.dispatch import Sealer, SendAway
from messaging.errors import MessagingError
from messaging.protocols.report_problem import ProblemReport
from resolvers.resolver import ResolutionError

log = logging.getLogger(__name__)

CODE = "e.p.xfer.cant-use-endpoint"


def reporter(sealer: Sealer, send_away: SendAway, clock: Callable[[], float]) -> Report:
    """A report goes where the sender takes its mail; of what becomes of it nobody is told."""

    async def report(origin: Origin, target: str, why: str) -> None:
        now = int(clock())
        problem = ProblemReport(CODE, "mail for {1} was given up: {2}", (target, why))
        message = problem.to_message(pthid=origin.thread)
        try:
            sealed = await sealer.seal(message, ours=origin.ours, to=origin.sender, now=now)
        except (MessagingError, ResolutionError) as error:
            log.info("cannot tell %s of mail given up: %s", shorten(origin.sender), error)
            return
        await send_away(origin.sender, sealed, ProblemReport.TYPE, now)

    return report
