"""Connectivity through real NATs: namespaces, nftables and the mediator's STUN service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.host import Host
from lab.topology import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

PORT_RESTRICTED, SYMMETRIC = "port-restricted", "symmetric"
STUN = ("198.51.100.10", "3478", "3479")
STUN_SERVICE = """
import asyncio
from mediator.entrance.stun_server import StunServer

async def serve():
    await StunServer().start(["0.0.0.0"], [3478, 3479])
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        mediator = made.public("mediator", STUN[0])
        service = mediator.popen([sys.executable, "-c", STUN_SERVICE], stdout=subprocess.PIPE)
        assert service.stdout is not None
        assert service.stdout.readline() == b"ready\n"
        yield made
        service.kill()
        service.communicate()


def test_three_homes_behind_port_restricted_nats_are_a_mesh_within_a_second(lab: Lab) -> None:
    homes = [lab.home(f"home{n}", nat=PORT_RESTRICTED) for n in range(3)]
    told = connect([home.host for home in homes])
    for me, party in enumerate(told):
        assert party["mapping"] == "endpoint-independent"
        assert party["seconds"] < 1.0
        endpoints = {int(n): found["endpoint"] for n, found in party["results"].items()}
        assert endpoints == {n: homes[n].address for n in range(3) if n != me}


def test_neighbours_meet_inside_their_lan_without_any_hairpin(lab: Lab) -> None:
    home = lab.home("home", nat=PORT_RESTRICTED, hosts=2)
    first, second = connect(list(home.hosts))
    assert first["results"]["1"]["endpoint"] == home.hosts[1].address
    assert first["results"]["1"]["same_lan"]
    assert second["results"]["0"]["endpoint"] == home.hosts[0].address


def test_a_public_party_learns_the_port_of_a_varying_nat(lab: Lab) -> None:
    public = lab.public("public", "198.51.100.20")
    home = lab.home("home", nat=SYMMETRIC)
    first, second = connect([public, home.host])
    assert second["mapping"] == "address-and-port-dependent"
    assert first["results"]["1"]["endpoint"] == home.address
    assert second["results"]["0"]["endpoint"] == public.address


def test_a_pair_without_a_direct_path_is_explained(lab: Lab) -> None:
    homes = [lab.home("one", nat=SYMMETRIC), lab.home("two", nat=PORT_RESTRICTED)]
    first, second = connect([home.host for home in homes])
    for party in (first["results"]["1"], second["results"]["0"]):
        assert "none of" in party["reason"]
        assert "address-and-port-dependent mapping" in party["reason"]


def connect(hosts: list[Host]) -> list[dict]:
    """Start a party on each host, exchange their offers, and collect what each of them tells."""
    module = "tests.support.one_party"
    parties = [
        host.popen(
            [sys.executable, "-m", module, *STUN, str(len(hosts)), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number, host in enumerate(hosts)
    ]
    told = [json.loads(party.stdout.readline()) for party in parties]
    for me, party in enumerate(parties):
        offers = {n: told[n]["offers"][str(me)] for n in range(len(hosts)) if n != me}
        party.stdin.write(json.dumps(offers).encode() + b"\n")
        party.stdin.flush()
    for party, words in zip(parties, told, strict=True):
        words.update(json.loads(party.communicate(timeout=20)[0]))
    return told
