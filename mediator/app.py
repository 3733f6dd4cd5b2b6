"""The whole mediator: the only place that builds the parts and connects them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from mediator.addresses import OwnNames
from mediator.delivery.carrier import Carrier
from mediator.delivery.live import LiveAccounts
from mediator.entrance import lobby_page
from mediator.entrance.listening import Certificate, is_own, listen, serving, stun_serving, url_of
from mediator.entrance.lobby_page import LobbyPage
from mediator.entrance.monitoring import Monitoring, monitored, watch_loop
from mediator.entrance.pages import InvitationPage, Page, facts, health_pages
from mediator.entrance.web import Web
from mediator.guard.admission import Gate
from mediator.guard.limits import Guard
from mediator.handlers import (
    conversation,
    coordination,
    forwarding,
    pickup,
    relaying,
    undeliverable,
)
from mediator.handlers.dispatch import Dispatcher, Handler, Sealer
from mediator.handlers.ownership import Ownership
from mediator.handlers.rotations import Rotations
from mediator.identities import (
    MediatorIdentity,
    OwnDocuments,
    create_identity,
    document_path,
)
from mediator.operation.health import Health
from mediator.operation.metrics import Metrics
from mediator.relay.kernel import kernel_forwarding
from mediator.relay.rules import listen_addresses, relay_key, rules_of
from mediator.relay.service import Relay
from mediator.settings.config import Config
from mediator.stores.interface import Store, StoreUnavailable
from mediator.stores.opening import open_administration, open_store
from resolvers.guarded import GuardedHttp, Policy
from resolvers.registry import default_registry

EXPIRY_INTERVAL = 60.0  # seconds between looks for messages whose time is over


@dataclass(frozen=True)
class Mediator:
    """A running mediator."""

    identity: MediatorIdentity
    listens: tuple[str, int]
    stun_ports: tuple[int, ...]
    carrier: Carrier
    metrics: Metrics
    monitored_at: tuple[str, int] | None  # where /metrics is
    read_certificate: Callable[[], None]  # again, when it was renewed; raises CannotListen

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
        certificate = None if config.tls is None else Certificate(config.tls)
        listener = stack.enter_context(contextlib.closing(listen(config.host, config.port)))
        monitor = _monitor(config, stack)
        here = url_of(listener, secure=certificate is not None)
        public_url = config.public_url or here
        store = await stack.enter_async_context(open_store(config.data, config.limits))
        operator = await stack.enter_async_context(open_administration(config.data))
        gate = Gate(operator)
        await stack.enter_async_context(gate.following())
        identities = await _identities(store, public_url, int(clock()))
        identity = next(i for i in identities if i.public_url == public_url)
        stun_hosts = config.stun_addresses or (config.host,)
        stun_ports = await stack.enter_async_context(stun_serving(stun_hosts, config.stun_ports))
        live = LiveAccounts(config.limits.account_sockets)
        guard = Guard(config.limits, config.trusted_proxies)
        own = OwnNames.of(
            [did for i in identities for did in i.dids],
            [*(i.public_url for i in identities), here],
        )
        policy = Policy(tuple(config.private_networks), is_own(listener))
        sealer = Sealer(
            {kid: key for i in identities for kid, key in i.secrets.items()},
            OwnDocuments(identities, default_registry(policy)),
        )
        http = await stack.enter_async_context(GuardedHttp(policy))
        metrics, health = Metrics(), Health(operator)
        carrier = Carrier(store, live, sealer.resolver, http, own, clock, metrics.carried)
        await operator.set_passes_on(config.pass_on)
        relay = await _relay(config, identity, clock, stack)
        metrics.watch(guard, live, health)
        metrics.watch_relay(relay)
        handlers = {
            **_handlers(store, live, sealer, own, carrier, stun_ports, config, clock, gate),
            **relaying.handlers(store, relay),
        }
        handlers |= conversation.discovery(handlers, config.limits.envelope)
        metrics.know(handlers)
        dispatcher = Dispatcher(
            handlers,
            sealer=sealer,
            default_did=identity.did,
            clock=clock,
            compat=config.compat,
            guard=guard,
            gate=gate,
            follow=Rotations(store, gate.denies).follow,
            send_away=carrier.answer,
            lasting=coordination.LASTING,
            act_once=store.act_once,
            observe=metrics.observe,
        )
        door = Web(
            dispatcher,
            live,
            guard,
            public_url=public_url,
            max_bytes=config.limits.envelope,
            pages={
                **health_pages(health),
                "/": InvitationPage(identity, own.dids, conversation.protocols(handlers), gate),
                lobby_page.PATH: LobbyPage(),
                "/invitation": facts(identity.invitation.to_message().to_json),
                **_did_document(identity),
            },
            responded=metrics.responded,
            relay=relay,
        )
        pages = {**health_pages(health), "/relay": facts(lambda: _described(relay))}
        monitoring = Monitoring(metrics, operator, pages, clock)
        await stack.enter_async_context(monitored(monitoring, monitor))
        await stack.enter_async_context(store.listening(live.hear))
        await stack.enter_async_context(serving(door, listener, config, certificate))
        report = undeliverable.reporter(sealer, carrier.answer, clock)
        for work in (_sweep(store, clock, metrics), carrier.run(report), watch_loop(metrics)):
            await stack.enter_async_context(_background(work))
        stack.callback(health.drain)
        yield Mediator(
            identity,
            listener.getsockname()[:2],
            stun_ports,
            carrier,
            metrics,
            monitored_at=monitor.getsockname()[:2] if monitor else None,
            read_certificate=certificate.read if certificate else _nothing_to_read,
        )


def _handlers(
    store: Store,
    live: LiveAccounts,
    sealer: Sealer,
    own: OwnNames,
    carrier: Carrier,
    stun_ports: tuple[int, ...],
    config: Config,
    clock: Callable[[], float],
    gate: Gate,
) -> Mapping[str, Handler]:
    limits = config.limits
    return {
        **coordination.handlers(
            store,
            own.dids,
            config.conformance,
            config.compat,
            gate,
            Ownership(sealer.resolver, own.dids),
        ),
        **forwarding.handlers(
            store, live, own, carrier, limits, config.conformance, config.pass_on
        ),
        **pickup.handlers(store, sealer, limits, clock),
        **conversation.handlers(stun_ports, config.conformance, stun_hosts=config.stun_addresses),
    }


async def _relay(
    config: Config,
    identity: MediatorIdentity,
    clock: Callable[[], float],
    stack: contextlib.AsyncExitStack,
) -> Relay | None:
    listen_at = listen_addresses(config)
    if not listen_at:
        return None
    rules = rules_of(config, identity.public_url, listen_at)
    key = relay_key(list(identity.secrets.values()), rules.hosts)
    kernel = await stack.enter_async_context(kernel_forwarding(config.relay))
    relay = Relay(key, rules, listen_at, kernel, clock)
    await stack.enter_async_context(relay.serving())
    return relay


def _monitor(config: Config, stack: contextlib.AsyncExitStack) -> socket.socket | None:
    if config.metrics is None:
        return None
    listener = listen(*config.metrics, flag="--metrics, or none with --metrics off")
    return stack.enter_context(contextlib.closing(listener))


def _described(relay: Relay | None) -> Mapping[str, Any]:
    return {"forwarding": "off"} if relay is None else relay.describe()


def _nothing_to_read() -> None:
    """There is no certificate of its own."""


async def _identities(store: Store, public_url: str, now: int) -> list[MediatorIdentity]:
    """All of them, the one of the URL last: as the store has it, if another process was first."""
    there = [MediatorIdentity.from_record(record) for record in await store.identities()]
    mine = next((i for i in there if i.public_url == public_url), None)
    record = (mine.completed() if mine else create_identity(public_url)).to_record()
    used = MediatorIdentity.from_record(await store.use_identity(record, now))
    return [*(identity for identity in there if identity.did != used.did), used]


def _did_document(identity: MediatorIdentity) -> Mapping[str, Page]:
    document = identity.web_document
    return {} if document is None else {document_path(identity.public_url): facts(lambda: document)}


async def _sweep(store: Store, clock: Callable[[], float], metrics: Metrics) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):  # there is another look
            while gone := await store.expire(int(clock())):
                metrics.expired(gone)
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
