"""Random topologies, bad networks: whatever path exists is found, agreed on, and costs little."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.nat_model import Filtering, Internet, Mapping, Ports
from tests.support.topologies import Nat, Place, Topology, topologies
from tests.support.two_parties import Party, agree, meet, run_for

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # simplifying a failure takes minutes
QUICK = settings(max_examples=25, deadline=None, phases=PHASES)
HUNDREDS = settings(max_examples=500, deadline=None, phases=PHASES)
NETWORKS = st.fixed_dictionaries(
    {
        "delay": st.floats(0.0, 0.2),
        "jitter": st.floats(0.0, 0.1),
        "loss": st.floats(0.0, 0.25),
        "duplicates": st.floats(0.0, 0.3),
    }
)
RANDOMS = st.randoms(use_true_random=False)


def what_exists_is_found(topology: Topology, network: dict[str, float], random: Random) -> None:
    internet, parties = start(topology, network, random)
    run_for(internet, 60.0)
    paths = [party.finder.path for party in parties]
    if topology.direct_exists:
        assert all(path and not path.relayed for path in paths)
    elif topology.relay_exists:
        assert all(paths)
    elif topology.direct_exists is False and not topology.relays:
        assert not any(paths)
    if topology.shared == "home" and not all(place.six for place in topology.places):
        assert all(path.same_lan for path in paths)
    if all(paths):
        assert all(party.settled for party in parties)
        assert agree(*parties)


def it_comes_to_rest(topology: Topology, network: dict[str, float], random: Random) -> None:
    """No livelock: in a quiet network nothing changes any more, and little is sent."""
    internet, parties = start(topology, network, random)
    run_for(internet, 200.0)
    changes = [len(party.paths) for party in parties]
    sent = [Counter(party.by_destination) for party in parties]
    run_for(internet, 300.0)
    assert [len(party.paths) for party in parties] == changes
    for party, before in zip(parties, sent, strict=True):
        for destination, count in (party.by_destination - before).items():
            assert count / 5 <= MOST_A_MINUTE, destination


MOST_A_MINUTE = 34  # of checks and answers to one address, at up to 25 % loss
MOST_IN_VAIN = 240  # a minute to all together


@pytest.mark.parametrize("seed", range(3))
def test_nats_that_show_a_new_port_for_every_answer_are_asked_ever_less(seed: int) -> None:
    """Each side's check to a new address of the other shows that one a new address again."""
    nat = Nat(Mapping.ADDRESS_AND_PORT, Filtering.INDEPENDENT, Ports.RANDOM, True)
    topology = Topology((Place((nat,)), Place((nat,))), "nothing", relays=1)
    network = {"jitter": 0.05, "duplicates": 0.2}
    internet, parties = start(topology, network, Random(seed))
    run_for(internet, 200.0)
    before = [party.sent for party in parties]
    run_for(internet, 300.0)
    assert all(party.finder.path for party in parties)
    for party, sent in zip(parties, before, strict=True):
        assert (party.sent - sent) / 5 <= MOST_IN_VAIN


def test_what_exists_is_found() -> None:
    check(QUICK, what_exists_is_found)


def test_it_comes_to_rest() -> None:
    check(QUICK, it_comes_to_rest)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [what_exists_is_found, it_comes_to_rest])
def test_hundreds_of_topologies(
    rule: Callable[[Topology, dict[str, float], Random], None],
) -> None:
    check(HUNDREDS, rule)


def check(how: settings, rule: Callable[[Topology, dict[str, float], Random], None]) -> None:
    @how
    @given(topologies(), NETWORKS, RANDOMS)
    def checked(topology: Topology, network: dict[str, float], random: Random) -> None:
        rule(topology, network, random)

    checked()


def start(
    topology: Topology, network: dict[str, float], random: Random
) -> tuple[Internet, tuple[Party, Party]]:
    internet = Internet(Random(random.random()), **network)
    hosts = topology.build(internet)
    relays = tuple(internet.relay() for _ in range(topology.relays))
    return internet, meet(internet, hosts, relays=relays)
