"""A real Chromium without a window, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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


@asynccontextmanager
async def tab(*arguments: str, namespace: Path | None = None) -> AsyncIterator[Tab]:
    """A browser with one page; in a network namespace it reaches that one's loopback."""
    browser = find_browser()
    assert browser is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = await asyncio.create_subprocess_exec(
            *([] if namespace is None else ["nsenter", f"--net={namespace}", "--"]),
            browser,
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *arguments,
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with aiohttp.ClientSession(connector=_connector(namespace)) as http:
                address = await _address(Path(profile), http)
                async with http.ws_connect(address, max_msg_size=0) as socket:
                    page = Tab(socket)
                    reader = asyncio.create_task(page.read())
                    for domain in ("Page", "Log", "Runtime"):
                        await page.call(f"{domain}.enable")
                    yield page
                    await page.call("Browser.close")
                    reader.cancel()
        finally:
            if started.returncode is None:
                try:
                    async with asyncio.timeout(10):
                        await started.wait()
                except TimeoutError:
                    started.kill()
                    await started.wait()


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


async def _address(profile: Path, http: aiohttp.ClientSession) -> str:
    """Of the one page that is open."""
    file = profile / "DevToolsActivePort"
    async with asyncio.timeout(60):
        while not file.exists() or "\n" not in file.read_text():
            await asyncio.sleep(0.05)
        port = file.read_text().splitlines()[0]
        while True:
            async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            if pages:
                address: str = pages[0]["webSocketDebuggerUrl"]
                return address
            await asyncio.sleep(0.05)
