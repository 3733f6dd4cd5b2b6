"""In which order the network helper does what a request wants."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from agent.network_helper.program import User
from agent.network_helper.requests import Endpoints
from agent.network_helper.session import Session
from agent.wireguard.config import Endpoint

RELAY = Endpoint(bytes(32), ("198.51.100.10", 41000), 20)
GUESSED = Endpoint(bytes(32), ("203.0.113.7", 4500), 20, (), 40000)


def test_rules_for_another_port_are_there_before_its_first_packet_and_after_its_last() -> None:
    done: list[str] = []

    def redirect(endpoints: Iterable[Endpoint], _: object) -> None:
        done.append(f"rules for {[to.source_port for to in endpoints]}")

    session: Any = Session(User(1000))
    session._device = SimpleNamespace(set_endpoints=lambda _: done.append("WireGuard"))
    session._redirect = SimpleNamespace(set=redirect)
    session._held = SimpleNamespace(check=lambda _: None, ports=dict)
    session.serve(Endpoints((GUESSED,)), ())
    assert done == ["rules for [40000]", "WireGuard", "rules for [40000]"]
    done.clear()
    session.serve(Endpoints((RELAY,)), ())
    assert done == ["WireGuard", "rules for [None]"]
