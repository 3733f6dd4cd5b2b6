"""Both ends come to the same path, whatever the network and WireGuard do meanwhile."""

from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import Party, agree, distress, meet, run_for
from traversal.agreement import PathFound, PathSettled

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
NETWORKS = st.fixed_dictionaries(
    {
        "delay": st.floats(0.0, 0.2),
        "jitter": st.floats(0.0, 0.2),
        "loss": st.floats(0.0, 0.3),
        "duplicates": st.floats(0.0, 0.5),
    }
)
WHO = st.sampled_from([0, 1])
INCIDENTS = st.one_of(
    st.tuples(st.just("distress"), WHO),
    st.tuples(st.just("deaf"), WHO),  # what it sends directly is lost
    st.tuples(st.just("healed"), WHO),
)
STORIES = st.lists(st.tuples(st.floats(0.0, 5.0), INCIDENTS), max_size=8)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(NETWORKS, STORIES, st.integers(1, 2), st.randoms(use_true_random=False))
def test_both_ends_come_to_the_same_path_after_any_story(
    network: dict[str, float], story: list, relays: int, random: Random
) -> None:
    internet, parties = meeting(random, network, relays)
    play(internet, parties, story)
    for who in (0, 1):
        heal(parties[who])
    run_for(internet, 60.0)
    assert same_path(internet, parties)


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(STORIES, st.floats(0.01, 0.2), st.randoms(use_true_random=False))
def test_without_loss_the_ends_differ_for_two_round_trips_at_most(
    story: list, delay: float, random: Random
) -> None:
    internet, parties = meeting(random, {"delay": delay}, 1)
    run_for(internet, 10.0)
    story = [(wait, what) for wait, what in story if what[0] == "distress"]
    for wait, (_, who) in [*story, (10.0, ("distress", 0))]:
        longest = longest_difference(internet, parties, wait + 10 * delay)
        assert longest <= 2 * 4 * delay + 1e-6
        distress(internet, parties[who])


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(NETWORKS, STORIES, st.randoms(use_true_random=False))
def test_settled_is_told_only_of_the_path_found_last(
    network: dict[str, float], story: list, random: Random
) -> None:
    internet, parties = meeting(random, network, 1)
    play(internet, parties, story)
    run_for(internet, 30.0)
    for party in parties:
        found = None
        for event in party.events:
            if isinstance(event, PathFound):
                found = event.path.endpoint
            elif isinstance(event, PathSettled):
                assert event.path.endpoint == found


def test_distress_on_both_sides_at_once_leads_to_one_path() -> None:
    internet, parties = meeting(Random(1), {"delay": 0.05}, 1)
    run_for(internet, 10.0)
    for party in parties:
        distress(internet, party)
    run_for(internet, 0.6)
    assert all(party.finder.path.relayed for party in parties)
    run_for(internet, 10.0)
    assert same_path(internet, parties)
    assert not any(party.finder.path.relayed for party in parties)


def test_a_pair_that_is_proven_one_way_only_is_given_up_for_one_that_works() -> None:
    internet, parties = meeting(Random(1), {"delay": 0.05}, 1)
    run_for(internet, 10.0)
    deafen(parties[0])
    distress(internet, parties[1])
    run_for(internet, 10.0)
    assert all(party.finder.path.relayed and party.settled for party in parties)


def meeting(
    random: Random, network: dict[str, float], relays: int
) -> tuple[Internet, tuple[Party, Party]]:
    internet = Internet(Random(random.random()), **network)
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    places = tuple(internet.relay() for _ in range(relays))
    return internet, meet(internet, hosts, relays=places)


def longest_difference(internet: Internet, parties: tuple[Party, Party], seconds: float) -> float:
    """For how long at most one end used the relay while the other did not."""
    until, since, longest = internet.now + seconds, internet.now, 0.0
    while internet.step(until):
        relayed = {party.finder.path.relayed for party in parties}
        since = since if len(relayed) == 2 else internet.now
        longest = max(longest, internet.now - since)
    return longest


def play(internet: Internet, parties: tuple[Party, Party], story: list) -> None:
    for wait, (what, who) in story:
        run_for(internet, wait)
        if what == "distress":
            distress(internet, parties[who])
        elif what == "deaf":
            deafen(parties[who])
        else:
            heal(parties[who])


def deafen(party: Party) -> None:
    """What it sends directly is lost from now on; what the other side sends still arrives."""
    send = type(party.host).send
    relays = {tried.address for tried in party.finder.tried() if tried.kind == "relay"}
    party.host.send = lambda data, to: to in relays and send(party.host, data, to)


def heal(party: Party) -> None:
    party.host.__dict__.pop("send", None)


def same_path(internet: Internet, parties: tuple[Party, Party]) -> bool:
    return all(party.settled for party in parties) and agree(*parties)
