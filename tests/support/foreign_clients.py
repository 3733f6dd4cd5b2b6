"""Foreign clients of a mediator: which there are, how each begins, and what each can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import mediator_process as mediators
from tests.support.peers import process


@dataclass(frozen=True)
class Kind:
    package: str  # of peers.process
    begin: dict[str, Any]  # how its driver begins
    listens: bool  # to a WebSocket, one step at a time


CLIENTS = {
    "didcomm-node, mediation 3.0": Kind("node", {"version": "3.0"}, listens=True),
    "didcomm-node, mediation 2.0": Kind("node", {"version": "2.0"}, listens=True),
    "didcomm-node with didcomm-demo's habits": Kind(
        "node", {"version": "3.0", "demo": True}, listens=True
    ),
    "veramo, mediation 3.0": Kind("veramo", {"version": "3.0"}, listens=False),
    "veramo, mediation 2.0": Kind("veramo", {"version": "2.0"}, listens=False),
    "identus": Kind("identus", {"version": "2.0"}, listens=False),
    "sicpa, mediation 3.0": Kind("sicpa", {"version": "3.0"}, listens=False),
    "sicpa, mediation 2.0": Kind("sicpa", {"version": "2.0"}, listens=False),
    "sicpa, old key ids": Kind("sicpa", {"version": "3.0", "ids": "legacy"}, listens=False),
    "didcomm-messaging": Kind("indicio", {"version": "3.0"}, listens=True),
}


@dataclass
class Client:
    """One that is registered, and whose DID is bound."""

    peer: process.Peer
    kind: Kind
    routing: Any  # as the grant had it
    bound: dict[str, Any] = field(default_factory=dict)

    @property
    def did(self) -> str:
        return str(self.bound["did"])

    def ask(self, op: str, **request: Any) -> Any:
        return self.peer.ask(op, **request)

    def texts(self) -> list[str]:
        return [mail["text"] for mail in self.ask("fetch", limit=10)]

    def drain(self) -> None:
        while mail := self.ask("fetch", limit=10):
            self.ask("acknowledge", ids=[each["id"] for each in mail])


@contextmanager
def begun(kind: Kind, mediator: str, **more: Any) -> Iterator[process.Peer]:
    """A client that knows its mediator's DID and nothing else."""
    with process.start_client(kind.package) as peer:
        peer.ask("begin", mediator=mediator, **kind.begin, **more)
        yield peer
        peer.ask("leave")


@contextmanager
def registered(kind: Kind, mediator: str, **more: Any) -> Iterator[Client]:
    with begun(kind, mediator, **more) as peer:
        client = Client(peer, kind, peer.ask("register"))
        client.bound = peer.ask("bind")
        yield client


@contextmanager
def mediator(*flags: str) -> Iterator[dict[str, Any]]:
    """What a mediator says of itself, on loopback, run as its command says."""
    with (
        mediators.folder() as folder,
        mediators.process([*mediators.run_argv(folder / "mediator.db"), *flags]) as running,
    ):
        yield mediators.facts(running)
