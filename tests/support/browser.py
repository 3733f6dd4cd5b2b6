"""A real Chromium without a window, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}
PATIENCE = 60.0  # seconds
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page. What it complains about on its console is in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []

    async def read(self) -> None:
        async for frame in self._socket:
            message = frame.json()
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif message["method"] == "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]))

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            message = await answer
        assert "error" not in message, message
        return message["result"]

    async def look(
        self, width: int, height: int, *, dark: bool = False, phone: bool = False
    ) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def without_scripts(self) -> None:
        await self.call("Emulation.setScriptExecutionDisabled", value=True)

    async def open(self, url: str) -> None:
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(30):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """Also where the page itself may run no scripts."""
        result = await self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> Any:
        """What the expression gives once that is something."""
        deadline = time.monotonic() + PATIENCE
        while (found := await self.evaluate(expression)) in (None, False, ""):
            if time.monotonic() > deadline:
                shown = await self.evaluate("document.body.innerText")
                raise AssertionError(f"never: {expression}\n{shown}\n{self.complaints}")
            await asyncio.sleep(0.1)
        return found

    async def key(self, name: str) -> None:
        """Press and let go."""
        number, text = KEYS[name]
        about = {"key": name, "code": name.strip() or "Space", "windowsVirtualKeyCode": number}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    async def type(self, text: str) -> None:
        """Where the keyboard is now, in place of what stands there."""
        await self.evaluate("document.activeElement.select?.()")
        await self.call("Input.insertText", text=text)

    async def picture(self, file: Path) -> None:
        """Of the whole page."""
        result = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(result["data"]))


class Chromium:
    """A browser that runs; each page that is opened in it knows nothing of the others."""

    def __init__(self, profile: Path, namespace: Path | None) -> None:
        self._profile = profile
        self._namespace = namespace

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        async with aiohttp.ClientSession(connector=_connector(self._namespace)) as http:
            address = f"ws://127.0.0.1:{await self._port_and_path()}"
            async with _connected(http, address) as browser:
                context = await browser.call("Target.createBrowserContext")
                target = await browser.call("Target.createTarget", url="about:blank", **context)
                host = address.split("/devtools")[0]
                async with _connected(http, f"{host}/devtools/page/{target['targetId']}") as page:
                    for domain in ("Page", "Log", "Runtime"):
                        await page.call(f"{domain}.enable")
                    yield page
                await browser.call("Target.disposeBrowserContext", **context)

    async def _port_and_path(self) -> str:
        """Where the browser itself is spoken to."""
        file = self._profile / "DevToolsActivePort"
        async with asyncio.timeout(60):
            while not file.exists() or "\n" not in file.read_text():
                await asyncio.sleep(0.05)
        return "".join(file.read_text().splitlines()[:2])


@contextmanager
def chromium(namespace: Path | None = None) -> Iterator[Chromium]:
    """In a network namespace it reaches that one's loopback."""
    browser = find_browser()
    assert browser is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [
                *([] if namespace is None else ["nsenter", f"--net={namespace}", "--"]),
                browser,
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-component-update",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield Chromium(Path(profile), namespace)
        finally:
            started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, signal.SIGKILL)
                started.wait()


@asynccontextmanager
async def tab(namespace: Path | None = None) -> AsyncIterator[Tab]:
    """A browser with one page."""
    with chromium(namespace) as browser:
        async with browser.tab() as page:
            yield page


@asynccontextmanager
async def _connected(http: aiohttp.ClientSession, address: str) -> AsyncIterator[Tab]:
    async with http.ws_connect(address, max_msg_size=0) as socket:
        connected = Tab(socket)
        reader = asyncio.create_task(connected.read())
        try:
            yield connected
        finally:
            reader.cancel()


def _connector(namespace: Path | None) -> aiohttp.TCPConnector:
    if namespace is None:
        return aiohttp.TCPConnector()
    return aiohttp.TCPConnector(socket_factory=lambda address: socket_in(namespace, address))


def socket_in(namespace: Path, address: Any) -> socket.socket:
    """A socket that belongs to a network namespace, whoever uses it."""

    def make() -> socket.socket:
        with namespace.open() as file:
            assert _libc.setns(file.fileno(), CLONE_NEWNET) == 0
        return socket.socket(*address[:3])

    with ThreadPoolExecutor(1) as pool:  # only this thread moves there
        return pool.submit(make).result()
