"""The page at `/`, in bytes and in a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import aiohttp
import pytest

from mediator.app import Mediator
from mediator.cli import run
from messaging.protocols.out_of_band import Invitation
from tests.support.browser import Chromium, Tab, find_browser

WIDTHS = {"phone": (390, 844), "wide": (1280, 900)}
in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium"),
]


async def get(url: str) -> tuple[aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer, await answer.text()


def shown_link(page: str) -> str | None:
    found = re.search(r'id="link"[^>]* value="([^"]*)"', page)
    return found and unescape(found[1])


async def test_the_page_shows_the_public_invitation(mediator: Mediator) -> None:
    answer, page = await get(mediator.identity.public_url)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert shown_link(page) == mediator.identity.invitation_url
    assert page.count("<svg") == 1
    assert mediator.identity.did in page


async def test_nothing_but_the_page_itself_may_run_or_be_fetched(mediator: Mediator) -> None:
    answer, page = await get(mediator.identity.public_url)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["/invitation"]


async def test_the_link_of_an_invitation_shows_that_invitation(mediator: Mediator) -> None:
    made = mediator.identity.invitation_with("another-id")
    url = made.to_url(mediator.identity.public_url)
    _, page = await get(url)
    assert Invitation.from_url(shown_link(page) or "").id == "another-id"
    assert "You are invited" in page


@pytest.mark.parametrize("query", ["_oob=nonsense", "_oob=", "_oob=%3Cscript%3E"])
async def test_a_link_that_is_no_invitation_of_ours_shows_the_public_one(
    mediator: Mediator, query: str
) -> None:
    _, page = await get(f"{mediator.identity.public_url}?{query}")
    assert shown_link(page) == mediator.identity.invitation_url


async def test_a_link_to_somebody_else_is_not_shown(mediator: Mediator) -> None:
    foreign = Invitation("did:web:evil.example", id="x").to_url(mediator.identity.public_url)
    _, page = await get(foreign)
    assert shown_link(page) == mediator.identity.invitation_url


async def test_what_is_written_into_a_link_cannot_become_a_part_of_the_page(
    mediator: Mediator,
) -> None:
    made = mediator.identity.invitation_with('"><script>alert(1)</script>')
    _, page = await get(made.to_url(mediator.identity.public_url))
    assert "alert(1)" not in page


async def test_a_closed_mediator_says_so_instead_of_inviting(
    mediator: Mediator, tmp_path: Path
) -> None:
    closing = ["accounts", "registration", "closed", "--data", str(tmp_path / "mediator.db")]
    assert await asyncio.to_thread(run, closing) == 0
    await asyncio.sleep(2.5)
    _, page = await get(mediator.identity.public_url)
    assert "By invitation only" in page
    assert shown_link(page) is None
    _, page = await get(
        mediator.identity.invitation_with("new").to_url(mediator.identity.public_url)
    )
    assert shown_link(page)


# In a browser


@pytest.fixture
async def browser(chrome: Chromium) -> AsyncIterator[Tab]:
    async with chrome.tab() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
class TestInABrowser:
    pytestmark = in_a_browser

    async def test_it_fits_and_is_readable(
        self, mediator: Mediator, browser: Tab, width: str, dark: bool
    ) -> None:
        await browser.look(*WIDTHS[width], dark=dark, phone=width == "phone")
        await browser.open(mediator.identity.public_url)
        assert browser.complaints == []
        assert await browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await browser.evaluate("document.querySelector('svg').clientWidth") >= 250
        for selector in ("body", ".lead", ".hint", "button", "input", "a"):
            assert await browser.evaluate(CONTRAST.replace("SELECTOR", selector)) >= 4.5, selector


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
class TestCopying:
    pytestmark = in_a_browser

    async def test_the_link_can_be_copied_with_and_without_scripts(
        self, mediator: Mediator, browser: Tab, scripts: bool
    ) -> None:
        await browser.look(*WIDTHS["wide"])
        if not scripts:
            await browser.without_scripts()
        await browser.open(mediator.identity.public_url)
        visible = await browser.evaluate("document.getElementById('copy').offsetWidth > 0")
        assert visible is scripts
        if scripts:
            await browser.evaluate("document.getElementById('copy').click()")
            await browser.evaluate("new Promise(done => setTimeout(done, 200))")
            assert await browser.evaluate("document.getElementById('copy').textContent") == "Copied"
        await browser.evaluate("document.getElementById('link').select()")
        selected = await browser.evaluate(
            "(({value, selectionStart, selectionEnd}) => value.slice(selectionStart, selectionEnd))"
            "(document.getElementById('link'))"
        )
        assert selected == mediator.identity.invitation_url


# The ratio of WCAG 2 between an element's text and what it stands on.
CONTRAST = """(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= .03928 ? c / 12.92
    : ((c + .055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const element = document.querySelector("SELECTOR");
  let ground = element;
  while (channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor]
    .map(text => light(channels(text))).sort((x, y) => y - x);
  return (a + .05) / (b + .05);
})()"""
