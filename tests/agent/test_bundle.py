"""A bundle for a bug report: what it holds, what it never holds, and pseudonyms."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.pseudonyms import Pseudonyms
from agent.running import RunningSession, Traces
from tests.support.json_shapes import BUNDLE, DOCTOR, NETCHECK, check_shape

ROOT = Path(__file__).parents[2]
DID = "did:peer:2.Ez6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc.Vz6MkqRYqQiSgvZQdnBytw86Qbs2"
HASH = "0123456789abcdef" * 4
KEY = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE="

HIDDEN = {
    "a DID": (DID, "did-1"),
    "a DID in a sentence": (f"no answer from {DID}.", "no answer from did-1."),
    "a shortened DID": ("did:peer:2.Ez6LS…Qbs2 is silent", "did-1 is silent"),
    "a did:web with a host": ("did:web:bob.example:users:bob", "did-1"),
    "a public address": ("198.51.100.7:4711", None),
    "a private address": ("we: 192.168.1.5", "we: private-ipv4-1"),
    "the internet's": ("8.8.8.8", "public-ipv4-1"),
    "IPv6": ("[2606:4700::1111]:3478", "[public-ipv6-1]:3478"),
    "IPv6 without a port": ("fd00::1 answers", "private-ipv6-1 answers"),
    "a URL": ("https://mediator.example/didcomm", "https://host-1/didcomm"),
    "a URL with a port": ("http://mediator.example:8080", "http://host-1:8080"),
    "a URL with a password": ("http://me:secret@proxy.example:3128", "http://host-1:3128"),
    "a URL with an address": ("http://192.168.1.1:80/x", "http://private-ipv4-1:80/x"),
    "a host": ("cannot reach mediator.example: refused", "cannot reach host-1: refused"),
    "a hash": (f"session {HASH}", "session hash-1"),
    "what could be a key": (f"peer {KEY}", "peer hash-1"),
    "a contact's name": ("Alice Liddell is silent", "name-1 is silent"),
    "a home folder": ("/home/alice/.didmesh/profiles/x.age", "name-1/.didmesh/profiles/x.age"),
}
KEPT = (
    "127.0.0.1:8080",
    "localhost",
    "1.2.3",
    "none of 2 addresses answered",
    "30 s",
    "::1",
    "x.py",
)


@pytest.mark.parametrize("name", HIDDEN)
def test_what_tells_who_or_where_is_replaced(name: str) -> None:
    text, wanted = HIDDEN[name]
    hidden = Pseudonyms(["/home/alice", "Alice Liddell"]).text(text)
    if wanted is not None:
        assert hidden == wanted
    assert "198.51" not in hidden


@pytest.mark.parametrize("text", KEPT)
def test_what_tells_nothing_stays(text: str) -> None:
    assert Pseudonyms().text(text) == text


def test_one_original_has_one_word_and_two_have_two() -> None:
    hide = Pseudonyms().hide
    value = {"parties": [DID, "did:web:bob.example"], "paths": {DID: {"endpoint": "10.0.0.1:5"}}}
    assert hide(value) == {
        "parties": ["did-1", "did-2"],
        "paths": {"did-1": {"endpoint": "private-ipv4-1:5"}},
    }
    assert hide("10.0.0.1 and 10.0.0.2") == "private-ipv4-1 and private-ipv4-2"


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "{}:4711", "at {},", "({})", "http://{}/x"]))
def test_no_address_of_ipv4_is_left(address: Any, around: str) -> None:
    hidden = Pseudonyms().text(around.format(address))
    assert str(address) not in hidden or address.is_loopback or address.is_unspecified


@given(st.ip_addresses(v=6), st.sampled_from(["{}", "[{}]:4711", "at {},", "http://[{}]:80/x"]))
def test_no_address_of_ipv6_is_left(address: Any, around: str) -> None:
    hidden = Pseudonyms().text(around.format(address))
    assert str(address) not in hidden or address.is_loopback or address.is_unspecified


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    Pseudonyms(["x"]).text(text)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DIDMESH_USER", "nobody")
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "correct horse battery staple")
    return tmp_path


def test_the_archive_holds_no_keys_and_nobody(home: Path) -> None:
    did = json.loads(agent("create-did", "--unencrypted", "--json").stdout)["did"]
    secrets = set(re.findall(r"[A-Za-z0-9_-]{30,}", profile_of(home)))
    traces = Traces(home / "home")
    other = "did:web:bob.example"
    paths = {other: {"kind": "relay", "endpoint": "198.51.100.10:41000", "why": f"{other} is far"}}
    traces.write(RunningSession(os.getpid(), HASH, (did, other), paths))
    try:
        done = agent("bundle", "--json", "--output", str(home / "b.tar.gz"))
        plain = agent("bundle", "--plain", "--output", str(home / "plain.tar.gz"))
    finally:
        traces.remove()
    assert done.returncode == 0, done.stderr
    assert plain.returncode == 0, plain.stderr
    told = json.loads(done.stdout)
    check_shape(told, BUNDLE)
    files, shown = contents(home / "b.tar.gz"), contents(home / "plain.tar.gz")
    assert set(files) == set(told["holds"])
    everything = json.dumps(files)
    for secret in (did, other, HASH, "198.51.100.10", str(home), platform.node()):
        assert secret not in everything
    assert other in json.dumps(shown)  # as it is, on demand
    for text in (everything, json.dumps(shown)):
        assert "correct horse" not in text
        assert not [secret for secret in secrets if secret in text and secret not in did]
    [session] = files["sessions.json"]
    assert list(session["paths"]) == [session["parties"][1]]
    assert session["paths"][session["parties"][1]]["why"] == f"{session['parties'][1]} is far"
    check_shape(files["doctor.json"], DOCTOR)
    check_shape(files["netcheck.json"], NETCHECK)


def test_the_archive_is_ours_alone_and_replaces_nothing(home: Path) -> None:
    path = home / "b.tar.gz"
    path.write_text("mine")
    refused = agent("bundle", "--output", str(path))
    assert refused.returncode == 2
    assert path.read_text() == "mine"
    path.unlink()
    assert agent("bundle", "--output", str(path)).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600


def profile_of(home: Path) -> str:
    return (home / "home" / "profiles" / "default.json").read_text()


def contents(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("didmesh-bundle/")] = json.loads(file.read())
        return found


def agent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
