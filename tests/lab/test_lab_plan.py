"""A topology's file says what it means, and every mistake in it is named with file and field."""

from pathlib import Path

import pytest

from lab.commands import LabError
from lab.link import Link, Way
from lab.nat import AD, APD, Nat, NatKind, Ports
from lab.places import NEIGHBOURS, PLACES, meet, way
from lab.plan import PlanError, find, names, read


@pytest.mark.parametrize("name", names())
def test_every_topology_that_comes_along_can_be_read(name: str) -> None:
    assert read(find(name)).hosts()


def test_a_whole_topology_is_read(tmp_path: Path) -> None:
    plan = read(_file(tmp_path, WHOLE))
    assert plan.hosts() == ["mediator", "alice-0", "alice-1", "bob", "dora"]
    assert plan.publics["mediator"].addresses == ("198.51.100.10",)
    assert plan.carriers == {"isp": NatKind.HAIRPIN.nat}
    assert plan.homes["alice"].behind == "isp"
    assert plan.homes["alice"].link == Link.both(Way(delay=20, loss=1.5))
    assert plan.homes["bob"].nat == Nat(AD, APD, Ports.SEQUENTIAL)
    assert plan.homes["bob"].ipv6
    assert plan.homes["bob"].port_mapping
    assert plan.homes["bob"].link == Link(Way(rate=1), Way(rate=16))


def test_what_two_nats_in_a_row_have_to_be_is_known(tmp_path: Path) -> None:
    behaviours = read(_file(tmp_path, WHOLE)).behaviours()
    assert behaviours["alice-1"].hairpin
    assert behaviours["bob"].mapping == "address-dependent"
    assert "dora" not in behaviours
    assert list(read(_file(tmp_path, WHOLE)).behaviours6()) == ["mediator", "bob", "dora"]


WHOLE = """
title = "Everything that can be said"
[public.mediator]
address = "198.51.100.10"
[carrier.isp]
nat = "hairpin"
[home.alice]
nat = "port-restricted"
behind = "isp"
hosts = 2
link = { delay = 20, loss = 1.5 }
[home.bob]
nat = { mapping = "address-dependent", ports = "sequential" }
up = { rate = 1 }
down = { rate = 16 }
ipv6 = true
port-mapping = true
[ipv6.dora]
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title = 3", "title: must be a text"),
        ("", "title: is missing"),
        ("title = ", "Invalid value"),
        ('title = "t"', "there is nobody in it"),
        ('title = "t"\nhouse = {}', "house: no such field; there are title, public,"),
        ('title = "t"\nhome = 3', "home: must be a table"),
        ('title = "t"\n[home.a]\nhosts = 1', "home.a.nat: is missing"),
        ('title = "t"\n[home.a]\nnat = "cone"', "home.a.nat: no 'cone'; there are full-cone,"),
        ('title = "t"\n[home.a]\nnat = 5', "home.a.nat: must be a text"),
        ('title = "t"\n[home.a]\nnat = { mappings = "x" }', "home.a.nat.mappings: no such field"),
        ('title = "t"\n[home.a]\nnat = { hairpin = 1 }', "home.a.nat.hairpin: must be true or"),
        (
            'title = "t"\n[home.a]\nnat = { mapping = "address-dependent" }',
            "home.a.nat: a mapping that depends on the destination cannot preserve ports",
        ),
        ('title = "t"\n[home.a]\nnat = "hairpin"\nhosts = 0', "home.a.hosts: must be from 1"),
        ('title = "t"\n[home.a]\nnat = "hairpin"\nhosts = "2"', "home.a.hosts: must be a whole"),
        ('title = "t"\n[home.a]\nnat = "hairpin"\nbehind = "b"', "home.a.behind: there is no"),
        (
            'title = "t"\n[carrier.b]\nnat = "hairpin"\n'
            '[home.a]\nnat = "hairpin"\nbehind = "b"\nipv6 = true',
            "home.a.ipv6: the carriers here have none",
        ),
        (
            'title = "t"\n[home.a]\nnat = "hairpin"\nlink = { loss = 101 }',
            "home.a.link.loss: must be from 0 to 100",
        ),
        (
            'title = "t"\n[home.a]\nnat = "hairpin"\nlink = { delay = 1 }\nup = { delay = 2 }',
            "home.a.link: is for both ways",
        ),
        ('title = "t"\n[public.a]\naddress = "there"', "public.a.address: 'there' is no IPv4"),
        ('title = "t"\n[public.a]\n[ipv6.a]', "there are two called a"),
        ('title = "t"\n[public."a b"]', "public.a b: a name has letters"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_field(tmp_path: Path, text: str, problem: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(PlanError) as told:
        read(path)
    assert str(told.value).startswith(f"{path}: {problem}")


def test_an_unknown_topology_is_told_with_those_there_are() -> None:
    with pytest.raises(LabError, match="no topology nowhere") as told:
        find("nowhere")
    assert told.value.hint is not None
    assert "three-homes" in told.value.hint


# What punching gives by RFC 4787, as measured with other programs before this one was written.
CAN_MEET = {
    ("public", "symmetric"): True,
    ("full-cone", "symmetric"): True,
    ("address-restricted", "symmetric"): True,
    ("port-restricted", "symmetric"): False,
    ("port-restricted", "address-symmetric"): False,
    ("port-restricted", "symmetric-sequential"): True,  # where its next port is foreseen
    ("symmetric", "symmetric-sequential"): False,
    ("port-restricted", "port-restricted"): True,
    ("port-restricted", "random-port"): True,
    ("port-restricted", "cgnat"): True,
    ("cgnat", "cgnat-symmetric"): False,
    ("symmetric", "symmetric"): False,
    ("symmetric", "symmetric-open"): True,
    ("symmetric-open", "symmetric-open"): True,
    ("address-symmetric", "address-symmetric"): False,
    ("public", "udp-blocked"): False,
    ("public", "ipv6-only"): True,
    ("ipv6-only", "ipv6-only"): True,
    ("full-cone", "ipv6-only"): False,
    ("asymmetric", "port-restricted"): True,
    ("port-mapping", "symmetric"): True,
    ("symmetric-mapping", "symmetric"): True,
    ("symmetric-mapping", "udp-blocked"): False,
    ("dual-stack-symmetric", "symmetric"): False,
    ("dual-stack-symmetric", "dual-stack-symmetric"): True,
    ("dual-stack-symmetric", "ipv6-only"): True,
    ("dual-stack", "port-restricted"): True,
    ("public", "proxy-only"): False,
}


@pytest.mark.parametrize(("one", "two"), CAN_MEET)
def test_who_can_meet_without_a_relay_is_known_beforehand(one: str, two: str) -> None:
    wanted = CAN_MEET[one, two]
    assert meet(PLACES[one], PLACES[two]) is meet(PLACES[two], PLACES[one]) is wanted


def test_neighbours_meet_inside_or_by_a_carrier_that_turns_datagrams_back() -> None:
    assert {there.name: there.way for there in NEIGHBOURS} == {
        "one LAN": "direct",
        "one LAN, hairpin": "direct",
        "one LAN, symmetric": "direct",
        "one LAN, UDP blocked": "direct",
        "one carrier": "relay",
        "one carrier, hairpin": "direct",
    }


def test_who_has_no_udp_comes_by_a_stream_and_all_others_by_a_relay() -> None:
    for one, two, wanted in (
        ("public", "port-restricted", "direct"),
        ("symmetric", "symmetric", "relay"),
        ("full-cone", "ipv6-only", "relay"),
        ("public", "udp-blocked", "degraded"),
        ("tcp-443", "proxy-only", "degraded"),
    ):
        assert way(PLACES[one], PLACES[two]) == way(PLACES[two], PLACES[one]) == wanted


def test_there_are_at_least_ten_kinds_of_places() -> None:
    assert len(PLACES) >= 10


def _file(folder: Path, text: str) -> Path:
    path = folder / "topology.toml"
    path.write_text(text)
    return path
