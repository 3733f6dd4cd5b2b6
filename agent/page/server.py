"""The local page's server: files, a closed set of commands, and one session at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import segno
from aiohttp import web

from agent.errors import AgentError, Exit
from agent.launch.consents import Consents
from agent.lobby.files import LobbyFile, newest_hosted
from agent.page.guard import HEADERS, Forbidden, Guard
from agent.page.helpers import Helpers
from agent.page.job import Job, ask
from agent.page.orders import (
    MAX_TEXT,
    BadOrder,
    Order,
    identity_order,
    session_order,
    short_order,
    verify_order,
)
from agent.profile import PASSPHRASE_VARIABLE, Choice
from agent.rootless.probe import find_obstacle
from agent.running import running_sessions
from agent.session.records import last_session

MAX_BODY = 64 * 1024  # bytes of a request
MAX_COMPARED = 32 * 1024 * 1024  # bytes of one that brings the transcripts of others
LONGEST_WAIT = 20.0  # seconds until a question for news is answered without any
PATHS_INTERVAL = 2.0  # seconds between two looks at the paths of a session that runs
PAUSE = 15.0  # seconds until a turn that failed is followed by another
GOES_ON = (Exit.OK, Exit.FAILED, Exit.TIMEOUT, Exit.REFUSED)  # after which a next turn has sense
MAX_ASKED = 4  # commands that answer at once, at a time
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


@dataclass
class PageServer:
    """`start` it, open `url`, `close` it; the session that runs ends with it."""

    choice: Choice
    profile: Sequence[str]  # the words that name it to a command
    helpers: Helpers
    guard: Guard = field(init=False)
    _job: Job | None = None
    _running: asyncio.Task[None] | None = None
    _asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_ASKED))

    @property
    def url(self) -> str:
        """Where the page is; the token stands where browsers keep it to themselves."""
        return f"http://127.0.0.1:{self.guard.port}/#{self.guard.token}"

    @contextlib.asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[None]:
        listening = socket.create_server(("127.0.0.1", port))
        self.guard = Guard(listening.getsockname()[1], secrets.token_urlsafe(32))
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._guarded])
        for name, content in _assets().items():
            app.router.add_get("/" if name == "index.html" else f"/{name}", _file(name, content))
        app.router.add_get("/api/news", self._news)
        app.router.add_get("/api/kept", self._kept)
        for path, post in {
            "start": self._start,
            "answer": self._answer,
            "stop": self._stop,
            "ask": self._ask,
            "create": self._create,
            "verify": self._verify,
            "qr": self._qr,
        }.items():
            app.router.add_post(f"/api/{path}", post)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield
        finally:
            await self._end_job()
            await runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path.startswith("/api/"):
                self.guard.check(request.headers)
            else:
                self.guard.check_file(request.headers)
            answer = await handler(request)
        except Forbidden as refusal:
            log.info("refused %s: %s", request.path, refusal)
            answer = _json({"error": str(refusal)}, 403)
        except (BadOrder, AgentError) as error:
            answer = _json({"error": str(error), "hint": getattr(error, "hint", None)}, 400)
        except web.HTTPException as error:
            answer = _json({"error": error.reason}, error.status)
        answer.headers.update(HEADERS)
        return answer

    # a session

    async def _start(self, request: web.Request) -> web.Response:
        order = session_order(await _body(request), self.profile)
        if self._running is not None and not self._running.done():
            return _json({"error": "a session runs already: leave or stop it first"}, 409)
        helper = None if order.rootless else await self.helpers.new()
        self._job = Job(order)
        self._running = asyncio.create_task(self._run(order, self._job, helper))
        return _json({"started": True})

    async def _run(self, order: Order, job: Job, helper: socket.socket | None) -> None:
        """The command; if it is to go on waiting, once more with each new helper of ours."""
        await job.run(helper)
        while helper and order.standing and not job.interrupted and job.code in GOES_ON:
            await asyncio.sleep(0 if job.code == Exit.OK else PAUSE)
            helper = await self.helpers.new()
            self._job = job = Job(order)
            await job.run(helper)

    async def _news(self, request: web.Request) -> web.Response:
        """What happened after the first `since` events of job number `job`."""
        since, wait = _number(request, "since"), _number(request, "wait")
        job = self._job
        if job is None:
            await asyncio.sleep(min(wait, 1))
            return _json({"job": None, "events": [], "paths": None, "code": None})
        if request.query.get("job") != job.id:
            since = 0
        paths = self._paths(job)
        await job.news(since, min(wait, LONGEST_WAIT if paths is None else PATHS_INTERVAL))
        return _json(
            {
                "job": job.id,
                "words": ["agent", *job.words],
                "events": job.events[since:],
                "paths": self._paths(job),
                "code": job.code,
            }
        )

    def _paths(self, job: Job) -> dict[str, Any] | None:
        """How the session's parties are reached now, as `agent status` tells it."""
        if job.code is not None:
            return None
        sessions = running_sessions(self.choice.folder)
        found = next((one for one in sessions if one.pid == job.pid), None)
        return None if found is None else found.to_json()

    async def _answer(self, request: web.Request) -> web.Response:
        told = await _body(request)
        if self._job is not None:
            self._job.answer(told)
        return _json({})

    async def _stop(self, request: web.Request) -> web.Response:
        await _body(request)
        if self._job is not None:
            self._job.interrupt()
        return _json({})

    async def _end_job(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    # all else

    async def _ask(self, request: web.Request) -> web.Response:
        return await self._answered(short_order(await _body(request), self.profile))

    async def _create(self, request: web.Request) -> web.Response:
        """The profile of somebody who has none; what opens it is for the commands that follow."""
        order = identity_order(await _body(request), self.profile)
        if self.choice.exists():
            raise BadOrder("there is an identity already: load the page again")
        answer = await self._answered(order)
        if order.passphrase is not None and self.choice.exists():
            os.environ[PASSPHRASE_VARIABLE] = order.passphrase
        return answer

    async def _verify(self, request: web.Request) -> web.Response:
        asked = await _body(request.clone(client_max_size=MAX_COMPARED))
        return await self._answered(verify_order(asked, self._transcripts))

    async def _answered(self, order: Order) -> web.Response:
        """The command's JSON, or its error in the same words; 200 also for a bad verdict."""
        async with self._asking:
            code, output = await ask(order)
        lines = output.strip().splitlines()
        try:
            told = json.loads(lines[-1]) if lines else {}
        except ValueError:
            told = {"text": output}
        failed = isinstance(told, dict) and "error" in told
        return _json(told if lines or not code else {"error": "it failed"}, 400 if failed else 200)

    async def _kept(self, _: web.Request) -> web.Response:
        """What lies on the disk: transcripts, the newest first, and a lobby to go on with."""
        found = sorted(self._transcripts.glob("*.json"), key=_age, reverse=True)
        obstacle = await asyncio.to_thread(find_obstacle)
        return _json(
            {
                "profile": self.choice.exists(),
                "transcripts": [path.name for path in found[:100]],
                "lobby": self._hosted(),
                "last": self._last_session(),
                "standing": len(Consents(self.choice.folder).standing(time.time())),
                "rootless": obstacle and asdict(obstacle),  # what keeps us from it
            }
        )

    def _hosted(self) -> dict[str, Any] | None:
        """What the host that goes on has to know of its lobby."""
        lobby = newest_hosted(self.choice.folder, self.choice.name)
        kept = lobby and LobbyFile(self.choice.folder, self.choice.name, lobby).read()
        if not kept:
            return None
        terms = kept["terms"]
        return {"title": terms["title"], "program": terms["program"], "role": terms["roles"][0]}

    def _last_session(self) -> dict[str, Any] | None:
        """What could be computed again, and with whom."""
        if not self.choice.exists():
            return None
        me = self.choice.card().did
        last = last_session(self.choice.folder, me)
        if last is None:
            return None
        others = [did for did in last["parties"] if did != me]
        return {"program": last.get("program"), "others": others}

    async def _qr(self, request: web.Request) -> web.Response:
        text = (await _body(request)).get("text")
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            raise BadOrder("there is nothing to draw")
        try:
            code = segno.make_qr(text, error="l")
        except segno.DataOverflowError:
            raise BadOrder("this is too long for a QR code") from None
        return _json({"rows": ["".join(map(str, row)) for row in code.matrix]})

    @property
    def _transcripts(self) -> Path:
        return self.choice.folder / "transcripts"


def _assets() -> Mapping[str, bytes]:
    folder = files("agent.page").joinpath("assets")
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}


def _file(name: str, content: bytes) -> Handler:
    kind = TYPES[name.rpartition(".")[2]]

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return answer


async def _body(request: web.Request) -> Mapping[str, Any]:
    if request.content_type != "application/json":
        raise BadOrder("this is not JSON")
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadOrder("this is not JSON") from None
    if not isinstance(value, dict):
        raise BadOrder("this is not a JSON object")
    return value


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise BadOrder(f"{name} is not a number")
    return int(text)


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
