"""When a birthday attempt is made: never unasked, one at a time, and few in a session."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from functools import partial

from agent.connection.more_ports import MorePorts
from traversal.candidate import Address
from traversal.paths import PathFinder

BEGIN_AFTER = 2.0  # seconds without a direct path, in which ordinary checks have had their chance
REPEAT_AFTER = 60.0  # seconds from one attempt for a party to the next
QUEUE = 1.0  # seconds to the next look whether another party's attempt is over
MOST = 3  # attempts for a party in a session


LetIn = Callable[[socket.socket, Address, Callable[[], None]], None]


class TryingHard:
    """For the parties who, like us, have said that they take part.

    `let_in` is given each port from which a path may lead, and where to; it calls back when all
    that comes there, or goes back from there, arrives. Then the path is used.
    """

    def __init__(self, ports: MorePorts, on_change: Callable[[str], None]) -> None:
        self.let_in: LetIn = lambda _, __, then: then()
        self._ports = ports
        self._on_change = on_change
        self._asked: set[int] = set()
        self._due: dict[str, float] = {}
        self._made: dict[str, int] = {}
        self._finders: dict[str, PathFinder] = {}

    def add(self, party: str, finder: PathFinder, now: float) -> None:
        self._finders[party], self._due[party] = finder, now + BEGIN_AFTER

    def turn(self, now: float) -> list[str]:
        """The parties with whom an attempt has begun; gives back ports that nothing needs now."""
        begun = []
        for party, finder in self._finders.items():
            if now < self._due[party]:
                continue
            if any(other.attempting for other in self._finders.values()):
                self._due[party] = now + QUEUE
                continue
            self._due[party] = now + REPEAT_AFTER
            path, plan = finder.path, finder.birthday_plan()
            if plan is None or (path is not None and not path.relayed):
                continue
            self._made[party] = self._made.get(party, 0) + 1
            if self._made[party] >= MOST:
                self._due[party] = math.inf
            ports = self._ports.open(plan.source_ports, plan.target.version)
            finder.attempt_birthday(plan, ports, now)
            begun.append(party)
        self._let_answered_in()
        self._ports.keep({port for f in self._finders.values() for port in f.needed_ports()})
        return begun

    def _let_answered_in(self) -> None:
        for party, finder in self._finders.items():
            for port, address in finder.answered_ports().items():
                made = self._ports.at(port)
                if made is not None and port not in self._asked:
                    self._asked.add(port)
                    self.let_in(made, address, partial(self._use, party, port))

    def _use(self, party: str, port: int) -> None:
        self._finders[party].let_in(port, time.monotonic())
        self._on_change(party)

    def next_timer(self) -> float:
        return min(self._due.values(), default=math.inf)
