"""Each NAT kind behaves as the words of RFC 4787 in its name say."""

import os

import pytest

from lab.behaviour import APD, EIM, Behaviour, Verdict, check
from lab.nat import NatKind
from lab.topology import Lab

AD = "address-dependent"

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

NAMED_AFTER = {
    "full-cone": Behaviour(mapping=EIM, filtering=EIM, translated=True),
    "address-restricted": Behaviour(mapping=EIM, filtering=AD, translated=True),
    "port-restricted": Behaviour(mapping=EIM, filtering=APD, translated=True),
    "symmetric": Behaviour(mapping=APD, filtering=APD, translated=True),
}


@pytest.mark.parametrize("kind", NAMED_AFTER)
def test_a_nat_behaves_as_it_is_called(kind: str) -> None:
    with Lab() as lab:
        lab.home("home", nat=kind)
        [verdict] = check(lab, {"home": kind})
    assert verdict.seen == NAMED_AFTER[kind]
    assert verdict.verified


def test_every_kind_is_tested() -> None:
    assert set(NAMED_AFTER) == set(NatKind)


def test_a_public_host_is_translated_by_nobody() -> None:
    with Lab() as lab:
        lab.public("public", "198.51.100.10")
        [verdict] = check(lab, {"public": "public"})
    assert verdict.seen == Behaviour(mapping=EIM, filtering=EIM, translated=False)
    assert verdict.verified


def test_hosts_of_one_home_are_measured_at_the_same_time() -> None:
    with Lab() as lab:
        lab.home("home", nat="port-restricted", hosts=3)
        verdicts = check(lab, {f"home-{n}": "port-restricted" for n in range(3)})
    assert [verdict.verified for verdict in verdicts] == [True, True, True]


def test_a_nat_that_behaves_otherwise_than_it_is_called_is_not_verified() -> None:
    with Lab() as lab:
        lab.home("home", nat="symmetric")
        [verdict] = check(lab, {"home": "port-restricted"})
    assert verdict == Verdict("home", "port-restricted", NAMED_AFTER["symmetric"])
    assert not verdict.verified
