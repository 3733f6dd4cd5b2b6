"""The birthday attempt: a varying NAT with random ports against a port-restricted one. Opt-in.

Neither side can name an address that the other will get through. So the side whose mapping varies
**opens** many mappings, from as many source ports to the one address that the other side is seen
at; the other side **probes** random ports of the varying side's outside address from its one port.
Like two of a party with the same birthday, a probe and a mapping meet far sooner than one would
think: with 256 mappings among 64,512 ports, 1,024 probes do in 98 % of all attempts.

It looks like a port scan and fills NAT tables, so it is bounded, paced, run once a call, and never
without being asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from traversal.candidate import Address, Candidate, Kind, Nat, nat_of

OPENED = 256  # source ports of the opening side
ROUNDS = 3  # checks from each of them: some are lost, and the other side may start later
PROBES = 2048  # ports that the probing side tries
ROUND_WAIT = 3.0  # seconds between the rounds of the opening side
LONGEST = 20.0  # seconds for all, at the finder's pace (10 s for the probes) and for the answers
FIRST_PORT = 1024


class Part(Enum):
    OPEN = "open mappings from many ports"
    PROBE = "probe many ports from one"


@dataclass(frozen=True)
class Plan:
    """What one side has to do; `target` has a port that means nothing when probing."""

    part: Part
    target: Address

    @property
    def source_ports(self) -> int:
        """How many ports the caller has to open for it, beside the session's own."""
        return OPENED if self.part is Part.OPEN else 0


@dataclass(frozen=True)
class Probe:
    destination: Address
    source_port: int | None


def plan(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> Plan | None:
    """Which part is ours; None if the NATs are no such pair, and an attempt would be vain."""
    kinds = nat_of(ours), nat_of(theirs)
    seen = [c.address for c in theirs if c.kind is Kind.SERVER_REFLEXIVE]
    if kinds == (Nat.VARYING, Nat.INDEPENDENT):
        return Plan(Part.OPEN, seen[0])
    if kinds == (Nat.INDEPENDENT, Nat.VARYING):
        return Plan(Part.PROBE, seen[0])
    return None


@dataclass
class Attempt:
    """One run of a plan: which probe is next, and which are still on their way."""

    queue: list[tuple[float, Probe]]  # the next one last
    ends_at: float
    in_flight: dict[bytes, tuple[Probe, float]] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        plan: Plan,
        source_ports: Sequence[int],
        now: float,
        token: Callable[[int], bytes],
    ) -> Attempt:
        if plan.part is Part.OPEN:
            round_of = [Probe(plan.target, port) for port in source_ports[:OPENED]]
            waits = [(r * ROUND_WAIT, probe) for r in range(ROUNDS) for probe in round_of]
        else:
            waits = [(0.0, Probe(Address(plan.target.host, p), None)) for p in _random_ports(token)]
        queue = [(now + wait, probe) for wait, probe in waits]
        return cls(queue[::-1], now + LONGEST)

    @property
    def next_at(self) -> float:
        return self.queue[-1][0] if self.queue else self.ends_at

    def is_due(self, now: float) -> bool:
        return bool(self.queue) and self.queue[-1][0] <= now

    @property
    def next_probe(self) -> Probe:
        return self.queue[-1][1]

    def note_sent(self, transaction: bytes, now: float) -> None:
        """The next probe went out so."""
        self.in_flight[transaction] = self.queue.pop()[1], now

    def sent_at(self, transaction: bytes, destination: Address, port: int | None) -> float | None:
        """When the probe went out that is answered so; None if none did."""
        probe, at = self.in_flight.get(transaction, (None, None))
        return at if probe == Probe(destination, port) else None

    def ports(self) -> set[int]:
        """Those that its probes come from, or may be answered at."""
        probes = [probe for _, probe in self.queue]
        probes += [probe for probe, _ in self.in_flight.values()]
        return {probe.source_port for probe in probes if probe.source_port is not None}


def _random_ports(token: Callable[[int], bytes]) -> list[int]:
    """Distinct, so that no probe is spent twice."""
    drawn: dict[int, None] = {}
    while len(drawn) < PROBES:
        port = int.from_bytes(token(2), "big")
        if port >= FIRST_PORT:
            drawn[port] = None
    return list(drawn)
