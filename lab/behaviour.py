"""What a NAT really does: mapping, filtering, ports and hairpin, measured from inside.

As in RFC 5780: a reflector on two public addresses with two ports each answers with
the address it saw; asked to, it answers from another of its four sockets. It listens
for TCP as well, for NATs that let nothing else out. The verdicts are RFC 4787's words;
IPv6 is asked the same questions, and its firewalls only filter.
Own datagrams (JSON), so that the lab believes nothing of what it is there to test.

    python -m lab.behaviour reflect ADDRESS ADDRESS     # runs until it is ended
    python -m lab.behaviour measure ADDRESS ADDRESS     # prints one JSON object
"""

import itertools
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from lab.commands import LabError
from lab.host import Host
from lab.nat import AD, APD, EIM, Nat, NatKind, Passes, Ports
from lab.topology import Lab

REFLECTOR = ("203.0.113.2", "192.0.2.2")
PORTS = (3478, 3479)
ATTEMPTS = 5  # of a question, when datagrams or the machine are slow
PATIENCE = 0.5  # seconds per attempt
GRACE = 0.2  # seconds in which a filtered answer might still follow an unfiltered one
BLOCKED_AFTER = 2  # attempts; a slow machine is told from a closed way by TCP

TCP_PORTS = (443, 8443)
STEP = 8  # the next of sequential ports is at most this far away

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Behaviour:
    """Without UDP (`passes` says so), there is nothing to be said of the first three."""

    mapping: str | None
    filtering: str | None
    ports: str | None
    translated: bool  # whether the public address is another than the host's own
    hairpin: bool  # whether two sockets here reach each other by their public addresses
    passes: str


PUBLIC = Behaviour(EIM, EIM, Ports.PRESERVED, False, True, Passes.ALL)
FIREWALLED = Behaviour(EIM, APD, Ports.PRESERVED, False, True, Passes.ALL)
BEHIND_NOTHING = "public"


def expected(nat: Nat) -> Behaviour:
    """How somebody behind this NAT finds its way out to be."""
    if nat.passes is not Passes.ALL:
        return Behaviour(None, None, None, True, False, nat.passes)
    return Behaviour(nat.mapping, nat.filtering, nat.ports, True, nat.hairpin, nat.passes)


EXPECTED: Mapping[str, Behaviour] = {
    BEHIND_NOTHING: PUBLIC,
    **{kind: expected(kind.nat) for kind in NatKind},
}


@dataclass(frozen=True)
class Answer:
    seen: Address
    special: bool  # it says that it is from the socket that was asked for
    source: Address


@dataclass(frozen=True)
class Verdict:
    """How a host's way to the internet behaves; verified if as it has to be."""

    host: str
    kind: str
    seen: Behaviour
    wanted: Behaviour

    @property
    def verified(self) -> bool:
        return self.seen == self.wanted


def check(
    lab: Lab,
    kinds: Mapping[str, str],
    wanted: Mapping[str, Behaviour] = EXPECTED,
    *,
    ipv6: bool = False,
) -> list[Verdict]:
    """Measure hosts (name -> kind) all at once, from a reflector in `lab`, by IPv4 or IPv6.

    `wanted` says of each kind what it has to be; NAT kinds and "public" unless given.
    """
    reflector = lab.hosts.get("reflector") or lab.public("reflector", *REFLECTOR)
    addresses = reflector.addresses6 if ipv6 else reflector.addresses
    module = [sys.executable, "-m", "lab.behaviour"]
    server = reflector.popen([*module, "reflect", *addresses], stdout=subprocess.PIPE)
    with server:
        try:
            assert server.stdout is not None
            server.stdout.readline()  # it has bound its sockets
            clients = {
                name: _start(lab.hosts[name], [*module, "measure", *addresses]) for name in kinds
            }
            return [
                Verdict(name, kinds[name], _behaviour(name, client), wanted[kinds[name]])
                for name, client in clients.items()
            ]
        finally:
            server.kill()


def _start(host: Host, argv: list[str]) -> "subprocess.Popen[bytes]":
    return host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _behaviour(name: str, client: "subprocess.Popen[bytes]") -> Behaviour:
    with client:
        output, errors = client.communicate(timeout=30)
    if client.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines() or ["no answer"]
        raise LabError(f"{name}: the NAT behaviour test failed: {words[-1]}")
    return Behaviour(**json.loads(output))


def reflect(addresses: list[str]) -> None:
    """Answer questions on every address and port until ended."""
    sockets = {
        (a, p): _bound(address, port)
        for a, address in enumerate(addresses)
        for p, port in enumerate(PORTS)
    }
    family = _family(addresses[0])
    doors = [socket.create_server((addresses[0], port), family=family) for port in TCP_PORTS]
    print("ready", flush=True)
    while True:
        for sock in select.select([*sockets.values(), *doors], [], [])[0]:
            if sock in doors:
                sock.accept()[0].close()
                continue
            data, source = sock.recvfrom(1500)
            question = json.loads(data)
            answer = {"id": question["id"], "seen": source[:2]}
            # The special answer first: whoever has the plain one waits no longer for it.
            if question["from"] is not None:
                special = sockets[tuple(question["from"])]
                special.sendto(json.dumps({**answer, "special": True}).encode(), source)
            sock.sendto(json.dumps({**answer, "special": False}).encode(), source)


def measure(addresses: list[str]) -> Behaviour:
    """Ask the reflector from this host, each filtering question from a fresh socket."""
    passes = _passes(addresses[0])
    if passes is not Passes.ALL:
        return Behaviour(None, None, None, True, False, passes)
    first, second = addresses
    with ExitStack() as stack:
        mapping, port, address = (stack.enter_context(_any(first)) for _ in range(3))
        seen = _ask(mapping, (first, PORTS[0]))[0]
        other_address = _ask(mapping, (second, PORTS[0]))[0]
        other_port = _ask(mapping, (second, PORTS[1]))[0]
        seen_port, port_sources = _ask(port, (first, PORTS[0]), (0, 1))
        seen_address, address_sources = _ask(address, (first, PORTS[0]), (1, 1))
        from_other_port = port_sources == {(first, PORTS[1])}
        from_other_address = address_sources == {(second, PORTS[1])}
        own = [sock.getsockname()[1] for sock in (mapping, port, address)]
        return Behaviour(
            mapping=EIM if seen == other_address else AD if other_address == other_port else APD,
            filtering=EIM if from_other_address else AD if from_other_port else APD,
            ports=_ports(own, [seen, other_address, other_port, seen_port, seen_address]),
            translated=seen != (_own_address(first), own[0]),
            hairpin=_hairpin(port, seen_port, address, seen_address),
            passes=passes,
        )


def _ports(own: list[int], seen: list[Address]) -> Ports:
    """The rule behind the public ports, in the order in which they were seen."""
    ports = list(dict.fromkeys(port for _, port in seen))
    if set(ports) == set(own):
        return Ports.PRESERVED
    steps = [after - before for before, after in itertools.pairwise(ports)]
    return Ports.SEQUENTIAL if all(0 < step <= STEP for step in steps) else Ports.RANDOM


def _hairpin(one: socket.socket, one_seen: Address, two: socket.socket, two_seen: Address) -> bool:
    """Whether datagrams between the public endpoints of two inside sockets arrive, both ways.

    They must also come from the public endpoint (RFC 4787, REQ-9).
    """
    word = secrets.token_bytes(8)
    for _ in range(BLOCKED_AFTER):
        two.sendto(word, one_seen)
        one.sendto(word, two_seen)
        if all(
            _comes(sock, word) == {source} for sock, source in ((one, two_seen), (two, one_seen))
        ):
            return True
    return False


def _comes(sock: socket.socket, word: bytes) -> set[Address]:
    """From where this word comes within a moment."""
    while select.select([sock], [], [], GRACE)[0]:
        data, source = sock.recvfrom(1500)
        if data == word:
            return {(source[0], source[1])}
    return set()


def _passes(address: str) -> Passes:
    """What gets out of here: UDP is asked first, as it is the usual case."""
    with _any(address) as sock:
        try:
            _ask(sock, (address, PORTS[0]), attempts=BLOCKED_AFTER)
        except TimeoutError:
            pass
        else:
            return Passes.ALL
    try:
        _connects(address, TCP_PORTS[0], ATTEMPTS * PATIENCE)
    except TimeoutError:
        _connects_through_proxy(address, TCP_PORTS[0])
        return Passes.PROXY
    try:
        _connects(address, TCP_PORTS[1], PATIENCE)
    except TimeoutError:
        return Passes.HTTPS
    return Passes.TCP


def _connects(address: str, port: int, timeout: float) -> None:
    socket.create_connection((address, port), timeout).close()


def _connects_through_proxy(address: str, port: int) -> None:
    """Raises: OSError or TimeoutError, also if this place has no proxy."""
    proxy = urlsplit(os.environ.get("https_proxy", ""))
    if proxy.hostname is None or proxy.port is None:
        raise TimeoutError(f"nothing leads to {address}, and there is no proxy")
    with socket.create_connection((proxy.hostname, proxy.port), ATTEMPTS * PATIENCE) as sock:
        sock.sendall(f"CONNECT {address}:{port} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        answer = sock.recv(1500)
    if b" 200 " not in answer:
        raise OSError(f"the proxy answers {answer[:40]!r}")


def _ask(
    sock: socket.socket,
    server: Address,
    special: tuple[int, int] | None = None,
    attempts: int = ATTEMPTS,
) -> tuple[Address, set[Address]]:
    """Our address as the server saw it, and from where its special answer came through, if it did.

    A NAT that shows another source than the true one has let nothing through that is of use.
    """
    token = secrets.token_hex(8)
    question = json.dumps({"id": token, "from": special}).encode()
    for _ in range(attempts):
        sock.sendto(question, server)
        answers = _answers(sock, token, None if special is None else GRACE)
        plain = [answer.seen for answer in answers if not answer.special]
        if plain:
            return plain[0], {answer.source for answer in answers if answer.special}
    raise TimeoutError(f"no answer from {server[0]}:{server[1]}")


def _answers(sock: socket.socket, token: str, grace: float | None) -> list[Answer]:
    """Answers until the plain one (and `grace` seconds longer), or until patience ends."""
    found: list[Answer] = []
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            break
        data, source = sock.recvfrom(1500)
        answer = json.loads(data)
        if answer["id"] != token:
            continue
        seen, answerer = tuple(answer["seen"]), (source[0], source[1])
        found.append(Answer(seen, answer["special"], answerer))
        if not answer["special"]:
            if grace is None:
                break
            deadline = time.monotonic() + grace
    return found


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def _any(towards: str) -> socket.socket:
    return _bound("::" if ":" in towards else "0.0.0.0", 0)


def _own_address(towards: str) -> str:
    with socket.socket(_family(towards), socket.SOCK_DGRAM) as sock:
        sock.connect((towards, 9))
        return str(sock.getsockname()[0])


if __name__ == "__main__":
    if sys.argv[1] == "reflect":
        reflect(sys.argv[2:])
    else:
        print(json.dumps(asdict(measure(sys.argv[2:]))))
