"""Ports are opened by Debian's miniupnpd, closed again, and a hostile router gains nothing."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.boxes import port_mapping_daemon
from lab.host import Home, Host
from lab.topology import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(port_mapping_daemon() is None, reason="needs Debian's miniupnpd-nftables"),
]

SOMEBODY = 64109
STRANGER = "198.51.100.20"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.public("stranger", STRANGER)
        lab.home("home", nat="symmetric", port_mapping=True)
        lab.home("hostile", nat="port-restricted")
        yield lab


# Maps port 5000 in one way, answers whoever comes, and gives it back when its input ends.
MAP = """
import asyncio, json, sys
from agent.connection import port_mapping, upnp

async def main(way):
    gateway = port_mapping.find_gateway()
    asking = {
        "all": lambda: port_mapping.map_port(5000, 5.0),
        "datagrams": lambda: port_mapping._by_datagrams(gateway, 5000),
        "upnp": lambda: upnp.open_port(gateway, 5000),
    }
    mapped = await asking[way]()
    print(json.dumps([mapped.protocol, *mapped.external, mapped.lifetime, mapped.double_nat]))
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Echo, ("0.0.0.0", 5000))
    await loop.run_in_executor(None, sys.stdin.read)
    await port_mapping.release(mapped)

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, source):
        self.transport.sendto(data, source)

asyncio.run(main(sys.argv[1]))
"""
KNOCK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(0.2)
    for _ in range(5):
        sock.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
        try:
            print(sock.recv(100).decode())
            break
        except TimeoutError:
            pass
    else:
        print("silence")
"""


@pytest.mark.parametrize(
    ("way", "protocol"), [("all", "pcp"), ("datagrams", "pcp"), ("upnp", "upnp-igd")]
)
def test_a_real_router_opens_a_port_until_it_is_given_back(
    lab: Lab, way: str, protocol: str
) -> None:
    home, stranger = lab.homes["home"], lab.hosts["stranger"]
    with _running(home.host, MAP, way) as mapping:
        assert mapping.stdout is not None
        assert mapping.stdin is not None
        said, host, port, lifetime, double_nat = json.loads(mapping.stdout.readline())
        assert (said, host, lifetime, double_nat) == (protocol, home.address, 1800, False)
        words = ["python", "-c", KNOCK, host, str(port)]
        assert stranger.run(words) == "hello\n"
        assert "dnat" in _rules(home)
        mapping.stdin.close()
        assert mapping.wait(10) == 0
    _wait_until_closed(home)
    assert stranger.run(words) == "silence\n"


KEEP = """
import asyncio, dataclasses, sys
from agent.connection import port_mapping

async def main():
    mapped = await port_mapping.map_port(5000, 5.0)
    short = dataclasses.replace(mapped, lifetime=1)
    changes = []
    keeping = asyncio.create_task(port_mapping.keep_mapped(short, changes.append))
    print("kept", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    print(changes)

asyncio.run(main())
"""


def test_a_mapping_is_renewed_while_it_is_kept_and_deleted_after_it(lab: Lab) -> None:
    home = lab.homes["home"]
    with _running(home.host, KEEP) as keeping:
        assert keeping.stdout is not None
        assert keeping.stdin is not None
        keeping.stdout.readline()
        home.router.run(["nft", "flush", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"])
        deadline = time.monotonic() + 5
        while "dnat" not in _rules(home):  # the renewal brings it back
            assert time.monotonic() < deadline
            time.sleep(0.05)
        keeping.stdin.close()
        assert keeping.stdout.read() == b"[]\n"  # the same address all the time
    _wait_until_closed(home)


GATEWAY = "from agent.connection import port_mapping; print(port_mapping.find_gateway())"


def test_only_a_private_gateway_before_a_private_address_is_asked(lab: Lab) -> None:
    assert "192.168.1.1" in lab.homes["home"].host.run(["python", "-c", GATEWAY], user=SOMEBODY)
    assert lab.hosts["stranger"].run(["python", "-c", GATEWAY], user=SOMEBODY) == "None\n"


DESCRIPTION = (
    b"<root><device><service>"
    b"<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
    b"<controlURL>/control</controlURL></service></device></root>"
)
OK = b"HTTP/1.1 200 OK\r\n\r\n"
# To the request for the description; "grow" adds a megabyte, "stay" keeps the connection open.
ANSWERS: dict[str, tuple[Any, ...]] = {
    "no HTTP": (b"hello\r\n\r\n",),
    "it hangs up": (b"",),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://198.51.100.20:80/\r\n\r\n",),
    "a page without an end": (OK + b"<a>", "stay"),
    "a megabyte": (OK, "grow"),
    "a promise of a terabyte": (OK[:-2] + b"Content-Length: 1099511627776\r\n\r\n<a>", "stay"),
    "an endless header": (OK[:-2] + b"X: ", "grow"),
    "a thousand headers": (OK[:-2] + b"".join(b"X%d: a\r\n" % n for n in range(4000)),),
    "entities": (OK + b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',),
    "something compressed": (OK[:-2] + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",),
    "another's service": (
        OK + DESCRIPTION.replace(b"/control", b"http://198.51.100.20:80/control"),
    ),
    "a service that refuses": (OK + DESCRIPTION,),
}
HOSTILE = """
import select, socket, sys
search = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
search.bind(("192.168.1.1", 1900))
door = socket.create_server(("192.168.1.1", 8080))
print("ready", flush=True)
held = []
while True:
    for sock in select.select([search, door], [], [])[0]:
        if sock is search:
            data, source = search.recvfrom(2000)
            search.sendto(
                b"HTTP/1.1 200 OK\\r\\n"
                b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\\r\\n"
                b"LOCATION: http://192.168.1.1:8080/\\r\\n\\r\\n", source)
            continue
        caller = door.accept()[0]
        caller.recv(2000)
        try:
            caller.sendall(bytes.fromhex(sys.argv[1]) + b"a" * (("grow" in sys.argv) << 20))
        except OSError:
            pass
        if "stay" in sys.argv:
            held.append(caller)
        else:
            caller.close()
"""
ASK = """
import asyncio, resource, time
from agent.connection import port_mapping, upnp
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
async def main():
    async with asyncio.timeout(15):
        return await upnp.open_port(port_mapping.find_gateway(), 5000)
print(asyncio.run(main()))
assert time.monotonic() - began < 10
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
"""


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_router_gets_no_mapping_no_time_and_no_memory(lab: Lab, name: str) -> None:
    home = lab.homes["hostile"]
    answer, *how = ANSWERS[name]
    with _running(home.router, HOSTILE, answer.hex(), *how) as router:
        assert router.stdout is not None
        router.stdout.readline()
        assert home.host.run(["python", "-W", "error", "-c", ASK], user=SOMEBODY) == "None\n"


@contextmanager
def _running(host: Host, script: str, *words: str) -> "Iterator[subprocess.Popen[bytes]]":
    process = host.popen(
        ["python", "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(5)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _rules(home: Home) -> str:
    return home.router.run(["nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd"])


def _wait_until_closed(home: Home) -> None:
    deadline = time.monotonic() + 3
    while "dnat" in _rules(home):
        assert time.monotonic() < deadline
        time.sleep(0.05)
