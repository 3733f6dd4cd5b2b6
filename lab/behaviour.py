"""What a NAT really does: mapping and filtering, measured from inside as in RFC 5780.

A reflector on two public addresses with two ports each answers with the address
it saw; asked to, it answers from another of its four sockets. The client's
verdicts are RFC 4787's words. Own datagrams (JSON), so that the lab believes
nothing of what it is there to test.

    python -m lab.behaviour reflect ADDRESS ADDRESS     # runs until it is ended
    python -m lab.behaviour measure ADDRESS ADDRESS     # prints one JSON object
"""

import json
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

from lab.commands import LabError
from lab.host import Host
from lab.nat import NatKind
from lab.topology import Lab

REFLECTOR = ("203.0.113.2", "192.0.2.2")
PORTS = (3478, 3479)
ATTEMPTS = 5  # of a question, when datagrams or the machine are slow
PATIENCE = 0.5  # seconds per attempt
GRACE = 0.2  # seconds in which a filtered answer might still follow an unfiltered one

EIM = "endpoint-independent"
AD = "address-dependent"
APD = "address-and-port-dependent"

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Behaviour:
    mapping: str
    filtering: str
    translated: bool  # whether the public address is another than the host's own


EXPECTED: Mapping[str, Behaviour] = {
    "public": Behaviour(EIM, EIM, False),
    NatKind.FULL_CONE: Behaviour(EIM, EIM, True),
    NatKind.ADDRESS_RESTRICTED: Behaviour(EIM, AD, True),
    NatKind.PORT_RESTRICTED: Behaviour(EIM, APD, True),
    NatKind.SYMMETRIC: Behaviour(APD, APD, True),
}


@dataclass(frozen=True)
class Answer:
    seen: Address
    special: bool  # from the socket that was asked for, not from the one that was asked


@dataclass(frozen=True)
class Verdict:
    """How a host's way to the internet behaves; verified if as the kind's name says."""

    host: str
    kind: str
    seen: Behaviour

    @property
    def verified(self) -> bool:
        return self.seen == EXPECTED[self.kind]


def check(lab: Lab, kinds: Mapping[str, str]) -> list[Verdict]:
    """Measure hosts (name -> NAT kind, or "public") all at once, from a reflector in `lab`."""
    reflector = lab.hosts.get("reflector") or lab.public("reflector", *REFLECTOR)
    module = [sys.executable, "-m", "lab.behaviour"]
    server = reflector.popen([*module, "reflect", *reflector.addresses], stdout=subprocess.PIPE)
    with server:
        try:
            assert server.stdout is not None
            server.stdout.readline()  # it has bound its sockets
            clients = {
                name: _start(lab.hosts[name], [*module, "measure", *reflector.addresses])
                for name in kinds
            }
            return [
                Verdict(name, kinds[name], _behaviour(name, client))
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
    print("ready", flush=True)
    while True:
        for sock in select.select(sockets.values(), [], [])[0]:
            data, source = sock.recvfrom(1500)
            question = json.loads(data)
            answer = {"id": question["id"], "seen": source}
            # The special answer first: whoever has the plain one waits no longer for it.
            if question["from"] is not None:
                special = sockets[tuple(question["from"])]
                special.sendto(json.dumps({**answer, "special": True}).encode(), source)
            sock.sendto(json.dumps({**answer, "special": False}).encode(), source)


def measure(addresses: list[str]) -> Behaviour:
    """Ask the reflector from this host, each filtering question from a fresh socket."""
    first, second = addresses
    with ExitStack() as stack:
        mapping, port, address = (stack.enter_context(_bound("0.0.0.0", 0)) for _ in range(3))
        seen = _ask(mapping, (first, PORTS[0]))[0]
        other_address = _ask(mapping, (second, PORTS[0]))[0]
        other_port = _ask(mapping, (second, PORTS[1]))[0]
        from_other_port = _ask(port, (first, PORTS[0]), (0, 1))[1]
        from_other_address = _ask(address, (first, PORTS[0]), (1, 1))[1]
        translated = seen != (_own_address(first), mapping.getsockname()[1])
    return Behaviour(
        mapping=EIM if seen == other_address else AD if other_address == other_port else APD,
        filtering=EIM if from_other_address else AD if from_other_port else APD,
        translated=translated,
    )


def _ask(
    sock: socket.socket, server: Address, special: tuple[int, int] | None = None
) -> tuple[Address, bool]:
    """Our address as the server saw it, and whether its special answer came through."""
    token = secrets.token_hex(8)
    question = json.dumps({"id": token, "from": special}).encode()
    for _ in range(ATTEMPTS):
        sock.sendto(question, server)
        answers = _answers(sock, token, None if special is None else GRACE)
        plain = [answer.seen for answer in answers if not answer.special]
        if plain:
            return plain[0], any(answer.special for answer in answers)
    raise TimeoutError(f"no answer from {server[0]}:{server[1]}")


def _answers(sock: socket.socket, token: str, grace: float | None) -> list[Answer]:
    """Answers until the plain one (and `grace` seconds longer), or until patience ends."""
    found: list[Answer] = []
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            break
        answer = json.loads(sock.recv(1500))
        if answer["id"] != token:
            continue
        found.append(Answer((answer["seen"][0], answer["seen"][1]), answer["special"]))
        if not answer["special"]:
            if grace is None:
                break
            deadline = time.monotonic() + grace
    return found


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def _own_address(towards: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((towards, 9))
        return str(sock.getsockname()[0])


if __name__ == "__main__":
    if sys.argv[1] == "reflect":
        reflect(sys.argv[2:])
    else:
        print(json.dumps(asdict(measure(sys.argv[2:]))))
