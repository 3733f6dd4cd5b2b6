"""A mediator as it is run for others: its end, its certificate, and proxies before it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.connection.websocket_relay import WebSocketRelay
from mediator.cli import EXIT_CODES
from mediator.settings.loading import load
from messaging.message import Message
from messaging.protocols.relay import Request, Tickets
from tests.support.mediator_client import Party
from tests.support.mediator_process import facts, folder, process, run_argv

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "mediator/deploy"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# The end


async def test_told_to_stop_it_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        there = facts(started)
        async with aiohttp.ClientSession() as http:
            alice = Party(http, there["did"], there["http"])
            await alice.register()
            forward = await alice.sealed_forward(alice.did, {"n": 1})
            port = int(there["http"].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(forward)}\r\n\r\n"
            writer.write(head.encode() + forward[:100])
            async with alice.socket() as live:
                await asyncio.sleep(0.3)
                started.send_signal(signal.SIGTERM)
                assert (await live.connection.receive(timeout=5)).data == 1001
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            writer.write(forward[100:])
            assert b" 200 " in await asyncio.wait_for(reader.readline(), 5)
            writer.close()
            assert await asyncio.to_thread(started.wait, 5) == 0
        with process(run_argv(data / "m.db", port)) as again:
            facts(again)
            async with aiohttp.ClientSession() as alice.http:
                assert len(await alice.fetch()) == 1


async def test_who_never_finishes_does_not_hold_it_up_beyond_the_set_time() -> None:
    argv = ["--drain", "1"]
    with folder() as data, process([*run_argv(data / "m.db"), *argv]) as started:
        port = int(facts(started)["http"].rpartition(":")[2])
        writer = await half_a_request(port)
        began = time.monotonic()
        started.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.wait, 8) == 0
        assert 0.5 < time.monotonic() - began < 4
        writer.close()


async def half_a_request(port: int) -> asyncio.StreamWriter:
    """One whose body the mediator has begun to wait for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head + b"{")
    assert b" 100 " in await asyncio.wait_for(reader.readline(), 5)
    return writer


async def test_while_it_drains_it_is_not_ready_but_alive() -> None:
    port = free_port()
    argv = ["--drain", "3", "--metrics", f"127.0.0.1:{port}"]
    with folder() as data, process([*run_argv(data / "m.db"), *argv]) as started:
        public = int(facts(started)["http"].rpartition(":")[2])
        writer = await half_a_request(public)
        async with aiohttp.ClientSession() as http:
            assert await status(http, f"http://127.0.0.1:{port}/readyz") == 200
            started.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert await status(http, f"http://127.0.0.1:{port}/readyz") == 503
            assert await status(http, f"http://127.0.0.1:{port}/livez") == 200
        writer.close()
        assert await asyncio.to_thread(started.wait, 8) == 0


# The log


async def test_its_log_is_json_and_names_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    with folder() as data, process(run_argv(data / "m.db")) as started:
        there = facts(started)
        async with aiohttp.ClientSession() as http:
            alice = Party(http, there["did"], there["http"])
            await alice.problem(Message("https://didcomm.org/unheard-of/1.0/thing"))
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["message"] for line in lines][-1] == "stopped"
    assert any("refused" in line["message"] for line in lines)
    assert alice.did[:30] not in json.dumps(lines)


# Its own certificate


class Authority:
    """A certificate authority for the length of a test."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away")])
        self.file = place / "ca.pem"
        own = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._write(self.file, own.sign(self._key, hashes.SHA256()))

    def issue(self, serial: int) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mediator")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = self._builder(name, key, serial).add_extension(names, critical=False)
        certificate, key_file = self._place / "cert.pem", self._place / "key.pem"
        self._write(certificate, builder.sign(self._key, hashes.SHA256()))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, key_file

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, serial: int = 1
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def _write(self, file: Path, certificate: x509.Certificate) -> None:
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


async def test_it_serves_https_and_wss_with_a_certificate_of_its_own() -> None:
    with folder() as place:
        authority = Authority(place)
        certificate, key = authority.issue(7)
        argv = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        with process([*run_argv(place / "m.db"), *argv]) as started:
            there = facts(started)
            assert there["http"].startswith("https://127.0.0.1:")
            assert there["ws"].startswith("wss://")
            trust = ssl.create_default_context(cafile=authority.file)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as http:
                alice = Party(http, there["did"], there["http"])
                await alice.register()
                async with alice.socket() as live:
                    await alice.forward(alice.did, {"n": 1})
                    assert len(await live.delivered(1)) == 1
            port = int(there["http"].rpartition(":")[2])
            assert served(port, trust) == 7
            authority.issue(8)
            started.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.5)
            assert served(port, trust) == 8
            key.write_text("broken")
            started.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.5)
            assert served(port, trust) == 8
            with pytest.raises(ssl.SSLError):
                served(port, ssl.create_default_context())


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_certificate_that_cannot_be_used_is_named(
    missing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with folder() as place:
        certificate, key = Authority(place).issue(1)
        {"certificate": certificate, "key": key}[missing].unlink()
        argv = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        with process([*run_argv(place / "m.db"), *argv]) as started:
            assert started.wait(timeout=10) == 1
    assert "mediator: cannot use the certificate" in capfd.readouterr().err


def served(port: int, trust: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection gets."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        trust.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
    ):
        certificate = secured.getpeercert()
        assert certificate
        return int(str(certificate["serialNumber"]), 16)


# A proxy before it

PROXIES = {"nginx": "/usr/sbin/nginx", "caddy": "/usr/bin/caddy"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROXIES)
async def test_the_example_of_a_proxy_passes_everything_on(name: str) -> None:
    program = shutil.which(name) or PROXIES[name]
    if not Path(program).exists():
        pytest.skip(f"no {name}: apt-get install {name}")
    port, behind = free_port(), free_port()
    public = ["--public-url", f"http://127.0.0.1:{port}"]
    trusted = ["--trusted-proxy", "127.0.0.1"]
    few = ["--limits-address-rate", "1", "--limits-address-burst", "5"]
    with (
        folder() as place,
        process([*run_argv(place / "m.db", behind), *public, *trusted, *few]) as started,
    ):
        there = facts(started)
        with proxy(name, program, place, port, behind):
            async with aiohttp.ClientSession() as http:
                alice = Party(http, there["did"], there["http"])
                await alice.register()
                async with alice.socket() as live:
                    await alice.forward(alice.did, {"n": 1})
                    assert len(await live.delivered(1)) == 1
                    assert (await alice.post(b"x" * 1_100_000)).status == 413
                if name == "nginx":  # Caddy throws away what clients claim
                    far, other = {"X-Forwarded-For": "10.9.1.1"}, {"X-Forwarded-For": "10.9.1.2"}
                    statuses = [(await alice.post(b"x", **far)).status for _ in range(8)]
                    assert statuses.count(429) in {2, 3}
                    assert (await alice.post(b"x", **other)).status == 400


@pytest.mark.slow
@pytest.mark.skipif(not Path(PROXIES["nginx"]).exists(), reason="needs nginx: apt-get install")
async def test_relayed_pairs_pass_the_example_of_nginx() -> None:
    port, behind = free_port(), free_port()
    public = ["--public-url", f"http://127.0.0.1:{port}"]
    with (
        folder() as place,
        process([*run_argv(place / "m.db", behind), *public]) as started,
    ):
        there = facts(started)
        with proxy("nginx", PROXIES["nginx"], place, port, behind):
            async with aiohttp.ClientSession() as http:
                alice = Party(http, there["did"], there["http"])
                await alice.register()
                answer = await alice.ask(Request("ab" * 32, 1).to_message())
            [pair] = Tickets.from_message(answer).pairs
            assert pair.websocket == f"ws://127.0.0.1:{port}/relay/1.0"
            one, two = (WebSocketRelay(pair.side(side, ["127.0.0.1"]), 9) for side in (0, 1))
            async with one, two, asyncio.timeout(20):
                while not (one.binding.other_bound and two.bound):
                    await asyncio.sleep(0.05)


@contextmanager
def proxy(name: str, program: str, place: Path, port: int, behind: int) -> Iterator[None]:
    """The example file, with the address and the port of this test and without a certificate."""
    if name == "nginx":
        text = (DEPLOY / "nginx.conf").read_text()
        kept = [line for line in text.splitlines() if not line.strip().startswith("ssl_cert")]
        text = "\n".join(line for line in kept if "[::]" not in line)
        text = text.replace("443 ssl http2", f"127.0.0.1:{port}").replace("8080", str(behind))
        file = place / "nginx.conf"
        paths = "".join(
            f"{kind}_temp_path {place}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file.write_text(
            f"daemon off; pid {place}/nginx.pid; error_log stderr;"
            f"events {{}} http {{ {paths} {text} }}"
        )
        argv = [program, "-p", str(place), "-c", str(file)]
    else:
        text = (DEPLOY / "Caddyfile").read_text().replace("8080", str(behind))
        file = place / "Caddyfile"
        file.write_text(
            "{\n\tadmin off\n\tauto_https off\n}\n"
            + text.replace("mediator.example {", f"http://127.0.0.1:{port} {{")
        )
        argv = [program, "run", "--config", str(file), "--adapter", "caddyfile"]
    with subprocess.Popen(argv, env={**os.environ, "HOME": str(place)}) as started:
        try:
            _wait_for(port, started)
            yield
        finally:
            started.terminate()


def _wait_for(port: int, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert started.poll() is None, "the proxy ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the proxy does not listen")


# The files that come with it


def test_the_example_of_a_configuration_is_one() -> None:
    config = load(DEPLOY / "mediator.toml", {}, {})
    assert config.public_url == "https://mediator.example"
    assert config.stun_ports == ()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / "didmesh-mediator.service"
    text = (DEPLOY / "didmesh-mediator.service").read_text()
    unit.write_text(text.replace("/opt/didmesh/.venv/bin/mediator", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    complaints = [line for line in verified.stderr.splitlines() if "didmesh" in line]
    assert complaints == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


def test_every_promise_on_the_page_names_tests_that_there_are() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    found = re.search(r"<!-- promises -->\n(.*?)<!-- /promises -->", page, re.DOTALL)
    assert found
    rows = found[1].splitlines()[2:]
    there = "".join(file.read_text() for file in (ROOT / "tests/mediator").rglob("test_*.py"))
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert names, row
        for name in names:
            assert f"def {name}(" in there, name


def test_the_exit_codes_on_the_page_are_those_of_the_help() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    for code in re.findall(r"^  (\d)  ", EXIT_CODES, re.MULTILINE):
        assert f"| {code} | " in page
