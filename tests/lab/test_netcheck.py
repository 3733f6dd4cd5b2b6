"""`agent netcheck` names each NAT of the lab rightly: real agents, a real mediator, real NATs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.behaviour import EXPECTED
from lab.boxes import port_mapping_daemon
from lab.host import Host
from lab.nat import NatKind
from lab.topology import Lab
from tests.support.json_shapes import NETCHECK, check_shape

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

MEDIATOR = ("198.51.100.10", "192.0.2.10")
URL = f"http://{MEDIATOR[0]}:443"
COTURN = ("198.51.100.20", "192.0.2.20")
FOREIGN = ("full-cone", "address-restricted", "port-restricted", "symmetric")
USER = 64199
AT_ONCE = 4
WITH_PORTS = "port-mapping"

# mapping, filtering, ports, translated, hairpin; and the verdict: RFC 4787 in literal words
ANY = "endpoint-independent"
ADDRESS = "address-dependent"
PORT = "address-and-port-dependent"
NAMED: Mapping[str, tuple[str, str, str, bool]] = {
    "full-cone": (ANY, ANY, "preserved", False),
    "address-restricted": (ANY, ADDRESS, "preserved", False),
    "port-restricted": (ANY, PORT, "preserved", False),
    "random-port": (ANY, PORT, "random", False),
    "hairpin": (ANY, PORT, "preserved", True),
    "address-symmetric": (ADDRESS, ADDRESS, "random", False),
    "symmetric": (PORT, PORT, "random", False),
    "symmetric-open": (PORT, ANY, "random", False),
    "symmetric-sequential": (PORT, PORT, "sequential", False),
}
VERDICTS = {
    "full-cone": "direct",
    "address-restricted": "direct",
    "port-restricted": "direct-unless-varying",
    "random-port": "direct-unless-varying",
    "hairpin": "direct-unless-varying",
    "address-symmetric": "often-relayed",
    "symmetric": "often-relayed",
    "symmetric-open": "direct",
    "symmetric-sequential": "direct-if-foreseen",
    "udp-blocked": "no-udp",
    "tcp-443": "no-udp",
    "proxy-only": "no-udp",
}


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, dict[str, Any]]]:
    """What netcheck says, by the kind of home it is run in."""
    with Lab() as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        mine = folder / "mine"
        mine.mkdir(0o700)
        os.chown(mine, USER, USER)
        public = lab.public("mediator", *MEDIATOR)
        hosts = {str(kind): lab.home(kind, nat=kind).host for kind in NatKind}
        hosts["public"] = lab.public("alone", "198.51.100.30")
        hosts["ipv6-only"] = lab.home6("six")
        if port_mapping_daemon() is not None:
            hosts[WITH_PORTS] = lab.home("mapper", nat="symmetric", port_mapping=True).host
        mediator = public.popen(
            [sys.executable, "-m", "mediator", "run", "--listen", "[::]:443",
             "--public-url", URL, "--data", str(mine / "m.db"), "--metrics", "off",
             *(word for address in (*MEDIATOR, *public.addresses6)
               for word in ("--stun-address", address))],
            user=USER, env=environment(mine), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert mediator.stdout is not None
            assert mediator.stdout.readline()
            made = agent(public, mine, "create-did", "--mediator", URL, "--unencrypted")
            assert made.wait(60) == 0, made.communicate()
            more = {"ipv6-only": stun_words(public.addresses6)}  # its URL is one of IPv4
            if shutil.which("turnserver"):
                with coturn(lab.public("coturn", *COTURN), mine):
                    for kind in FOREIGN:
                        hosts[f"{kind} by coturn"] = hosts[kind]
                        more[f"{kind} by coturn"] = stun_words(COTURN)
                    yield dict(checks(hosts, mine, more))
            else:
                yield dict(checks(hosts, mine, more))
        finally:
            mediator.kill()
            mediator.communicate()


@pytest.mark.parametrize("kind", NAMED)
def test_a_nat_is_named_by_the_words_of_rfc_4787(
    kind: str, found: dict[str, dict[str, Any]]
) -> None:
    seen = found[kind]["ipv4"]
    assert seen is not None
    assert tuple(seen[n] for n in ("mapping", "filtering", "ports", "hairpin")) == NAMED[kind]
    assert seen["translated"]
    assert found[kind]["udp"] is True


@pytest.mark.parametrize("kind", NatKind)
def test_what_is_named_is_what_the_lab_measures_by_its_own_means(
    kind: NatKind, found: dict[str, dict[str, Any]]
) -> None:
    seen, wanted = found[kind]["ipv4"], EXPECTED[kind]
    if wanted.mapping is None:
        assert seen is None
        return
    names = ("mapping", "filtering", "ports", "translated", "hairpin")
    assert {name: seen[name] for name in names} == {name: getattr(wanted, name) for name in names}


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_verdict_is_the_one_of_this_nat(kind: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[kind]["verdict"] == VERDICTS[kind]
    assert found[kind]["words"]


def test_every_kind_of_nat_is_tested() -> None:
    assert set(VERDICTS) == set(NatKind)


@pytest.mark.parametrize("kind", ["udp-blocked", "tcp-443", "proxy-only"])
def test_where_udp_is_blocked_the_way_by_http_is_told(
    kind: str, found: dict[str, dict[str, Any]]
) -> None:
    assert found[kind]["udp"] is False
    http = found[kind]["http"]
    assert http["reachable"], http
    assert (http["proxy"] is not None) == (kind == "proxy-only")


def test_a_public_host_is_translated_by_nobody(found: dict[str, dict[str, Any]]) -> None:
    seen = found["public"]["ipv4"]
    assert (seen["name"], seen["mapping"], seen["filtering"]) == ("no NAT", ANY, ANY)
    assert (seen["translated"], seen["ports"], seen["hairpin"]) == (False, None, None)


def test_ipv6_is_measured_beside_ipv4(found: dict[str, dict[str, Any]]) -> None:
    seen = found["ipv6-only"]["ipv6"]
    assert found["ipv6-only"]["ipv4"] is None
    assert (seen["name"], seen["filtering"]) == ("no NAT, a firewall", PORT)


def test_long_datagrams_and_the_relays_times_are_measured(
    found: dict[str, dict[str, Any]],
) -> None:
    seen = found["port-restricted"]
    assert seen["ipv4"]["mtu"] == {"route": 1500, "probed": 1308}
    assert {server["address"].split(":")[0] for server in seen["servers"]} == set(MEDIATOR)
    assert all(server["rtt_ms"] > 0 for server in seen["servers"])


def test_a_router_that_maps_ports_makes_direct_paths_likely(
    found: dict[str, dict[str, Any]],
) -> None:
    if WITH_PORTS not in found:
        pytest.skip("needs Debian's miniupnpd-nftables")
    assert found[WITH_PORTS]["port_mapping"]["protocol"] in ("pcp", "nat-pmp", "upnp-igd")
    assert found[WITH_PORTS]["verdict"] == "direct"
    assert found["symmetric"]["port_mapping"]["protocol"] is None


def test_every_answer_has_the_documented_shape(found: dict[str, dict[str, Any]]) -> None:
    for answer in found.values():
        check_shape(answer, NETCHECK)


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="needs Debian's coturn")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_stun_server_tells_the_same(kind: str, found: dict[str, dict[str, Any]]) -> None:
    seen = found[f"{kind} by coturn"]["ipv4"]
    assert seen is not None
    assert tuple(seen[n] for n in ("mapping", "filtering", "ports", "hairpin")) == NAMED[kind]


@contextmanager
def coturn(host: Host, mine: Path) -> Iterator[None]:
    """RFC 5780 by somebody else, on two addresses."""
    words = ["turnserver", "-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli"]
    words += ["--log-file", "stdout", "--pidfile", str(mine / "coturn.pid")]
    words += ["--userdb", str(mine / "coturn.db")]
    words += [word for address in COTURN for word in ("--listening-ip", address)]
    process = host.popen(
        words, user=USER, env=environment(mine), cwd=mine,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()


def stun_words(addresses: Sequence[str]) -> list[str]:
    servers = [f"[{address}]:{port}" for address in addresses for port in (3478, 3479)]
    return [word for server in servers for word in ("--stun", server)]


def checks(
    hosts: Mapping[str, Host], mine: Path, more: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A few at once: netcheck measures time, and each is a whole process."""
    names = list(hosts)
    for first in range(0, len(names), AT_ONCE):
        running = {
            name: agent(hosts[name], mine, "netcheck", "--json", *more.get(name, ()))
            for name in names[first : first + AT_ONCE]
        }
        for name, process in running.items():
            output, errors = process.communicate(timeout=90)
            assert process.returncode == 0, errors
            yield name, json.loads(output)


def agent(host: Host, mine: Path, *words: str) -> "subprocess.Popen[bytes]":
    return host.popen(
        [sys.executable, "-m", "agent", *words],
        user=USER, env=environment(mine), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def environment(mine: Path) -> dict[str, str]:
    return {"HOME": str(mine), "DIDMESH_HOME": str(mine), "TMPDIR": str(mine)}
