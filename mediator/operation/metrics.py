"""What a mediator counts of itself, for Prometheus. docs/metrics.md has a line on each.

No label carries a DID, an address, or anything else that a stranger chooses.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from mediator.delivery.live import LiveAccounts
from mediator.guard.limits import Guard
from mediator.operation.health import Health
from mediator.relay.service import Relay
from mediator.stores.administration import Totals

CONTENT_TYPE = CONTENT_TYPE_LATEST
ACCEPTED = "accepted"
OTHER = "other"  # a type of message that the mediator does not handle
UNOPENED = "unopened"  # what was no message for us
# When each series began is nothing that anybody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of one mediator process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels: Mapping[str, str] = {}
        self._of_messages: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._messages = self._counter(
            "messages",
            "Messages taken in, by type and what came of them: accepted, or a problem code.",
            ("type", "outcome"),
        )
        self._seconds = Histogram(
            "didmesh_message_seconds",
            "Time from the last byte of a message to its answer; a forward's includes the disk.",
            ("type",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._responses = self._counter(
            "http_responses", "HTTP requests answered, by status.", ("status",)
        )
        self._carried = self._counter(
            "carried",
            "Tries to pass a message on: sent, failed (it is tried again), dropped (given up).",
            ("outcome",),
        )
        self._expired = self._counter("expired", "Messages deleted because their time was over.")
        self._unknown = self._gauge(
            "unknown_recipient_messages",
            "Messages accepted, ever, for DIDs that nobody has bound; they are not kept.",
        )
        self._accounts = self._gauge("accounts", "Accounts.")
        self._recipients = self._gauge("recipients", "DIDs bound to accounts.")
        self._queued = self._gauge("queue_messages", "Messages that wait for their recipients.")
        self._queued_bytes = self._gauge("queue_bytes", "Bytes of the messages that wait.")
        self._oldest = self._gauge(
            "queue_oldest_seconds", "Age of the message that waits longest; 0 if none waits."
        )
        self._parcels = self._gauge(
            "outgoing_messages", "Messages on their way to other addresses, or delayed."
        )
        self._parcel_bytes = self._gauge("outgoing_bytes", "Bytes of these.")
        self._loop_lag = self._gauge(
            "loop_lag_seconds", "How late the event loop was when last looked at; 0 is idle."
        )
        self._relay: Relay | None = None
        self._relay_pairs = self._gauge("relay_pairs", "Pairs that are relayed now.")
        self._relay_kernel = self._gauge(
            "relay_kernel", "1 if the kernel forwards what is relayed, 0 if Python does."
        )
        self._relay_packets = self._gauge("relay_packets", "Datagrams passed on, ever.")
        self._relay_bytes = self._gauge("relay_bytes", "Bytes of these.")
        self._pair_packets = self._gauge(
            "relay_pair_packets", "Datagrams passed on of a pair that is open.", ("port",)
        )
        self._pair_bytes = self._gauge("relay_pair_bytes", "Bytes of these.", ("port",))
        self._relay_refused = self._gauge(
            "relay_refused_binds", "Binds that were not let in, ever, by reason.", ("reason",)
        )
        self._info()
        ProcessCollector(registry=self.registry)

    def know(self, types: Iterable[str]) -> None:
        """The types of message that have a label of their own."""
        self._labels = {type_: short(type_) for type_ in types}

    def observe(self, type_: str | None, outcome: str, seconds: float) -> None:
        """A message: its type (None if it could not be opened) and what came of it."""
        label = UNOPENED if type_ is None else self._labels.get(type_, OTHER)
        children = self._of_messages.get((label, outcome))
        if children is None:  # to find them by their labels takes longer than to count
            children = self._messages.labels(label, outcome), self._seconds.labels(label)
            self._of_messages[label, outcome] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def responded(self, status: int) -> None:
        self._responses.labels(str(status)).inc()

    def carried(self, outcome: str) -> None:
        self._carried.labels(outcome).inc()

    def expired(self, count: int) -> None:
        self._expired.inc(count)

    def lagged(self, seconds: float) -> None:
        self._loop_lag.set(seconds)

    def watch(self, guard: Guard, live: LiveAccounts, health: Health) -> None:
        """Have these looked at whenever the metrics are read."""
        watched: dict[str, tuple[str, Callable[[], float]]] = {
            "connections": ("Connections open now.", lambda: guard.connections.total),
            "sockets": ("WebSockets open now.", lambda: guard.sockets.total),
            "live_accounts": ("Accounts with live delivery on now.", lambda: len(live)),
            "buffered_bytes": (
                "Bytes held for messages that are not whole or not read yet.",
                lambda: guard.arriving.held + guard.leaving.held,
            ),
            "draining": ("1 once it was told to stop, else 0.", lambda: health.draining),
        }
        for name, (meaning, look) in watched.items():
            self._gauge(name, meaning).set_function(look)

    def watch_relay(self, relay: Relay | None) -> None:
        """Have the relay, if there is one, looked at whenever the metrics are read."""
        self._relay = relay

    def _look_at_relay(self) -> None:
        if self._relay is None:
            return
        counts, total = self._relay.counts(), self._relay.total()
        self._relay_pairs.set(len(counts))
        self._relay_kernel.set(self._relay.in_kernel)
        self._relay_packets.set(total.packets)
        self._relay_bytes.set(total.bytes)
        for gauge in (self._pair_packets, self._pair_bytes, self._relay_refused):
            gauge.clear()  # so that there are never more than there are ports
        for port, count in counts.items():
            self._pair_packets.labels(str(port)).set(count.packets)
            self._pair_bytes.labels(str(port)).set(count.bytes)
        for reason, number in self._relay.refused.items():
            self._relay_refused.labels(reason).set(number)

    def counted(self, totals: Totals, now: float) -> None:
        self._accounts.set(totals.accounts)
        self._recipients.set(totals.recipients)
        self._queued.set(totals.messages)
        self._queued_bytes.set(totals.bytes)
        self._oldest.set(0 if totals.oldest is None else max(0.0, now - totals.oldest))
        self._parcels.set(totals.parcels)
        self._parcel_bytes.set(totals.parcel_bytes)
        self._unknown.set(totals.unknown_recipient)

    def text(self) -> bytes:
        self._look_at_relay()
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"didmesh_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"didmesh_{name}", meaning, labels, registry=self.registry)

    def _info(self) -> None:
        info = Gauge(
            "didmesh_build_info",
            "Always 1; its label says which version runs.",
            ("version",),
            registry=self.registry,
        )
        info.labels(version("didmesh")).set(1)
        self._gauge("start_time_seconds", "When it started, in Unix time.").set(time.time())


def short(type_: str) -> str:
    """Protocol, version and name of a message type, without the address before them."""
    found = re.search(r"([^/]+/\d+\.\d+(?:/[^/]+)?)$", type_)
    return OTHER if found is None else found[1]


def markdown() -> str:
    """The table of docs/metrics.md."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, meaning in described():
        shown = ", ".join(f"`{label}`" for label in labels) or "–"
        lines.append(f"| `{name}` | {kind} | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


def described() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Name, kind, labels and meaning of each metric of ours, as a reader of /metrics has them."""
    metrics = Metrics()
    metrics.watch(Guard.__new__(Guard), LiveAccounts(0), Health.__new__(Health))
    rows = []
    collectors: list[Any] = list(dict.fromkeys(metrics.registry._names_to_collectors.values()))
    for collector in collectors:
        name = getattr(collector, "_name", None)
        if name is None:  # of the process: the library's own
            continue
        suffix = "_total" if isinstance(collector, Counter) else ""
        labels = tuple(collector._labelnames)
        rows.append((f"{name}{suffix}", collector._type, labels, collector._documentation))
    return sorted(rows)


if __name__ == "__main__":
    print(markdown(), end="")
