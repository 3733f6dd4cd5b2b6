"""The whole mediator: the only place that builds the parts and connects them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from mediator import conversation, coordination, forwarding, pickup
from mediator.addresses import OwnNames
from mediator.config import Config, Limits
from mediator.connections import GuardedServer
from mediator.dispatch import Dispatcher, Handler, Sealer
from mediator.errors import CannotListen
from mediator.identities import (
    MediatorIdentity,
    OwnDocuments,
    create_identity,
    document_path,
)
from mediator.limits import Guard
from mediator.live import LiveAccounts
from mediator.outbound import Carrier
from mediator.rotations import Rotations
from mediator.stores.interface import Store, StoreUnavailable
from mediator.stores.places import open_store
from mediator.stun_server import StunServer
from mediator.web import DRAIN, Web, limited_request
from resolvers.guarded import GuardedHttp, IPAddress, Policy
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
    carrier: Carrier

    def to_json(self) -> dict[str, Any]:
        return {**self.identity.describe(), "stun": list(self.stun_ports)}


@contextlib.asynccontextmanager
async def running(
    config: Config, clock: Callable[[], float] = time.time
) -> AsyncIterator[Mediator]:
    """Yields a Mediator that serves until the block is left; then it drains.

    Raises: DataFileError, DatabaseError, CannotListen.
    """
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_listen(config.host, config.port)))
        public_url = config.public_url or _url_of(listener)
        store = await stack.enter_async_context(open_store(config.data, config.limits))
        identities = await _identities(store, public_url, int(clock()))
        identity = next(i for i in identities if i.public_url == public_url)
        stun_ports = await stack.enter_async_context(_stun(config.host, config.stun_ports))
        live = LiveAccounts(config.limits.account_sockets)
        guard = Guard(config.limits, config.trusted_proxies)
        own = OwnNames.of(
            [did for i in identities for did in i.dids],
            [*(i.public_url for i in identities), _url_of(listener)],
        )
        policy = Policy(tuple(config.private_networks), _is_own(listener))
        sealer = Sealer(
            {kid: key for i in identities for kid, key in i.secrets.items()},
            OwnDocuments(identities, default_registry(policy)),
        )
        http = await stack.enter_async_context(GuardedHttp(policy))
        carrier = Carrier(store, live, sealer.resolver, http, own, clock)
        dispatcher = _dispatcher(
            store, live, sealer, own, carrier, identity, stun_ports, config, clock, guard
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
                **_did_document(identity),
            },
        )
        await stack.enter_async_context(store.listening(live.hear))
        await stack.enter_async_context(_serving(door, listener, config.limits))
        await stack.enter_async_context(_background(_sweep(store, clock)))
        await stack.enter_async_context(_background(carrier.run()))
        yield Mediator(identity, listener.getsockname()[:2], stun_ports, carrier)


def _dispatcher(
    store: Store,
    live: LiveAccounts,
    sealer: Sealer,
    own: OwnNames,
    carrier: Carrier,
    newest: MediatorIdentity,
    stun_ports: tuple[int, ...],
    config: Config,
    clock: Callable[[], float],
    guard: Guard,
) -> Dispatcher:
    limits = config.limits
    handlers: dict[str, Handler] = {
        **coordination.handlers(store, own.dids, config.conformance, config.compat),
        **forwarding.handlers(store, live, own, carrier, limits, config.conformance),
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
        follow=Rotations(store).follow,
        send_away=carrier.answer,
    )


async def _identities(store: Store, public_url: str, now: int) -> list[MediatorIdentity]:
    """All of them, the one of the URL last: as the store has it, if another process was first."""
    there = [MediatorIdentity.from_record(record) for record in await store.identities()]
    mine = next((i for i in there if i.public_url == public_url), None)
    record = (mine.completed() if mine else create_identity(public_url)).to_record()
    used = MediatorIdentity.from_record(await store.use_identity(record, now))
    return [*(identity for identity in there if identity.did != used.did), used]


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


def _did_document(identity: MediatorIdentity) -> Mapping[str, Callable[[], Mapping[str, Any]]]:
    document = identity.web_document
    return {} if document is None else {document_path(identity.public_url): lambda: document}


def _is_own(listener: socket.socket) -> Callable[[IPAddress, int], bool]:
    """Whether an address is the one we listen on; of a wildcard, any that this host has."""
    host, port = listener.getsockname()[:2]
    ours = ipaddress.ip_address(host)

    def is_own(address: IPAddress, at: int) -> bool:
        if at != port:
            return False
        return address == ours or (ours.is_unspecified and _is_of_this_host(address))

    return is_own


def _is_of_this_host(address: IPAddress) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


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


async def _sweep(store: Store, clock: Callable[[], float]) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):  # there is another look
            while gone := await store.expire(int(clock())):
                log.debug("%d messages expired", gone)
        await asyncio.sleep(EXPIRY_INTERVAL)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Done for as long as the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(work)
        try:
            yield
        finally:
            worker.cancel()
