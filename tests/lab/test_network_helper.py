"""The network helper for real: namespaces, wireguard-go, other users. Needs root."""

import asyncio
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from agent.network_helper.checks import Check, parse, serialize
from agent.network_helper.client import (
    Child,
    HelperFailed,
    HelperRefused,
    NetworkHelper,
    PrivilegeMissing,
    Removed,
)
from agent.wireguard.config import Endpoint, Interface, Peer, PeerMtu

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces"),
    pytest.mark.skipif(not shutil.which("wg"), reason="needs wireguard-tools"),
]
USER = 65534
MTU = 1420
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h
STUN = bytes.fromhex("00010000 2112a442") + bytes(12)
CLEAN = Removed(interfaces=0, namespaces=0, processes=0)


async def test_two_parties_reach_each_other(mesh: "Mesh") -> None:
    began = time.monotonic()
    assert await mesh.exchange(b"hello") == b"hello"
    assert time.monotonic() - began < 1.0, "the first packet waited for a repeated handshake"
    (status,) = await mesh.one.status()
    assert time.time() - status.last_handshake < 10
    assert status.endpoint == ("192.0.2.2", 50002)
    assert status.rx_bytes > 0


async def test_the_mesh_is_still_there_after_seconds(mesh: "Mesh") -> None:
    await asyncio.sleep(2.5)  # wireguard-go looks for interfaces that went down once a second
    assert await mesh.exchange(b"still there") == b"still there"


@pytest.mark.parametrize("preshared", [(b"k" * 32, b"k" * 32)], indirect=True)
async def test_two_with_the_same_preshared_key_reach_each_other(mesh: "Mesh") -> None:
    assert await mesh.exchange(b"hello") == b"hello"


@pytest.mark.parametrize(
    "preshared", [(b"k" * 32, b"l" * 32), (b"k" * 32, None)], indirect=True, ids=["other", "none"]
)
async def test_who_has_another_preshared_key_is_not_let_in(mesh: "Mesh") -> None:
    with pytest.raises(TimeoutError):
        await mesh.exchange(b"hello", seconds=2)
    for helper in (mesh.one, mesh.two):
        (status,) = await helper.status()
        assert status.last_handshake == 0


async def test_a_new_endpoint_keeps_the_session(mesh: "Mesh") -> None:
    await mesh.exchange(b"before")
    (before,) = await mesh.one.status()
    await mesh.one.set_endpoints([mesh.endpoint_of_two(keepalive=5)])
    assert await mesh.exchange(b"after") == b"after"
    (after,) = await mesh.one.status()
    assert after.last_handshake == before.last_handshake


async def test_packets_are_small_until_the_peer_is_known_to_get_larger_ones(mesh: "Mesh") -> None:
    with await mesh.one.socket("udp") as one, await mesh.two.socket("udp") as two:
        two.bind(("10.7.0.2", 7000))
        one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        one.connect(("10.7.0.2", 7000))
        for mtu in (1280, 1420, 1280, 1328):
            if mtu != one.getsockopt(socket.IPPROTO_IP, IP_MTU):
                await mesh.one.set_mtus([mesh.mtu_of_two(mtu)])
            one.send(bytes(mtu - 28))
            with pytest.raises(OSError, match="too long"):
                one.send(bytes(mtu - 27))
            six = json.loads(await printed(mesh.one, PROGRAM_OF_ROUTES))
            assert six["fd07::2"] == [{"mtu": mtu, "advmss": 1360}]


async def test_an_open_connection_follows_the_mtu_both_ways(mesh: "Mesh") -> None:
    loop = asyncio.get_running_loop()
    with await mesh.one.socket("tcp") as one, await mesh.two.socket("tcp") as two:
        two.bind(("10.7.0.2", 7000))
        two.listen()
        await loop.sock_connect(one, ("10.7.0.2", 7000))
        accepted, _ = await loop.sock_accept(two)
        with accepted:
            for mtu in (1280, 1420, 1280):
                await mesh.one.set_mtus([mesh.mtu_of_two(mtu)])
                for _ in range(3):
                    await loop.sock_sendall(one, b"hello")
                    await loop.sock_recv(accepted, 100)
                timestamps = 12
                segment = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                assert segment == mtu - 40 - timestamps


async def test_wireguard_go_reads_no_more_packets_at_once_than_it_sends_in_one_call(
    mesh: "Mesh",
) -> None:
    datagram = 1420 + 32
    [most] = json.loads(await printed(mesh.one, PROGRAM_OF_READS))
    assert most * datagram <= 65_507 < (most + 1) * datagram


async def test_no_mtu_is_larger_than_the_interfaces(mesh: "Mesh") -> None:
    await mesh.one.remove()
    await mesh.one.create(["10.7.0.1"], 1400)
    await mesh.one.apply(mesh.interface_of_one())
    with pytest.raises(HelperRefused):
        await mesh.one.set_mtus([mesh.mtu_of_two(1420)])


async def test_checks_go_from_wireguards_port_and_only_stun_is_heard_there(mesh: "Mesh") -> None:
    with await mesh.one.checks() as one, await mesh.two.checks() as two:
        one.send(serialize(Check("192.0.2.2", 50002, STUN)))
        await mesh.exchange(b"WireGuard's own packets pass by meanwhile")
        assert parse(two.recv(2000)) == Check("192.0.2.1", 50001, STUN)
        for ear in (one, two):
            with pytest.raises(BlockingIOError):
                ear.recv(2000)


async def test_what_is_no_check_is_not_sent_and_harms_nothing(mesh: "Mesh") -> None:
    with await mesh.one.checks() as one, await mesh.two.checks() as two:
        for order in (b"x", bytes(1400), serialize(Check("192.0.2.2", 50002, bytes(100)))):
            one.send(order)
        one.send(serialize(Check("198.51.100.1", 1, STUN)))  # no route
        one.send(serialize(Check("192.0.2.2", 50002, STUN)))
        assert await mesh.exchange(b"goes on") == b"goes on"
        assert parse(two.recv(2000)) == Check("192.0.2.1", 50001, STUN)
        with pytest.raises(BlockingIOError):
            two.recv(2000)
    assert await mesh.exchange(b"and on") == b"and on"
    assert await mesh.one.remove() == CLEAN


async def test_a_flood_of_checks_is_lost_and_the_helper_still_answers(mesh: "Mesh") -> None:
    with await mesh.one.checks() as one, await mesh.two.checks():  # which nobody reads
        order = serialize(Check("192.0.2.2", 50002, STUN))
        for _ in range(5000):
            with contextlib.suppress(BlockingIOError):
                one.send(order)
        for helper in (mesh.one, mesh.two):
            async with asyncio.timeout(2):
                await helper.status()


async def test_a_thousand_checks_wait_for_whoever_is_busy(mesh: "Mesh") -> None:
    with await mesh.one.checks() as one, await mesh.two.checks() as two:
        order = serialize(Check("192.0.2.2", 50002, STUN))
        for _ in range(1000):
            one.send(order)
        async with asyncio.timeout(5):
            await mesh.one.status()
            await mesh.two.status()
            heard = 0
            while heard < 1000:
                with contextlib.suppress(BlockingIOError):
                    heard += bool(two.recv(2000))
                await asyncio.sleep(0)


async def test_nobody_but_the_parties_can_be_reached(mesh: "Mesh") -> None:
    for address in ("10.7.0.3", "192.0.2.2", "1.1.1.1"):
        with await mesh.one.socket("udp") as sender, pytest.raises(OSError, match="unreachable"):
            sender.sendto(b"hello", (address, 7))


async def test_the_session_is_not_seen_from_the_home(mesh: "Mesh") -> None:
    assert interfaces_of("dmtest1") == {"lo", "veth1"}
    assert not list(Path("/run/netns").glob("dm[0-9a-f]*"))


async def test_a_program_runs_as_the_user_with_nothing_but_the_mesh(mesh: "Mesh") -> None:
    facts = json.loads(await printed(mesh.one, PROGRAM_OF_FACTS))
    assert facts["uids"] == [USER] * 3
    assert 0 not in facts["gids"]
    assert facts["groups"] == []
    assert set(facts["capabilities"].values()) == {"0000000000000000"}
    assert facts["no_new_privileges"] == "1"
    assert facts["interfaces"] == ["lo", mesh.name_of_one]
    assert facts["descriptors"] == ["0", "1", "2"]
    assert facts["processes"] == ["1"]
    assert facts["environment"] == {"GREETING": "grüß dich", "LC_CTYPE": "C.UTF-8"}
    assert facts["folder"] == "/"


async def test_a_program_cannot_gain_privileges(mesh: "Mesh", open_folder: Path) -> None:
    trap = open_folder / "id"
    shutil.copy("/usr/bin/id", trap)
    trap.chmod(0o4755)
    assert subprocess.check_output([trap, "-u"], user=USER, text=True) == "0\n"  # outside it works
    attempts = PROGRAM_OF_ATTEMPTS.replace("SET_USER_ID", str(trap))
    attempts = attempts.replace("HELPER", str(mesh.one_pid))
    facts = json.loads(await printed(mesh.one, attempts))
    assert facts == {
        "become root": "EPERM",
        "another namespace": "EPERM",
        "a raw socket": "EPERM",
        "the helper's namespace": "ENOENT",
        "set-user-ID program": "65534",
    }


async def test_the_programs_environment_never_touches_a_privileged_process(
    mesh: "Mesh", open_folder: Path
) -> None:
    env = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(open_folder / "proof")}
    child = await mesh.one.launch(["/bin/true"], env, "/", *nothing())
    assert await child.wait() == 0
    traces = list(open_folder.glob("proof*"))
    assert traces, "the program itself leaves a trace"
    assert {trace.stat().st_uid for trace in traces} == {USER}


async def test_the_end_of_a_program_is_told_as_it_was(mesh: "Mesh") -> None:
    assert await ended(mesh.one, ["sh", "-c", "exit 3"]) == 3
    assert await ended(mesh.one, ["/no/such/program"]) == 1
    child = await mesh.one.launch(["true"], {}, "/no/such/folder", *nothing())
    assert await child.wait() == 1


async def test_a_killed_program_takes_its_descendants_along(mesh: "Mesh") -> None:
    script = "setsid sleep 987.1 & setsid sleep 987.2 & wait"
    child = await mesh.one.launch(["sh", "-c", script], {"PATH": "/bin"}, "/", *nothing())
    await until(lambda: len(running("987.")) >= 2)
    child.kill()
    assert await child.wait() == -9
    await until(lambda: not running("987."))


async def test_one_program_runs_at_a_time(mesh: "Mesh") -> None:
    child = await sleeping(mesh.one)
    with pytest.raises(HelperRefused):
        await sleeping(mesh.one)
    child.kill()
    await child.wait()
    assert await ended(mesh.one, ["true"]) == 0


async def test_removal_is_complete_and_can_be_repeated(mesh: "Mesh") -> None:
    child = await sleeping(mesh.one)
    assert await mesh.one.remove() == CLEAN
    assert await child.wait() == -9
    assert await mesh.one.remove() == CLEAN
    assert leftovers(mesh.name_of_one) == []


async def test_removal_says_when_something_is_left(mesh: "Mesh") -> None:
    with await mesh.one.socket("tcp"):
        assert await mesh.one.remove() == Removed(interfaces=0, namespaces=1, processes=0)


async def test_late_packets_are_redirected_until_the_path_has_settled(mesh: "Mesh") -> None:
    relay = ("192.0.2.3", 5000)
    await mesh.one.set_endpoints([mesh.endpoint_of_two(late=(relay,))])
    assert "192.0.2.3" in rules_of("dmtest1")
    await mesh.one.set_endpoints([mesh.endpoint_of_two()])
    assert rules_of("dmtest1") == ""


async def test_a_tunnel_leads_from_a_port_that_was_held_and_back_to_it(mesh: "Mesh") -> None:
    with in_home("dmtest1"):
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with source:
        source.bind(("0.0.0.0", 0))
        port = source.getsockname()[1]
        await mesh.one.hold(source, mesh.endpoint_of_two().address)
        await mesh.one.set_endpoints([replace(mesh.endpoint_of_two(), source_port=port)])
        assert await mesh.exchange(b"there and back") == b"there and back"
        (status,) = await mesh.two.status()
        assert status.endpoint == ("192.0.2.1", port)
    assert await mesh.one.remove() == CLEAN
    assert rules_of("dmtest1") == ""


async def test_a_port_of_another_network_or_that_nobody_has_shown_is_not_used(
    mesh: "Mesh",
) -> None:
    with (
        await mesh.one.socket("udp") as inside,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside,
    ):
        for other in (inside, outside):
            other.bind(("0.0.0.0", 0))
            with pytest.raises(HelperRefused, match="another network"):
                await mesh.one.hold(other, mesh.endpoint_of_two().address)
    with pytest.raises(HelperRefused, match="not held"):
        await mesh.one.set_endpoints([replace(mesh.endpoint_of_two(), source_port=40000)])


async def test_a_removal_ends_redirection(mesh: "Mesh") -> None:
    await mesh.one.set_endpoints([mesh.endpoint_of_two(late=(("192.0.2.3", 5000),))])
    assert await mesh.one.remove() == CLEAN
    assert rules_of("dmtest1") == ""


async def test_a_killed_helper_leaves_nothing(mesh: "Mesh") -> None:
    await mesh.one.set_endpoints([mesh.endpoint_of_two(late=(("192.0.2.3", 5000),))])
    child = await sleeping(mesh.one)
    os.kill(mesh.one_pid, signal.SIGKILL)
    with pytest.raises(HelperFailed):
        await child.wait()
    with pytest.raises(HelperFailed):
        await mesh.one.status()
    await until(lambda: not leftovers(mesh.name_of_one))


async def test_a_helper_killed_at_any_moment_leaves_nothing(homes: None) -> None:
    for step in range(20):
        with in_home("dmtest1"):
            agent = subprocess.Popen(
                [sys.executable, "-c", AN_AGENT],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        with agent:
            await until(partial(helpers_of, agent.pid))
            await asyncio.sleep(step * 0.015)
            for helper in helpers_of(agent.pid):
                os.kill(helper, signal.SIGKILL)
            agent.kill()
    await until(lambda: not leftovers("no name known"))
    await until(lambda: not subprocess.check_output(["ip", "netns", "pids", "dmtest1"]))


async def test_a_killed_agent_leaves_nothing(homes: None) -> None:
    with in_home("dmtest1"):
        agent = subprocess.Popen([sys.executable, "-c", AN_AGENT], stdout=subprocess.PIPE)
    with agent:
        assert agent.stdout is not None
        name = agent.stdout.readline().decode().strip()
        assert any("wireguard-go" in left for left in leftovers(name))
        agent.kill()
    await until(lambda: not leftovers(name))


async def test_an_interrupt_is_left_to_the_agent(mesh: "Mesh") -> None:
    os.kill(mesh.one_pid, signal.SIGINT)
    assert await mesh.exchange(b"still there") == b"still there"


async def test_a_terminated_helper_cleans_up(mesh: "Mesh") -> None:
    os.kill(mesh.one_pid, signal.SIGTERM)
    await until(lambda: not leftovers(mesh.name_of_one))


async def test_a_hostile_agent_changes_nothing(homes: None) -> None:
    with in_home("dmtest1"), hostile() as (agent, helper):
        assert ask(agent, b"x")["refused"]
        before = len(list(Path(f"/proc/{helper.pid}/fd").iterdir()))
        for data, descriptors in HOSTILE:
            assert ask(agent, data, descriptors)["refused"], data[:80]
        assert len(list(Path(f"/proc/{helper.pid}/fd").iterdir())) == before
        assert interfaces_of("dmtest1") == {"lo", "veth1"}
        assert ask(agent, b'{"request": "remove"}')["interfaces"] == 0


@pytest.mark.parametrize("uid", [[], ["--uid", "0"]])
def test_root_itself_is_not_served(uid: list[str]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        done = subprocess.run([*HELPER, *uid], stdin=theirs.fileno(), check=False)
        assert done.returncode == 1
        assert json.loads(ours.recv(1000)).keys() == {"refused"}


async def test_root_without_a_user_is_told_what_to_do() -> None:
    with pytest.raises(PrivilegeMissing) as missing:
        async with NetworkHelper.start(None):
            pass
    assert missing.value.exit_code == 7
    assert missing.value.hint


@pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo")
def test_an_ordinary_user_may_use_it_through_sudo() -> None:
    require_readable_checkout()
    rule = f"#{USER} ALL=(root) NOPASSWD: {' '.join(HELPER)}"
    assert as_user(AN_AGENT_OF_A_USER, rule) == "clean\n"


@pytest.mark.skipif(not shutil.which("sudo"), reason="needs sudo")
def test_a_user_without_permission_is_told_what_to_do() -> None:
    require_readable_checkout()
    assert as_user(AN_AGENT_OF_A_USER, "") == (
        "7 cannot start the network helper: sudo does not allow it\n"
    )


def test_an_ordinary_user_may_use_it_through_a_listening_socket(open_folder: Path) -> None:
    require_readable_checkout()
    path = open_folder / "helper.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen()
        program = f"HELPER_SOCKET = {str(path)!r}\n{AN_AGENT_OF_A_USER}"
        agent = subprocess.Popen(
            [sys.executable, "-c", program], user=USER, stdout=subprocess.PIPE, text=True
        )
        connection, _ = listening.accept()  # what systemd does with Accept=yes
        with connection:
            helper = subprocess.Popen(HELPER, stdin=connection.fileno())
        assert agent.communicate(timeout=20)[0] == "clean\n"
        assert helper.wait(5) == 0


HELPER = [sys.executable, "-I", "-m", "agent.network_helper"]

PROGRAM_OF_FACTS = """
import json, os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
folder = "/proc/self/fd/"
descriptors = [name for name in os.listdir(folder) if os.path.exists(folder + name)]
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
    "capabilities": {name: value.strip() for name, value in status.items() if name[:3] == "Cap"},
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "descriptors": descriptors,
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
    "environment": dict(os.environ), "folder": os.getcwd(),
}))
"""

PROGRAM_OF_READS = (
    f"ip = {shutil.which('ip')!r}\n"
    + """
import json, subprocess
told = json.loads(subprocess.check_output([ip, "-details", "-j", "link"]))
print(json.dumps([link["gso_max_segs"] for link in told if link["ifname"] != "lo"]))
"""
)

PROGRAM_OF_ROUTES = (
    f"ip = {shutil.which('ip')!r}\n"
    + """
import json, subprocess
told = subprocess.check_output([ip, "-6", "-j", "route"])
print(json.dumps({route["dst"]: route.get("metrics") for route in json.loads(told)}))
"""
)

PROGRAM_OF_ATTEMPTS = """
import ctypes, errno, json, os, shutil, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def outcome(attempt):
    try:
        if attempt() == -1:
            return errno.errorcode[ctypes.get_errno()]
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print(json.dumps({
    "become root": outcome(lambda: os.setuid(0)),
    "another namespace": outcome(lambda: libc.unshare(0x40000000)),
    "a raw socket": outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "the helper's namespace": outcome(lambda: os.open("/proc/HELPER/ns/net", 0)),
    "set-user-ID program": subprocess.check_output(["SET_USER_ID", "-u"], text=True).strip(),
}))
"""

AN_AGENT = """
import asyncio
from agent.network_helper.client import NetworkHelper
from agent.network_helper.checks import Check, parse, serialize
from agent.wireguard.config import Endpoint, Interface, Peer
async def main():
    async with NetworkHelper.start(65534) as helper:
        created = await helper.create(["10.7.0.1"], 1280)
        peer = Peer(b"\\1" * 32, ("10.7.0.2/32",))
        await helper.apply(Interface(b"\\2" * 32, 50001, (peer,)))
        late = (("192.0.2.3", 5000),)
        await helper.set_endpoints([Endpoint(b"\\1" * 32, ("192.0.2.2", 50002), 25, late)])
        await helper.launch(["sleep", "988"], {"PATH": "/bin"}, "/", 0, 1, 2)
        print(created.interface, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""

AN_AGENT_OF_A_USER = """
import asyncio, pathlib
from agent.network_helper import client
if "HELPER_SOCKET" in globals():
    client.HELPER_SOCKET = pathlib.Path(HELPER_SOCKET)
async def main():
    async with client.NetworkHelper.start() as helper:
        await helper.create(["10.7.0.1"], 1280)
        print("clean" if await helper.remove() == client.Removed(0, 0, 0) else "not clean")
try:
    asyncio.run(main())
except client.PrivilegeMissing as missing:
    print(int(missing.exit_code), missing)
"""

CREATE = {"request": "create", "addresses": ["10.7.0.1"], "mtu": 1280}
HOSTILE: list[tuple[bytes, int]] = [
    (b'{"request": "status"}', 0),
    (b'{"request": "socket", "kind": "tcp"}', 0),
    (b'{"request": "launch", "argv": ["id"], "env": {}, "cwd": "/"}', 3),
    (json.dumps(CREATE | {"addresses": ["10.7.0.1\nlink add evil type veth"]}).encode(), 0),
    (json.dumps(CREATE | {"addresses": ["192.0.2.1"]}).encode(), 0),
    (json.dumps(CREATE | {"mtu": 10**30}).encode(), 0),
    (json.dumps(CREATE).encode(), 1),
    (json.dumps(CREATE).encode(), 9),
    (json.dumps(CREATE).encode().ljust(100_000), 0),
    (b"[" * 50_000, 0),
    *((random.Random(n).randbytes(100), n % 5) for n in range(200)),
]


class Mesh:
    """Two helpers in two homes, one WireGuard pair."""

    def __init__(
        self, one: NetworkHelper, two: NetworkHelper, preshared: Sequence[bytes | None]
    ) -> None:
        self.one, self.two = one, two
        self._preshared = preshared
        self._keys = PrivateKey.generate(), PrivateKey.generate()
        assert one._process is not None
        self.one_pid = one._process.pid

    async def start(self) -> None:
        created, _ = await asyncio.gather(
            self.one.create(["10.7.0.1", "fd07::1"], MTU),
            self.two.create(["10.7.0.2", "fd07::2"], MTU),
        )
        self.name_of_one = created.interface
        await self.one.apply(self._interface(0))
        await self.two.apply(self._interface(1))
        await self.one.set_endpoints([self.endpoint_of_two()])
        await self.two.set_endpoints([Endpoint(self._key(0), ("192.0.2.1", 50001), 25)])

    def endpoint_of_two(
        self, keepalive: int = 25, late: tuple[tuple[str, int], ...] = ()
    ) -> Endpoint:
        return Endpoint(self._key(1), ("192.0.2.2", 50002), keepalive, late)

    def mtu_of_two(self, mtu: int) -> PeerMtu:
        return PeerMtu(self._key(1), mtu)

    def interface_of_one(self) -> Interface:
        return self._interface(0)

    def _key(self, rank: int) -> bytes:
        return bytes(self._keys[rank].public_key)

    def _interface(self, rank: int) -> Interface:
        other = 1 - rank
        addresses = f"10.7.0.{other + 1}/32", f"fd07::{other + 1}/128"
        peer = Peer(self._key(other), addresses, self._preshared[rank])
        return Interface(bytes(self._keys[rank]), 50001 + rank, (peer,))

    async def exchange(self, data: bytes, seconds: float = 7) -> bytes:
        """Send from one to two, and back what came."""
        loop = asyncio.get_running_loop()
        with await self.one.socket("udp") as one, await self.two.socket("udp") as two:
            one.bind(("10.7.0.1", 0))
            two.bind(("10.7.0.2", 7000))
            async with asyncio.timeout(seconds):
                await loop.sock_sendto(one, data, ("10.7.0.2", 7000))
                came, source = await loop.sock_recvfrom(two, 100)
                await loop.sock_sendto(two, came, source)
                return await loop.sock_recv(one, 100)


@pytest.fixture
def homes() -> Iterator[None]:
    subprocess.run(["ip", "-batch", "-"], input=HOMES, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "-batch", "-"], input=NO_HOMES, text=True, check=True)


HOMES = """
netns add dmtest1
netns add dmtest2
link add veth1 netns dmtest1 type veth peer name veth2 netns dmtest2
"""
NO_HOMES = "netns del dmtest1\nnetns del dmtest2\n"


@pytest.fixture
def preshared(request: pytest.FixtureRequest) -> tuple[bytes | None, bytes | None]:
    """Of each of the two; the same where a test says nothing else."""
    keys: tuple[bytes | None, bytes | None] = getattr(request, "param", (None, None))
    return keys


@pytest.fixture
async def mesh(homes: None, preshared: tuple[bytes | None, bytes | None]) -> AsyncIterator[Mesh]:
    for n in (1, 2):
        lines = f"addr add 192.0.2.{n}/24 dev veth{n}\nlink set veth{n} up\nlink set lo up\n"
        command = ["ip", "-netns", f"dmtest{n}", "-batch", "-"]
        subprocess.run(command, input=lines, text=True, check=True)
    async with contextlib.AsyncExitStack() as stack:
        helpers = []
        for home in ("dmtest1", "dmtest2"):
            with in_home(home):
                helpers.append(await stack.enter_async_context(NetworkHelper.start(USER)))
        made = Mesh(helpers[0], helpers[1], preshared)
        await made.start()
        yield made


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where every user can read and write."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@contextlib.contextmanager
def in_home(name: str) -> Iterator[None]:
    """What this thread starts meanwhile, starts in that home."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as here, Path("/run/netns", name).open() as there:
        assert libc.setns(there.fileno(), 0) == 0
        try:
            yield
        finally:
            assert libc.setns(here.fileno(), 0) == 0


@contextlib.contextmanager
def hostile() -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            helper = subprocess.Popen([*HELPER, "--uid", str(USER)], stdin=theirs.fileno())
        assert json.loads(ours.recv(1000)) == {"serving": USER}
        yield ours, helper
    assert helper.wait(5) == 0


def ask(agent: socket.socket, data: bytes, descriptors: int = 0) -> dict[str, Any]:
    with Path("/dev/null").open() as nothing:
        socket.send_fds(agent, [data], [nothing.fileno()] * descriptors)
    reply: dict[str, Any] = json.loads(agent.recv(10_000))
    return reply


def as_user(program: str, sudo_rule: str) -> str:
    """Run Python as the user, in a mount namespace in which sudo knows one rule."""
    script = (
        'mount -t tmpfs -o mode=0755 tmpfs /etc/sudoers.d && echo "$1" > /etc/sudoers.d/rule && '
        'exec setpriv --reuid="$2" --regid="$2" --clear-groups -- "$3" -c "$4"'
    )
    words = [sudo_rule, str(USER), sys.executable, program]
    return subprocess.check_output(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words], text=True, timeout=30
    )


def require_readable_checkout() -> None:
    tried = subprocess.run(
        [sys.executable, "-c", "import agent"], user=USER, stderr=subprocess.DEVNULL, check=False
    )
    if tried.returncode != 0:
        pytest.skip("ordinary users cannot read this checkout")


async def printed(helper: NetworkHelper, program: str) -> str:
    argv = [sys.executable, "-I", "-S", "-c", program]
    reading, writing = os.pipe()
    with Path("/dev/null").open() as nothing:
        child = await helper.launch(
            argv, {"GREETING": "grüß dich"}, "/", nothing.fileno(), writing, 2
        )
    os.close(writing)
    assert await child.wait() == 0
    with os.fdopen(reading) as pipe:
        return pipe.read()


async def ended(helper: NetworkHelper, argv: list[str]) -> int:
    child = await helper.launch(argv, {"PATH": "/usr/bin:/bin"}, "/", *nothing())
    return await child.wait()


async def sleeping(helper: NetworkHelper) -> Child:
    return await helper.launch(["sleep", "989"], {"PATH": "/bin"}, "/", *nothing())


def nothing() -> tuple[int, int, int]:
    return 0, 1, 2


def interfaces_of(home: str) -> set[str]:
    shown = subprocess.check_output(["ip", "-netns", home, "-json", "link"])
    return {link["ifname"] for link in json.loads(shown)}


def rules_of(home: str) -> str:
    return subprocess.check_output(
        ["ip", "netns", "exec", home, "nft", "list", "ruleset"], text=True
    )


def leftovers(interface: str) -> list[str]:
    """Whatever still speaks of the session, anywhere on the machine."""
    left = running(interface) + running("sleep 988") + running("sleep 989")
    for home in ("dmtest1", "dmtest2"):
        left += [name for name in interfaces_of(home) if name == interface]
        left += rules_of(home).splitlines()
    left += [str(path) for path in Path("/run/wireguard").glob(f"{interface}*")]
    numbers = subprocess.check_output(["ip", "netns", "exec", "dmtest1", "ip", "netns", "list-id"])
    return left + [line for line in numbers.decode().splitlines() if "iproute2" not in line]


def helpers_of(agent: int) -> list[int]:
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text()
    return [int(child) for child in children.split()]


def running(word: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if word in command and process.name != str(os.getpid()):
                found.append(command)
    return found


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
