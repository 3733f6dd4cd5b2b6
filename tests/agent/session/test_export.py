"""A mesh exported: what other tools read in it, and who may ask for it."""

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.session.descriptor import Descriptor
from agent.session.export import MeshExport
from agent.telling import answering, ask
from agent.wireguard.config import Interface, Peer
from tests.support.sessions import described, make_parties

SECRET = b"s" * 32


def exported(rank: int = 1) -> MeshExport:
    found: Descriptor | None = described(make_parties(3)).machine(0).descriptor
    assert found is not None
    peers = tuple(
        Peer(bytes([other]) * 32, (f"{found.addresses[other]}/32",), b"p" * 32)
        for other in range(3)
        if other != rank
    )
    interface = Interface(SECRET, 50001, peers)
    endpoints = {peers[0].public_key: ("192.0.2.1", 7), peers[1].public_key: ("2001:db8::1", 8)}
    return MeshExport(found.content, found.id, rank, 1280, endpoints, interface)


def test_wg_quick_has_what_the_agent_s_own_interface_has() -> None:
    lines = exported().text("wg-quick").splitlines()
    assert lines[2:5] == [
        "[Interface]",
        "PrivateKey = c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M=",
        "ListenPort = 50001",
    ]
    assert lines[6:14] == [
        "MTU = 1280",
        "[Peer]",
        "PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "Endpoint = 192.0.2.1:7",
        "PersistentKeepalive = 25",
        "PresharedKey = cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=",
        lines[12],
        "[Peer]",
    ]
    assert lines[12].startswith("AllowedIPs = 10.")
    assert "Endpoint = [2001:db8::1]:8" in lines


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_mpyc_reads_its_file_as_we_mean_it(tmp_path: Path, rank: int) -> None:
    mesh = exported(rank)
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "party.ini").write_text(mesh.text("mpyc"))
    program = "from mpyc.runtime import mpc; import json; print(json.dumps([mpc.pid, "
    program += "[[p.host, p.port] for p in mpc.parties]]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "-C", "party.ini"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    places = zip(mesh.descriptor["mesh"]["ipv4"], mesh.descriptor["mesh"]["ports"], strict=True)
    wanted = [[host if n != rank else "localhost", port] for n, (host, port) in enumerate(places)]
    assert json.loads(done.stdout.splitlines()[-1]) == [rank, wanted]


def test_a_hosts_file_has_both_addresses_of_everybody() -> None:
    mesh = exported()
    title, *lines = mesh.text("hosts").splitlines()
    assert title.startswith("#")
    assert len(lines) == 6
    assert lines[0].split() == [mesh.descriptor["mesh"]["ipv4"][0], "party0"]


@pytest.mark.parametrize("kind", ["hosts", "mpyc", "json"])
def test_only_wg_quick_holds_keys(kind: str) -> None:
    assert "c3Nz" not in exported().text(kind)
    assert "cHBw" not in exported().text(kind)
    assert "sss" not in repr(exported())


def test_json_is_the_signed_descriptor_and_our_place_in_it() -> None:
    facts = json.loads(exported().text("json"))
    assert facts["rank"] == 1
    assert len(facts["descriptor"]["mesh"]["ipv4"]) == 3


async def test_a_session_answers_its_owner_alone_and_leaves_no_socket(tmp_path: Path) -> None:
    path = tmp_path / ("f" * 100) / "7-a.sock"  # longer than a socket's name may be
    path.parent.mkdir()
    async with answering(path, exported().text):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await asyncio.to_thread(ask, path, "hosts")).startswith("# session")
    assert not path.exists()


@pytest.mark.parametrize("question", ["", "passwd", "x" * 200, "\x00", "../json"])
async def test_any_other_question_gets_no_answer_and_harms_nothing(
    tmp_path: Path, question: str
) -> None:
    path = tmp_path / "7-a.sock"
    async with answering(path, exported().text):
        assert await asyncio.to_thread(ask, path, question) == ""
        assert await asyncio.to_thread(ask, path, "json")
