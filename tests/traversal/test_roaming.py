"""WireGuard follows late packets of the relay back; the rule that it ends on the direct path."""

from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.nat_model import Filtering, Internet, Mapping, Relay
from tests.support.tunnels import Tunnel
from tests.support.two_parties import meet, run_for

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
INTERLEAVINGS = {
    "delay": st.floats(0.0, 0.1),
    "jitter": st.floats(0.0, 0.02),
    "detour": st.floats(0.0, 0.4),  # what the relay adds, each way
    "wobble": st.floats(0.0, 0.2),  # and how that varies
    "intervals": st.tuples(st.floats(0.005, 0.05), st.floats(0.005, 0.05)),
    "polls": st.tuples(st.floats(0.02, 0.2), st.floats(0.02, 0.2)),
    "opens_at": st.floats(0.0, 3.0),
    "seed": st.integers(0, 1 << 16),
}


def upgrade(
    *,
    delay: float,
    jitter: float,
    detour: float,
    wobble: float,
    intervals: tuple[float, float],
    polls: tuple[float, float],
    opens_at: float,
    seed: int,
    redirect: bool = True,
    reassert: bool = True,
) -> tuple[Tunnel, Tunnel]:
    """100 and more pings a second while direct comes to work."""
    internet = Internet(Random(seed), delay=delay, jitter=jitter)
    relay = internet.relay()
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    lengthen(internet, relay, detour, wobble)
    for party in parties:
        send = party.host.send
        party.host.send = lambda data, to, send=send: (
            send(data, to) if to == relay.address or internet.now >= opens_at else None
        )
    run_for(internet, 0.0001)  # checks have started
    tunnels = tuple(
        Tunnel(internet, party, relay, poll, redirect, reassert)
        for party, poll in zip(parties, polls, strict=True)
    )
    for tunnel, interval in zip(tunnels, intervals, strict=True):
        tunnel.start()
        tunnel.ping(interval, until=8.0)
    run_for(internet, 12.0)
    return tunnels


def no_packet_is_lost_and_both_ends_stay_direct(**interleaving) -> None:
    first, second = upgrade(**interleaving)
    for tunnel in (first, second):
        assert tunnel.endpoint == tunnel.party.endpoint
        assert not tunnel.party.finder.path.relayed
    assert len(first.received) == second.sent > 0
    assert len(second.received) == first.sent > 0


@settings(max_examples=25, deadline=None, phases=PHASES)
@given(st.fixed_dictionaries(INTERLEAVINGS))
def test_no_packet_is_lost_in_an_upgrade_and_both_ends_stay_direct(interleaving) -> None:
    no_packet_is_lost_and_both_ends_stay_direct(**interleaving)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, phases=PHASES)
@given(st.fixed_dictionaries(INTERLEAVINGS))
def test_no_packet_is_lost_in_five_hundred_upgrades(interleaving) -> None:
    no_packet_is_lost_and_both_ends_stay_direct(**interleaving)


@settings(max_examples=25, deadline=None, phases=PHASES)
@given(st.fixed_dictionaries(INTERLEAVINGS))
def test_without_redirection_both_ends_are_direct_in_the_end(interleaving) -> None:
    """Where packets cannot be redirected, those that circle are lost with the relay, no others."""
    for tunnel in upgrade(**interleaving, redirect=False):
        assert tunnel.endpoint == tunnel.party.endpoint
        assert not tunnel.party.finder.path.relayed


TRAP = {
    "delay": 0.01,
    "jitter": 0.0,
    "detour": 0.1,
    "wobble": 0.05,
    "intervals": (0.01, 0.01),
    "polls": (0.05, 0.05),
    "opens_at": 1.0,
}


def test_late_packets_of_the_relay_bring_an_endpoint_back_for_good() -> None:
    """The trap is real in this model: else the tests above would show nothing."""
    ends = [
        tunnel.endpoint == tunnel.party.endpoint
        for seed in range(8)
        for tunnel in upgrade(**TRAP, seed=seed, redirect=False, reassert=False)
    ]
    assert not all(ends)


def test_setting_the_endpoint_again_does_not_stop_packets_that_circle() -> None:
    """Each end answers the other's late packets the way they came: only redirection ends that."""
    circling = {
        "delay": 0.02,
        "jitter": 0.004,
        "detour": 0.33,
        "wobble": 0.0,
        "intervals": (0.02, 0.02),
        "polls": (0.17, 0.08),
        "opens_at": 1.9,
    }
    for redirect in (False, True):
        lost = 0
        for seed in range(5):
            first, second = upgrade(**circling, seed=seed, redirect=redirect)
            lost += first.sent + second.sent - len(first.received) - len(second.received)
        assert bool(lost) == (not redirect)


def lengthen(internet: Internet, relay: Relay, detour: float, wobble: float) -> None:
    inward = relay.inward

    def later(data, source, destination) -> None:
        wait = detour + internet.random.random() * wobble
        internet.at(internet.now + wait, lambda: inward(data, source, destination))

    relay.inward = later
