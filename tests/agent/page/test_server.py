"""The page's server, asked by its page and by everybody else who can reach loopback."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from typing import Any

import aiohttp
import pytest

from agent.page.job import Job
from agent.page.orders import Order
from agent.page.server import PageServer
from agent.profile import PASSPHRASE_VARIABLE
from tests.support.sessions import transcripts
from tests.support.stub_mediator import StubMediator

FILES = ("", "main.js", "style.css", "icon.svg")
CALLS = {
    "GET": ("news", "kept"),
    "POST": ("start", "answer", "stop", "ask", "create", "verify", "qr"),
}


async def call(
    server: PageServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[aiohttp.ClientResponse, bytes]:
    url = f"http://127.0.0.1:{server.guard.port}/{path}"
    data = None if method == "GET" else io.BytesIO(json.dumps(body or {}).encode())
    given = {"Content-Type": "application/json", **headers}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, data=data, headers=given) as answer,
    ):
        return answer, await answer.read()


async def told(server: PageServer, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    bearer = f"Bearer {server.guard.token}"
    answer, content = await call(server, method, f"api/{path}", body, Authorization=bearer)
    return answer.status, json.loads(content)


async def test_files_need_no_token_and_hold_no_secret(server: PageServer) -> None:
    for path in FILES:
        answer, content = await call(server, "GET", path)
        assert answer.status == 200
        assert server.guard.token.encode() not in content
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "TOKEN", "Host": "evil.example"},
        {"Authorization": "TOKEN", "Origin": "https://evil.example"},
        {"Authorization": "TOKEN", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=["no token", "another user's guess", "a rebound name", "another page", "a link"],
)
async def test_nobody_but_the_page_is_answered(server: PageServer, headers: dict[str, str]) -> None:
    given = {
        name: value.replace("TOKEN", f"Bearer {server.guard.token}")
        for name, value in headers.items()
    }
    for method, paths in CALLS.items():
        for path in paths:
            answer, content = await call(server, method, f"api/{path}", **given)
            assert answer.status == 403, path
            assert set(json.loads(content)) == {"error"}


async def test_a_rebound_name_gets_not_even_the_page(server: PageServer) -> None:
    answer, _ = await call(server, "GET", "", Host=f"evil.example:{server.guard.port}")
    assert answer.status == 403


async def test_no_other_address_of_this_machine_leads_to_it(server: PageServer) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", server.guard.port)


async def test_a_form_of_another_page_cannot_post(server: PageServer) -> None:
    """What needs no preflight is not JSON by its name; and a preflight is never allowed."""
    answer, _ = await call(
        server,
        "POST",
        "api/stop",
        Authorization=f"Bearer {server.guard.token}",
        **{"Content-Type": "text/plain"},
    )
    assert answer.status == 400
    answer, _ = await call(server, "OPTIONS", "api/stop", Origin="https://evil.example")
    assert answer.status == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["news?since=-1", "news?since=x", "news?wait=99999999999"])
async def test_numbers_are_numbers(server: PageServer, path: str) -> None:
    status, answer = await told(server, "GET", path)
    assert (status, set(answer)) == (400, {"error", "hint"})


@pytest.mark.parametrize("path", ["../pyproject.toml", "server.py", "assets/main.js", "%2e%2e/x"])
async def test_nothing_but_the_page_is_served(server: PageServer, path: str) -> None:
    answer, _ = await call(server, "GET", path)
    assert answer.status == 404


async def test_a_command_answers_as_it_does_with_json(server: PageServer) -> None:
    status, me = await told(server, "POST", "ask", {"command": "me"})
    assert status == 200
    assert me["did"].startswith("did:peer:2")
    status, refused = await told(server, "POST", "ask", {"command": "program", "program": "none"})
    assert status == 400
    assert "none" in refused["error"]


async def test_who_has_no_identity_makes_one_and_goes_on_without_being_asked_again(
    empty_server: PageServer,
) -> None:
    assert not (await told(empty_server, "GET", "kept"))[1]["profile"]
    async with StubMediator().running() as stub:
        asked = {"mediator": stub.url, "passphrase": "open sesame"}
        status, made = await told(empty_server, "POST", "create", asked)
        assert (status, made["registered"]) == (200, True)
        status, mail = await told(empty_server, "POST", "ask", {"command": "status"})
        assert (status, mail["did"]) == (200, made["did"])  # its keys were opened
    assert (await told(empty_server, "GET", "kept"))[1]["profile"]
    [keys] = (empty_server.choice.folder / "profiles").glob("default.age")
    assert keys.read_bytes().startswith(b"age-encryption.org/")
    status, refused = await told(empty_server, "POST", "create", asked)
    assert status == 400
    assert "already" in refused["error"]


async def test_a_mediator_that_is_not_there_leaves_no_identity_behind(
    empty_server: PageServer,
) -> None:
    asked = {"mediator": "http://127.0.0.1:1", "passphrase": "open sesame"}
    status, refused = await told(empty_server, "POST", "create", asked)
    assert status == 400
    assert "127.0.0.1:1" in refused["error"]
    assert not (await told(empty_server, "GET", "kept"))[1]["profile"]
    assert PASSPHRASE_VARIABLE not in os.environ


async def test_a_session_tells_its_events_and_how_it_ended(server: PageServer) -> None:
    """This profile has no mediator: the command says so, and the page can start another."""
    order = {"command": "host", "program": "auction", "seats": "3", "inputs": ["bid=120"]}
    status, _ = await told(server, "POST", "start", order)
    assert status == 200
    async with asyncio.timeout(60):
        while (news := (await told(server, "GET", "news?wait=5"))[1])["code"] is None:
            pass
    assert news["code"] != 0
    assert news["events"][-1]["error"]
    assert news["words"][:2] == ["agent", "host"]
    assert "120" not in " ".join(news["words"])


READER = """
import json, sys
words = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
read = {name: open(value.lstrip("@")).read() for name, value in words.items()}
print(json.dumps({"event": "read", "arguments": sys.argv[1:], "read": read}))
"""


async def test_inputs_and_a_vouch_are_handed_over_in_files_that_only_the_command_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.page.job.AGENT", (sys.executable, "-c", READER))
    job = Job(Order(("join",), ("bid=120", "other=1"), "a.b.c"))
    await job.run(None)
    [told] = job.events
    assert told["read"] == {"--input": "bid=120\nother=1", "--claim": "a.b.c"}
    assert not any(secret in str(told["arguments"]) for secret in ("120", "a.b.c"))


async def test_transcripts_of_several_parties_are_compared(server: PageServer) -> None:
    one, two, three = map(json.dumps, transcripts())
    folder = server.choice.folder / "transcripts"
    folder.mkdir()
    own = f"{json.loads(one)['session'][:16]}.json"
    (folder / own).write_text(one)
    files = [{"name": own, "text": two}, {"name": own, "text": three}]
    status, same = await told(server, "POST", "verify", {"transcript": own, "files": files})
    assert (status, same["complete"], same["differences"]) == (200, True, [])
    lacking = json.loads(two)
    lacking["statements"].pop()
    files[0]["text"] = json.dumps(lacking)
    _, differ = await told(server, "POST", "verify", {"transcript": own, "files": files})
    assert differ["differences"] == [f"{own} lacks the result of party2"]
    _, another = await told(
        server, "POST", "verify", {"files": [*files, {"name": "x", "text": "{}"}]}
    )
    assert another["error"].startswith("x is not a transcript")


async def test_a_long_transcript_is_taken_and_a_longer_one_is_not(server: PageServer) -> None:
    for size, status in ((100_000, 400), (34_000_000, 413)):
        body = {"files": [{"name": "x.json", "text": " " * size}]}
        got, answer = await told(server, "POST", "verify", body)
        assert got == status
        assert ("is not a transcript" in answer["error"]) == (status == 400)
    assert (await told(server, "POST", "ask", {"command": "me", "x": "x" * 100_000}))[0] == 413


async def test_the_link_can_be_drawn(server: PageServer) -> None:
    status, drawn = await told(server, "POST", "qr", {"text": "https://mediator.example/i/#x"})
    assert status == 200
    assert {*"".join(drawn["rows"])} == {"0", "1"}
    assert (await told(server, "POST", "qr", {"text": "x" * 8000}))[0] == 400
