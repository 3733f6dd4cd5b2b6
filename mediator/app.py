"""The whole mediator: the only place that builds the parts and connects them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from identity.keys import PrivateKey
from mediator import conversation, coordination, forwarding, pickup
from mediator.config import Config, Limits
from mediator.connections import GuardedServer
from mediator.dispatch import Dispatcher, Handler, Sealer
from mediator.errors import CannotListen
from mediator.identities import MediatorIdentity, create_identity
from mediator.limits import Guard
from mediator.live import LiveAccounts
from mediator.stores.interface import Store
from mediator.stores.sqlite import SqliteStore
from mediator.stun_server import StunServer
from mediator.web import DRAIN, Web, limited_request
from resolvers.registry import default_registry

log = logging.getLogger(__name__)

EXPIRY_INTERVAL = 60.0  # seconds between looks for messages whose time is over
BACKLOG = 1024


@dataclass(frozen=True)
class Mediator:
    """A running mediator."""

    identity: MediatorIdentity
    listens: tuple[str, int]
    stun_ports: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {**self.identity.describe(), "stun": list(self.stun_ports)}


@contextlib.asynccontextmanager
async def running(
    config: Config, clock: Callable[[], float] = time.time
) -> AsyncIterator[Mediator]:
    """Yields a Mediator that serves until the block is left; then it drains.

    Raises: DataFileError, CannotListen.
    """
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_listen(config.host, config.port)))
        public_url = config.public_url or _url_of(listener)
        store = await stack.enter_async_context(SqliteStore(config.data, config.limits))
        identities = await _identities(store, public_url, int(clock()))
        identity = next(i for i in identities if i.public_url == public_url)
        stun_ports = await stack.enter_async_context(_stun(config.host, config.stun_ports))
        live = LiveAccounts(config.limits.account_sockets)
        guard = Guard(config.limits, config.trusted_proxies)
        dispatcher = _dispatcher(
            store, live, identities, identity, stun_ports, config, clock, guard
        )
        door = Web(
            dispatcher,
            live,
            guard,
            public_url=public_url,
            max_bytes=config.limits.envelope,
            pages={
                "/livez": lambda: {"status": "alive"},
                "/invitation": identity.invitation.to_message().to_json,
            },
        )
        await stack.enter_async_context(_serving(door, listener, config.limits))
        await stack.enter_async_context(_sweeping(store, clock))
        yield Mediator(identity, listener.getsockname()[:2], stun_ports)


def _dispatcher(
    store: Store,
    live: LiveAccounts,
    identities: list[MediatorIdentity],
    newest: MediatorIdentity,
    stun_ports: tuple[int, ...],
    config: Config,
    clock: Callable[[], float],
    guard: Guard,
) -> Dispatcher:
    limits = config.limits
    secrets: Mapping[str, PrivateKey] = {k: v for i in identities for k, v in i.secrets.items()}
    sealer = Sealer(secrets, default_registry())
    ours = frozenset(identity.did for identity in identities)
    handlers: dict[str, Handler] = {
        **coordination.handlers(store, ours, config.conformance, config.compat),
        **forwarding.handlers(store, live, ours, limits, config.conformance),
        **pickup.handlers(store, sealer, limits, clock),
        **conversation.handlers(stun_ports, config.conformance),
    }
    handlers |= conversation.discovery(handlers, limits.envelope)
    return Dispatcher(
        handlers,
        sealer=sealer,
        default_did=newest.did,
        clock=clock,
        compat=config.compat,
        guard=guard,
    )


async def _identities(store: Store, public_url: str, now: int) -> list[MediatorIdentity]:
    identities = [MediatorIdentity.from_record(record) for record in await store.identities()]
    if not any(identity.public_url == public_url for identity in identities):
        identities.append(create_identity(public_url))
    used = next(identity for identity in identities if identity.public_url == public_url)
    await store.use_identity(used.to_record(), now)
    return identities


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {_words(error)}", "choose another with --listen"
        ) from error


def _words(error: OSError) -> str:
    """The system's, without what the library that asked adds."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    words = error.strerror or str(error)  # of a name that does not resolve
    return words.partition(" (while")[0].lower()


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _stun(host: str, ports: tuple[int, ...]) -> AsyncIterator[tuple[int, ...]]:
    server = StunServer()
    try:
        await server.start(host, ports)
    except OSError as error:
        words = " and ".join(map(str, ports))
        raise CannotListen(
            f"cannot listen on UDP {host}, ports {words}: {_words(error)}",
            "choose others with --stun-port",
        ) from error
    try:
        yield server.ports
    finally:
        server.close()


@contextlib.asynccontextmanager
async def _serving(door: Web, listener: socket.socket, limits: Limits) -> AsyncIterator[None]:
    server = GuardedServer(
        door.handle, door.guard, request_factory=limited_request(limits.envelope)
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=DRAIN)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        async with server.sweeping():
            yield
    finally:
        await door.close_sockets()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _sweeping(store: Store, clock: Callable[[], float]) -> AsyncIterator[None]:
    async def sweep() -> None:
        while True:
            while gone := await store.expire(int(clock())):
                log.debug("%d messages expired", gone)
            await asyncio.sleep(EXPIRY_INTERVAL)

    async with asyncio.TaskGroup() as tasks:
        sweeper = tasks.create_task(sweep())
        try:
            yield
        finally:
            sweeper.cancel()
