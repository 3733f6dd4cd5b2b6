"""The truth about a path that is not direct."""

from random import Random

import pytest

from tests.support.nat_model import Filtering, Internet, Mapping
from tests.support.two_parties import distress, meet, run_for
from traversal.candidate import Address, Kind, LocalSide, candidate
from traversal.pairs import SLOWEST_WAIT
from traversal.paths import PathFinder

PORT_RESTRICTED = (Mapping.INDEPENDENT, Filtering.ADDRESS_AND_PORT)
SYMMETRIC = (Mapping.ADDRESS_AND_PORT, Filtering.ADDRESS_AND_PORT)


@pytest.fixture
def internet() -> Internet:
    return Internet(Random(1), delay=0.05)


def test_a_direct_path_needs_no_reason(internet: Internet) -> None:
    parties = meet(internet, (internet.host(), internet.host()))
    run_for(internet, 5.0)
    told = parties[0].finder.explain()
    assert told.reason is None
    assert told.next_try is None
    assert told.path == parties[0].finder.path


def test_a_relayed_pair_says_which_nats_and_when_it_tries_again(internet: Internet) -> None:
    relay = internet.relay()
    hosts = tuple(internet.nat(*SYMMETRIC).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    run_for(internet, 300.0)
    told = parties[0].finder.explain()
    assert told.path is not None
    assert told.path.relayed
    assert "none of 3 addresses answered" in told.reason
    assert told.reason.count("address-and-port-dependent mapping") == 2
    assert "needs a relay" in told.reason
    assert internet.now <= told.next_try <= internet.now + SLOWEST_WAIT


def test_a_direct_path_that_failed_is_named_as_passed_over(internet: Internet) -> None:
    relay = internet.relay()
    hosts = tuple(internet.nat(*PORT_RESTRICTED).host() for _ in range(2))
    parties = meet(internet, hosts, relays=(relay,))
    run_for(internet, 10.0)
    distress(internet, parties[0])
    assert "worked, and no longer answers" in parties[0].finder.explain().reason
    run_for(internet, 0.5)
    assert "passed over" in parties[0].finder.explain().reason


def test_nothing_to_try_is_said_so() -> None:
    ours = LocalSide("us-ufrag", "p" * 24, (candidate(Kind.HOST, Address("192.0.2.1", 1000)),))
    theirs = LocalSide("they-ufrag", "q" * 24, ())
    finder = PathFinder(ours, theirs, controlling=True, now=0.0)  # type: ignore[arg-type]
    assert "no address of theirs can be tried" in finder.explain().reason
    assert finder.explain().next_try is None


def test_every_address_has_its_own_facts(internet: Internet) -> None:
    parties = meet(internet, (internet.host(), internet.host()))
    run_for(internet, 5.0)
    (fact,) = parties[0].finder.explain().pairs
    assert fact.address == parties[1].host.address
    assert fact.rtt == pytest.approx(0.1)
    assert fact.next_try > internet.now
    assert min(fact.sent, fact.answered, fact.heard) > 0
