"""The demo tells the truth about what its commands did, good or bad, and cleans up after both.

Commands that only pretend, in a real lab: what the real ones do is the last test's matter.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import demo as scenario
from lab import runs
from lab.demo import EXPECTED, Commands, demo
from lab.facts import Facts
from lab.screen import Screen

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

MEDIATOR = """
import json, os, signal, sys, time
assert os.getuid() == 64100 and sys.argv[1] == "run", sys.argv
print(json.dumps({"did": "did:stub:mediator"}), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(100)
"""

# A party that does everything as it should; {twist} runs in party1 before its events are told.
AGENT = """
import json, os, pathlib, subprocess, sys, time
home = pathlib.Path(os.environ["DIDMESH_HOME"])
me = int(os.environ["DIDMESH_USER"]) - 64101
dids = ["did:stub:%d" % n for n in range(3)]
if sys.argv[1] == "create-did":
    assert os.getuid() == 64101 + me and home.stat().st_mode & 0o777 == 0o700
    (home / "keystore").write_text("keys")
    print(json.dumps({"did": dids[me]}))
    sys.exit(0)
assert os.getuid() == 0
words = sys.argv[2:]
given = dict(zip(words[1::2], words[2::2])) | {"with": [
    after for before, after in zip(words, words[1:]) if before == "--with"]}
assert given["--order"] == ",".join(dids) and dids[me] not in given["with"], words
assert given["--input"] == "bid=%d" % (120, 150, 135)[me]
now = 1_000_000.0 + me
events = [
    {"event": "step", "t": now, "name": "found", "text": "all are there"},
    {"event": "mesh", "t": now, "seconds": 1.5},
    *({"event": "path", "t": now, "party": "party%d" % other, "did": dids[other],
       "kind": "direct", "endpoint": "203.0.113.%d:40000" % (11 + other), "rtt_ms": 0.5,
       "local_kind": "host", "remote_kind": "srflx"} for other in range(3) if other != me),
    {"event": "cleanup", "t": now, "interfaces": 0, "namespaces": 0, "processes": 0},
    {"event": "result", "t": now, "output": "winner=party1 price=135\\n", "exit_code": 0,
     "transcript": None},
]
def change(name, **facts):
    for event in events:
        if event["event"] == name:
            event.update(facts)
(home / "transcripts").mkdir()
(home / "transcripts" / "session.json").write_text("signed")
code = 0
if me == 1:
    TWIST
for event in events:
    print(json.dumps(event), flush=True)
sys.exit(code)
"""


def test_a_good_run_is_told_with_all_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = _play("pass")
    assert facts.shortcoming() is None
    told = facts.to_json()
    assert told.pop("total_seconds") < 30
    assert told == {
        "ok": True,
        "error": None,
        "hint": None,
        "parties": [{"did": f"did:stub:{n}", "result": EXPECTED, "exit_code": 0} for n in range(3)],
        "pairs": [
            {
                "a": f"party{a}",
                "b": f"party{b}",
                "path": "direct",
                "endpoint": f"203.0.113.{11 + b}:40000",
                "endpoint_back": f"203.0.113.{11 + a}:40000",
                "rtt_ms": 0.5,
            }
            for a, b in ((0, 1), (0, 2), (1, 2))
        ],
        "mesh_seconds": 3.5,  # from the first one's offer to the last one's handshake
        "nats": [
            {
                "home": f"home{n}",
                "kind": "port-restricted",
                "mapping": "endpoint-independent",
                "filtering": "address-and-port-dependent",
                "verified": True,
            }
            for n in range(3)
        ],
        "cleanup": {"interfaces": 0, "namespaces": 0, "processes": 0, "keys": 0},
    }
    scenario.show(Screen(), facts)
    words = capsys.readouterr().out
    assert words.count("all are there") == 3
    assert words.count(EXPECTED) == 6  # as it came, and in the table at the end


@pytest.mark.parametrize(
    ("twist", "shortcoming"),
    [
        pytest.param(
            'change("result", output="winner=party1 price=150\\n")',
            "party1 printed 'winner=party1 price=150' instead of 'winner=party1 price=135'",
            id="another result",
        ),
        pytest.param(
            'change("result", output="winner=party1 price=135 \\n")',
            "party1 printed 'winner=party1 price=135 ' instead of 'winner=party1 price=135'",
            id="a result with a blank too many",
        ),
        pytest.param(
            'change("path", kind="relayed")',
            "party0 and party1 were not connected directly at both ends",
            id="one end relayed",
        ),
        pytest.param(
            'change("path", endpoint="203.0.113.99:40000")',
            "party0 - party1: 203.0.113.99:40000 is not party0's home",
            id="an endpoint that is nobody's home",
        ),
        pytest.param(
            'events[:] = [event for event in events if event["event"] != "mesh"]',
            "not every party reported its mesh",
            id="no mesh",
        ),
        pytest.param(
            'events.append({"event": "error", "text": "lost party2", '
            '"hint": "ask them", "exit_code": 1}); code = 1',
            "party1 ended with exit code 1: lost party2",
            id="a failure that explains itself",
        ),
        pytest.param(
            'sys.exit("no such thing")',
            "party1 ended with exit code 1: no such thing",
            id="a failure on standard error",
        ),
        pytest.param(
            'change("cleanup", namespaces=1)',
            "something was left: namespaces: reported by party1",
            id="a namespace that the party itself reports",
        ),
        pytest.param(
            'subprocess.run(["ip", "link", "add", "wg7", "type", "bridge"], check=True)',
            "something was left: interfaces: home1/wg7",
            id="an interface",
        ),
        pytest.param(
            'subprocess.Popen(["env", "-i", "sleep", "77"], stdout=2, start_new_session=True)',
            "something was left: processes: sleep 77",
            id="a process",
        ),
    ],
)
def test_whatever_is_not_as_it_should_be_is_told_and_cleaned_up(
    twist: str, shortcoming: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario, "SECONDS_TO_DISAPPEAR", 0.2)
    before = _made_here()
    facts = _play(twist)
    assert facts.shortcoming() == shortcoming
    assert facts.to_json()["ok"] is False
    assert _made_here() <= before


def test_a_party_that_never_ends_is_told_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "SECONDS_FOR_SESSION", 8.0)
    facts = _play("time.sleep(100)")
    assert facts.shortcoming() == "party1 did not end in 8 s"
    assert [party.exit_code for party in facts.parties] == [0, None, 0]


@pytest.mark.parametrize(
    "twist",
    [
        '(home / "sessions").mkdir(); (home / "sessions" / "inputs.json").write_text("{}")',
        'pathlib.Path(os.environ["TMPDIR"], "key").write_text("secret")',
        'pathlib.Path("/run/wg7.sock").write_text("")',
    ],
    ids=["in the home", "in the folder for temporary files", "in /run"],
)
def test_a_key_left_behind_is_told_by_its_path(twist: str) -> None:
    facts = _play(twist)
    assert facts.cleanup.counts() == {"interfaces": 0, "namespaces": 0, "processes": 0, "keys": 1}
    assert "something was left: keys: /run/" in (facts.shortcoming() or "")


def test_a_mediator_that_does_not_start_is_told_with_its_own_words() -> None:
    mediator = (sys.executable, "-c", "raise SystemExit('mediator: port is taken')")
    facts = demo(Screen(), Commands(mediator=mediator))
    assert facts.shortcoming() == "the mediator does not start: mediator: port is taken"


def test_a_mediator_that_ends_badly_is_told() -> None:
    killed = MEDIATOR.replace("sys.exit(0)", "sys.exit(3)")
    facts = _play("pass", mediator=killed)
    assert facts.shortcoming() == "the mediator ended with exit code 3 when it was told to end"


@pytest.mark.alone
def test_three_parties_behind_nats_run_the_auction_and_leave_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "demo", "--json"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["ok"] is True
    assert [party["result"] for party in facts["parties"]] == [EXPECTED] * 3
    assert [party["exit_code"] for party in facts["parties"]] == [0, 0, 0]
    assert len({party["did"] for party in facts["parties"]}) == 3
    assert [(pair["a"], pair["b"], pair["path"]) for pair in facts["pairs"]] == [
        ("party0", "party1", "direct"),
        ("party0", "party2", "direct"),
        ("party1", "party2", "direct"),
    ]
    assert [(nat["kind"], nat["verified"]) for nat in facts["nats"]] == [
        ("port-restricted", True)
    ] * 3
    assert facts["cleanup"] == {"interfaces": 0, "namespaces": 0, "processes": 0, "keys": 0}
    # Seconds are a busy machine's as much as ours: they are shown, not judged.
    print(f"mesh {facts['mesh_seconds']} s, {facts['total_seconds']} s in all")


def _made_here() -> set[str]:
    """Of all labs on this machine those that this process made."""
    mine = f"didmesh-lab-{os.getpid()}-"
    return {run for run in runs.find() if run.startswith(mine)}


def _play(twist: str, mediator: str = MEDIATOR) -> Facts:
    python = (sys.executable, "-c")
    agent = (*python, AGENT.replace("TWIST", twist))
    return demo(Screen(), Commands(agent=agent, mediator=(*python, mediator)))
