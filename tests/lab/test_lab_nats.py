"""Each NAT kind behaves as the words of RFC 4787 in its name say."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.behaviour import FIREWALLED, PUBLIC, Behaviour, Verdict, check, expected
from lab.boxes import port_mapping_daemon
from lab.host import Host
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
    "proxy-only": Behaviour(None, None, None, True, False, "proxy"),
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


@contextmanager
def _running(host: Host, script: str) -> Iterator[str]:
    """A script on a host, ended with the `with`; gives the first line that it prints."""
    process = host.popen(["python", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode()
    finally:
        process.kill()


def test_ipv6_beside_a_nat_is_filtered_and_never_translated() -> None:
    with Lab() as lab:
        lab.home("both", nat="symmetric", ipv6=True)
        lab.home6("alone")
        lab.public("public", "198.51.100.10")
        wanted = {"both": FIREWALLED, "alone": FIREWALLED, "public": PUBLIC}
        verdicts = check(lab, {name: name for name in wanted}, wanted, ipv6=True)
        [ipv4] = check(lab, {"both": "symmetric"})
    assert [verdict.host for verdict in verdicts if verdict.verified] == list(wanted)
    assert Behaviour(ANY, PORT, "preserved", False, True, "all") == FIREWALLED
    assert ipv4.verified


def test_a_proxy_connects_to_web_ports_alone_and_passes_plain_requests_on() -> None:
    with Lab() as lab:
        public = lab.public("public", "198.51.100.10")
        home = lab.home("home", nat="proxy-only")
        with _running(public, WEB):
            page = home.host.run(["python", "-c", GET, "http://public.lab:443/page?a=b"])
            answers = [
                home.host.run(["python", "-c", CONNECT, target])
                for target in ("public.lab:443", "public.lab:22", "public.lab:80", "nonsense")
            ]
    assert page == f"{home.address} asks GET /page?a=b\n"
    assert [answer.split()[1] for answer in answers] == ["200", "403", "502", "400"]


WEB = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    log_message = lambda *words: None
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.client_address[0]} asks GET {self.path}".encode())
server = http.server.HTTPServer(("0.0.0.0", 443), Handler)
print("bound", flush=True)
server.serve_forever()
"""
GET = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
CONNECT = r"""
import os, socket, sys
from urllib.parse import urlsplit
proxy = urlsplit(os.environ["https_proxy"])
with socket.create_connection((proxy.hostname, proxy.port), 5) as sock:
    sock.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\r\n\r\n".encode())
    print(sock.recv(100).decode())
"""


@pytest.mark.skipif(port_mapping_daemon() is None, reason="needs Debian's miniupnpd-nftables")
def test_a_router_with_port_mapping_lets_strangers_in_where_it_was_asked_to() -> None:
    with Lab() as lab:
        stranger = lab.public("stranger", "198.51.100.20")
        home = lab.home("home", nat="symmetric", port_mapping=True)
        with _running(home.host, MAPPED) as external:
            heard = stranger.run(["python", "-c", ASK, home.address], timeout=20)
        [verdict] = check(lab, {"home": "symmetric"})
        assert lab.left_in_run() == []
    assert external == f"{home.address} 5000\n"
    assert heard == "home\n"
    assert verdict.verified


MAPPED = """
import socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect(("192.168.1.1", 5351))
    sock.send(bytes(2))  # NAT-PMP: the external address
    address = socket.inet_ntoa(sock.recv(100)[8:12])
    sock.send(struct.pack("!BBHHHI", 0, 1, 0, 5000, 5000, 600))  # and a mapping for UDP
    print(address, struct.unpack("!H", sock.recv(100)[10:12])[0], flush=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("0.0.0.0", 5000))
    while True:
        sock.sendto(b"home", sock.recvfrom(100)[1])
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
