"""Each NAT kind behaves as the words of RFC 4787 in its name say."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from lab.behaviour import PUBLIC, Behaviour, Verdict, check, expected
from lab.nat import AD, APD, EIM, Nat, NatKind, Ports
from lab.topology import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

ANY = "endpoint-independent"
ADDRESS = "address-dependent"
PORT = "address-and-port-dependent"

# mapping, filtering, ports, translated, hairpin, passes
NAMED_AFTER = {
    "full-cone": Behaviour(ANY, ANY, "preserved", True, False, "all"),
    "address-restricted": Behaviour(ANY, ADDRESS, "preserved", True, False, "all"),
    "port-restricted": Behaviour(ANY, PORT, "preserved", True, False, "all"),
    "random-port": Behaviour(ANY, PORT, "random", True, False, "all"),
    "hairpin": Behaviour(ANY, PORT, "preserved", True, True, "all"),
    "address-symmetric": Behaviour(ADDRESS, ADDRESS, "random", True, False, "all"),
    "symmetric": Behaviour(PORT, PORT, "random", True, False, "all"),
    "symmetric-open": Behaviour(PORT, ANY, "random", True, False, "all"),
    "symmetric-sequential": Behaviour(PORT, PORT, "sequential", True, False, "all"),
    "udp-blocked": Behaviour(None, None, None, True, False, "tcp"),
    "tcp-443": Behaviour(None, None, None, True, False, "tcp-443"),
}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Verdict]]:
    with Lab() as lab:
        for kind in NatKind:
            lab.home(kind, nat=kind)
        yield {verdict.kind: verdict for verdict in check(lab, {kind: kind for kind in NatKind})}


@pytest.mark.parametrize("kind", NAMED_AFTER)
def test_a_nat_behaves_as_it_is_called(kind: str, verdicts: dict[str, Verdict]) -> None:
    assert verdicts[kind].seen == NAMED_AFTER[kind]
    assert verdicts[kind].verified


def test_every_kind_is_tested() -> None:
    assert set(NAMED_AFTER) == set(NatKind)


def test_every_mapping_goes_with_every_filtering() -> None:
    nats = {
        f"{m}-{f}": Nat(mapping, filtering, Ports.RANDOM, hairpin=mapping is EIM)
        for m, mapping in enumerate((EIM, AD, APD))
        for f, filtering in enumerate((EIM, AD, APD))
    }
    with Lab() as lab:
        for name, nat in nats.items():
            lab.home(name, nat=nat)
        wanted = {name: expected(nat) for name, nat in nats.items()}
        assert [
            verdict
            for verdict in check(lab, dict(zip(nats, nats, strict=True)), wanted)
            if not verdict.verified
        ] == []


def test_two_nats_in_a_row_are_as_the_stricter_of_both() -> None:
    open_home, carrier = Nat(EIM, EIM), Nat(APD, AD, Ports.RANDOM)
    with Lab() as lab:
        lab.carrier("isp", nat=carrier)
        lab.home("home", nat=open_home, behind="isp")
        wanted = {"both": Behaviour(PORT, ADDRESS, "random", True, False, "all")}
        [verdict] = check(lab, {"home": "both"}, wanted)
    assert verdict.verified, verdict
    assert expected(open_home.behind(carrier)) == wanted["both"]


def test_homes_behind_a_carrier_that_turns_datagrams_back_reach_each_others_mappings() -> None:
    carrier = Nat(EIM, APD, hairpin=True)
    with Lab() as lab:
        lab.carrier("isp", nat=carrier)
        lab.home("home", nat="port-restricted", behind="isp")
        wanted = {"both": expected(Nat(EIM, APD).behind(carrier))}
        [verdict] = check(lab, {"home": "both"}, wanted)
    assert verdict.seen.hairpin
    assert verdict.verified


def test_a_cone_stays_open_to_all_after_it_has_answered_one() -> None:
    """The answer is of the stranger's flow, so it must not make the stranger the owner."""
    with Lab() as lab:
        home = lab.home("home", nat="full-cone")
        strangers = [lab.public(f"stranger{n}", f"198.51.100.{n + 20}") for n in range(2)]
        with home.host.popen(["python", "-c", ANSWER, strangers[0].address]) as answering:
            asked = [
                stranger.run(["python", "-c", ASK, home.address], timeout=10)
                for stranger in strangers
            ]
            answering.kill()
    assert asked == ["home\n", "home\n"]


ANSWER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5000))
    sock.sendto(b"opens the mapping", (sys.argv[1], 9))
    while True:
        sock.sendto(b"home", sock.recvfrom(100)[1])
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(0.2)
    for _ in range(20):
        sock.sendto(b"who is there?", (sys.argv[1], 5000))
        try:
            print(sock.recv(100).decode())
            break
        except TimeoutError:
            pass
"""


def test_a_host_with_ipv6_alone_gets_out_by_it_and_lets_nobody_in_uninvited() -> None:
    with Lab() as lab:
        public = lab.public("public", "198.51.100.10")
        alone = lab.home6("alone")
        other = lab.home6("other")
        with public.popen(["python", "-c", ECHO], stdout=subprocess.PIPE) as echoing:
            assert echoing.stdout is not None
            echoing.stdout.readline()
            seen = alone.run(["python", "-c", ASK6, "public.lab", "5000"])
            nobody = other.run(["python", "-c", ASK6, alone.address, "5000"])
            echoing.kill()
    assert seen == f"{alone.address}\n"  # translated by nobody
    assert nobody == "silence\n"


ECHO = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.bind(("::", 5000))
    print("bound", flush=True)
    while True:
        data, source = sock.recvfrom(100)
        sock.sendto(source[0].encode(), source)
"""
ASK6 = """
import socket, sys
assert socket.getaddrinfo(sys.argv[1], 5000, socket.AF_INET6)
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.settimeout(0.5)
    for _ in range(3):
        sock.sendto(b"who is there?", (sys.argv[1], int(sys.argv[2])))
        try:
            print(sock.recv(100).decode())
            break
        except TimeoutError:
            pass
    else:
        print("silence")
"""


def test_a_mapping_that_depends_on_the_destination_preserves_no_port() -> None:
    for mapping in (AD, APD):
        with pytest.raises(ValueError, match="cannot preserve ports"):
            Nat(mapping, APD, Ports.PRESERVED)


def test_a_public_host_is_translated_by_nobody() -> None:
    with Lab() as lab:
        lab.public("public", "198.51.100.10")
        [verdict] = check(lab, {"public": "public"})
    assert verdict.seen == PUBLIC == Behaviour(ANY, ANY, "preserved", False, True, "all")


def test_hosts_of_one_home_are_measured_at_the_same_time() -> None:
    with Lab() as lab:
        lab.home("home", nat="port-restricted", hosts=3)
        verdicts = check(lab, {f"home-{n}": "port-restricted" for n in range(3)})
    assert [verdict.verified for verdict in verdicts] == [True, True, True]


def test_a_nat_that_behaves_otherwise_than_it_is_called_is_not_verified() -> None:
    with Lab() as lab:
        lab.home("home", nat="symmetric")
        [verdict] = check(lab, {"home": "port-restricted"})
    assert verdict.seen == NAMED_AFTER["symmetric"]
    assert not verdict.verified
