"""Every state of a session as a person sees it, from the events that commands tell.

The command that runs the session is one that prints events which a test wrote; all other commands
are real.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.launch.describing import to_json
from agent.launch.difference import difference
from agent.launch.program import load_folder
from agent.page.server import PageServer
from tests.support import looks
from tests.support.axe import faults
from tests.support.browser import Chromium, Tab, find_browser
from tests.support.internet import MANIFEST
from tests.support.sessions import make_parties, transcripts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium"),
]
TELLER = """
import json, os, pathlib, signal, sys
if sys.argv[1] not in ("host", "join", "run"):
    os.execv(sys.executable, [sys.executable, "-m", "agent", *sys.argv[1:]])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # so that it waits for us, too
told = json.loads(pathlib.Path(os.environ["TOLD"]).read_text())
for event in told["events"]:
    print(json.dumps(event), flush=True)
if told["code"] is None:
    signal.sigwait([signal.SIGINT])
sys.exit(told["code"] or 0)
"""
LINK = (
    "https://mediator.example/i/?_oob=" + "eyJ0eXAiOiJhcHBsaWNhdGlvbi9kaWRjb21t" * 9 + "#c2Fs.dG9r"
)
LONG = "Wilhelmina Constantinopoulos-Featherstonehaugh of the western office"
WORDS = "lemon river stone anchor"


def event(kind: str, /, **facts: Any) -> dict[str, Any]:
    return {"event": kind, "t": time.time(), **facts}


def lobby(what: str, text: str, **facts: Any) -> dict[str, Any]:
    return event("lobby", what=what, text=text, **facts)


class Table:
    """What is told at a table of five, whose first is us."""

    def __init__(self, me: str) -> None:
        others = [party.did for party in make_parties(4)]
        self.me, self.dids = me, [me, *others]
        self.names = ["", "bob", LONG, "", "dave"]

    def roster(self, *stages: str, seats: int = 5, role: str = "party") -> dict[str, Any]:
        seat = [
            {
                "did": did,
                "role": role,
                "stage": stage,
                "calls_itself": name,
                "contact": name if name == "bob" else None,
                "verified": name == "bob",
            }
            for did, name, stage in zip(self.dids, self.names, stages, strict=False)
        ]
        free = seats - len(stages)
        waiting = [f"{free} more to knock"] if free else []
        facts = {"roster": seat, "seats": seats, "free": free, "locked": False, "waiting": waiting}
        return lobby("roster", "the roster has changed", **facts)

    def paths(self) -> list[dict[str, Any]]:
        found = [
            {"kind": "direct", "endpoint": "203.0.113.7:41641", "rtt_ms": 23.4},
            {
                "kind": "relay",
                "endpoint": "198.51.100.10:41003",
                "rtt_ms": 148.2,
                "why": "none of 4 addresses answered, and none of their checks reached us: both"
                " NATs have address-and-port-dependent mapping",
                "next_try": int(time.time()) + 40,
            },
            {
                "kind": "degraded",
                "endpoint": "wss://mediator.example/relay",
                "rtt_ms": 310.0,
                "why": "UDP blocked",
            },
        ]
        return [
            event("path", party=f"party{rank}", did=self.dids[rank], **facts)
            for rank, facts in enumerate(found, 1)
        ]


def proven(table: Table) -> dict[str, Any]:
    roster = table.roster("ready", "ready")
    text = "bob@uni.example by https://login.uni.example"
    roster["roster"][1]["claims"] = [{"kind": "login", "who": "", "by": "", "text": text}]
    return roster


def states(me: str, program: Mapping[str, Any]) -> dict[str, tuple[list[dict[str, Any]], Any, str]]:
    """By name: what was told, the exit code, and what is to be seen."""
    table = Table(me)
    opened = [
        lobby("open", f"the lobby is open: {LINK}", link=LINK, expires=2_000_000_000),
        lobby("code", "or say: lemon river stone", code="lemon-river-stone"),
    ]
    ready = table.roster(*["ready"] * 5)
    mesh = [ready, *table.paths(), event("mesh", seconds=1.234)]
    ask = {
        "admit": {"text": f'Let unknown {table.dids[2][:31]}…, calls itself "{LONG}" in?'},
        "program": {"text": "May it run?", "program": program},
        "input": {"text": "your bid", "name": "bid", "title": "your number", "min": 1, "max": 9},
        "phrase": {"text": "Does everybody read the same?", "words": WORDS},
        "knock": {"text": "bob calls you: an auction (3 parties). Knock there?"},
    }
    asked = {
        kind: [event("question", question=1, kind=kind, did=table.dids[2], **facts)]
        for kind, facts in ask.items()
    }
    lost = "party2 was lost: nothing came from it for 21 s"
    return {
        "hosting": ([*opened, table.roster("ready")], None, "Waiting for 4 more to knock"),
        "knock": ([*opened, table.roster("ready"), *asked["admit"]], None, "Somebody knocks"),
        "claims": (
            [event("question", question=1, kind="claims", text="Show this: a login at X?")],
            None,
            "Who you are is asked for",
        ),
        "login": ([lobby("login", "log in", url="https://login.example/a?b=c")], None, "Log in"),
        "proven": ([*opened, proven(table)], None, "bob@uni.example by https://login.uni.example"),
        "filling": ([*opened, table.roster("ready", "ready", "admitted")], None, "Seats: 3 of 5"),
        "called": (asked["knock"], None, "You are called"),
        "fetching": (
            [ready, lobby("piece", "the program: 2 of 5 pieces", have=2, of=5)],
            None,
            "Fetching the program",
        ),
        "consent": ([ready, *asked["program"]], None, "May this program run"),
        "input": ([ready, *asked["input"]], None, "Your bid"),
        "phrase": ([ready, *asked["phrase"]], None, WORDS),
        "running": (
            [*mesh, event("step", name="started", text="the program has started")],
            None,
            "relayed over a stream",
        ),
        "result": (
            [
                *mesh,
                event("cleanup", interfaces=0, namespaces=0, processes=0),
                event("result", output="winner=party1 price=135\n", exit_code=0, transcript=None),
            ],
            0,
            "winner=party1 price=135",
        ),
        "lost": (
            [*mesh, event("error", text=lost, hint=None, exit_code=1)],
            1,
            "party2 was lost",
        ),
        "refused": (
            [
                {
                    "error": "cannot start the network helper: sudo: a password is required",
                    "hint": "add --rootless, or run the command with sudo, or let your user run"
                    " this without a password: sudo -n /opt/didmesh/bin/python -I -m"
                    " agent.network_helper",
                    "exit_code": 7,
                }
            ],
            7,
            "cannot start the network helper",
        ),
    }


NAMES = list(states("did:example:me", {}))


@pytest.fixture
async def browser(
    chrome: Chromium, server: PageServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Tab]:
    monkeypatch.setattr("agent.page.job.AGENT", (sys.executable, "-c", TELLER))
    monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
    async with chrome.tab() as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
async def test_every_state_fits_and_can_be_used_by_everybody(
    server: PageServer, browser: Tab, tmp_path: Path, name: str
) -> None:
    me = server.choice.card().did
    events, code, words = states(me, consent(tmp_path))[name]
    (tmp_path / "told.json").write_text(json.dumps({"events": events, "code": code}))
    await browser.open(server.url)
    order = {"command": "join", "link": LINK}
    await browser.evaluate(f"import('/api.js').then(({{ post }}) => post('start', {order}))")
    await browser.until(f"document.body.innerText.includes({json.dumps(words)})")
    await looks.check(browser, f"state-{name}")
    assert browser.complaints == []


async def test_what_happens_meanwhile_takes_the_keyboard_from_nobody(
    server: PageServer, browser: Tab, tmp_path: Path
) -> None:
    table = Table(server.choice.card().did)
    told = tmp_path / "told.json"
    first = [lobby("open", "the lobby is open", link=LINK), table.roster("ready")]
    more = [table.roster("ready", "ready"), lobby("ready", "bob is ready")]
    told.write_text(json.dumps({"events": first, "code": None}))
    await browser.open(server.url)
    order = {"command": "host", "program": "auction"}
    await browser.evaluate(f"import('/api.js').then(({{ post }}) => post('start', {order}))")
    await browser.until("document.querySelector('#now button')")
    lock = "[...document.querySelectorAll('#now button')].find(b => b.textContent === 'Lock')"
    await browser.evaluate(f"{lock}.focus()")
    assert server._job is not None
    server._job.events.extend(more)
    server._job._tell()
    await browser.until("document.body.innerText.includes('Seats: 2 of 5')")
    assert await browser.evaluate(f"document.activeElement === {lock}")
    assert await browser.evaluate("document.activeElement.textContent") == "Lock"


async def test_the_mesh_is_told_in_words_with_why_a_pair_is_relayed(
    server: PageServer, browser: Tab, tmp_path: Path
) -> None:
    events, code, _ = states(server.choice.card().did, consent(tmp_path))["running"]
    (tmp_path / "told.json").write_text(json.dumps({"events": events, "code": code}))
    await browser.open(server.url)
    await browser.evaluate("import('/api.js').then(({ post }) => post('start', {command: 'join'}))")
    told = await browser.until("document.querySelector('#mesh desc')?.textContent")
    assert "You to bob: direct, 23 ms." in told
    assert "relayed, 148 ms, since none of 4 addresses answered" in told
    assert "relayed over a stream, 310 ms, since UDP blocked." in told
    assert "no path yet." in told
    rows = await browser.evaluate(
        "[...document.querySelectorAll('#mesh .seats li')].map((row) => row.innerText)"
    )
    assert len(rows) == 4
    assert "tries again in" in rows[1]
    drawn = await browser.evaluate(
        "[...document.querySelectorAll('#mesh svg .rtt')].map((label) => label.textContent)"
    )
    assert drawn == ["23 ms", "148 msrelayed", "310 msstream"]


async def test_the_proof_of_a_session_stands_under_its_result(
    server: PageServer, browser: Tab, tmp_path: Path
) -> None:
    transcript = transcripts()[0]
    folder = server.choice.folder / "transcripts"
    folder.mkdir()
    path = folder / f"{transcript['session'][:16]}.json"
    path.write_text(json.dumps(transcript))
    result = event("result", output="sum=3\n", exit_code=0, transcript=str(path))
    (tmp_path / "told.json").write_text(json.dumps({"events": [result], "code": 0}))
    await browser.open(server.url)
    await browser.evaluate("import('/api.js').then(({ post }) => post('start', {command: 'join'}))")
    await browser.until("document.querySelector('#result .verdict .good')")
    assert await browser.evaluate("document.querySelectorAll('#result li.ready').length") == 3
    assert await faults(browser) == []


def consent(folder: Path) -> dict[str, Any]:
    """A program that differs from the version that was approved."""
    versions = []
    for number, main in enumerate(("print('sum')\n", "print('sum')\nsend('everything')\n")):
        place = folder / str(number)
        place.mkdir()
        (place / "manifest.toml").write_text(MANIFEST)
        (place / "main.py").write_text(main)
        versions.append(load_folder(place))
    return to_json(versions[1], difference(*versions), approved=False)
