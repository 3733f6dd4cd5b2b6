"""A mediator as a process of the operating system: event loop, signals, standard output."""

from __future__ import annotations

import asyncio
import logging
import signal

import orjson
import uvloop

from mediator.config import Config
from mediator.errors import DatabaseError
from mediator.identities import MediatorIdentity
from mediator.stores.places import Place, read_identities


def serve(config: Config, *, as_json: bool) -> None:
    """Run until SIGTERM or SIGINT; requests under way are finished first."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, as_json))


def shown(data: Place) -> dict[str, str]:
    """What there is to know of a mediator from its store.

    Raises: DataFileError, DatabaseError.
    """
    records = asyncio.run(read_identities(data))
    if not records:
        raise DatabaseError(data, "no mediator ever ran on it", "`mediator run` makes its DID")
    return MediatorIdentity.from_record(records[-1]).describe()


async def _serve(config: Config, as_json: bool) -> None:
    from mediator.app import running  # aiohttp: nothing that `mediator show` should wait for

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(config) as mediator:
        if as_json:
            print(orjson.dumps(mediator.to_json()).decode(), flush=True)
        else:
            print(f"did {mediator.identity.did}", flush=True)
            print(f"invitation {mediator.identity.invitation_url}", flush=True)
        await stop.wait()
