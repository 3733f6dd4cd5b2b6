"""A mediator as a process of the operating system: event loop, signals, standard output."""

from __future__ import annotations

import asyncio
import logging
import signal
from importlib.metadata import version
from typing import TYPE_CHECKING

import orjson
import uvloop

from mediator.errors import CannotListen, DatabaseError
from mediator.identities import MediatorIdentity
from mediator.operation.logs import configure
from mediator.settings.config import Config
from mediator.settings.places import Place
from mediator.stores.opening import read_identities

if TYPE_CHECKING:
    from mediator.app import Mediator

log = logging.getLogger(__name__)


def serve(config: Config, *, as_json: bool) -> None:
    """Run until SIGTERM or SIGINT; requests under way are finished first."""
    configure(config.log_format, config.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, as_json))


def shown(data: Place) -> dict[str, str]:
    """What there is to know of a mediator from its store.

    Raises: DataFileError, DatabaseError.
    """
    return asyncio.run(shown_identity(data)).describe()


async def shown_identity(data: Place) -> MediatorIdentity:
    """The one used last. Raises: DataFileError, DatabaseError."""
    records = await read_identities(data)
    if not records:
        raise DatabaseError(data, "no mediator ever ran on it", "`mediator run` makes its DID")
    return MediatorIdentity.from_record(records[-1])


async def _serve(config: Config, as_json: bool) -> None:
    from mediator.app import running  # aiohttp: nothing that `mediator show` should wait for

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as mediator:
        loop.add_signal_handler(signal.SIGHUP, _read_certificate, mediator)
        log.info("version %s serves %s", version("didmesh"), mediator.identity.public_url)
        if as_json:
            print(orjson.dumps(mediator.to_json()).decode(), flush=True)
        else:
            print(f"did {mediator.identity.did}", flush=True)
            print(f"invitation {mediator.identity.invitation_url}", flush=True)
        await stop.wait()
        log.info("told to stop; requests under way have %g seconds", config.drain)
    log.info("stopped")


def _read_certificate(mediator: Mediator) -> None:
    try:
        mediator.read_certificate()
    except CannotListen as error:
        log.error("the certificate of before goes on being used: %s", error)  # noqa: TRY400
    else:
        log.info("read the certificate again")
