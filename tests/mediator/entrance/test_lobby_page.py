"""The page of a lobby's link: for people without an agent, without scripts, without secrets."""

from __future__ import annotations

import aiohttp
import pytest

from agent.lobby.link import LobbyLink, parse_link
from mediator.app import Mediator
from tests.support import looks
from tests.support.browser import find_browser, tab
from tests.support.sessions import make_parties

HOST = make_parties(2)[0].did


def link_to(mediator: Mediator, goal: str = "an auction (3 parties)") -> str:
    return LobbyLink.new(HOST, goal, 2_000_000_000).to_url(mediator.identity.public_url)


async def get(url: str) -> tuple[aiohttp.ClientResponse, str]:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer, await answer.text()


async def test_it_says_what_this_is_and_how_to_install_and_join(mediator: Mediator) -> None:
    answer, page = await get(link_to(mediator))
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "Its host says: an auction (3 parties)" in page
    assert "make install" in page
    assert "agent join" in page


async def test_it_works_without_scripts_and_lets_nothing_run(mediator: Mediator) -> None:
    answer, page = await get(link_to(mediator))
    assert "<script" not in page
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_token_never_reaches_the_server(mediator: Mediator) -> None:
    """Browsers and clients keep what is behind the hash sign: so the page cannot have it."""
    url = link_to(mediator)
    _, page = await get(url)
    token = parse_link(url, 1_900_000_000).token
    assert token not in page
    assert url.partition("#")[2] not in page


@pytest.mark.parametrize(
    "goal",
    ["<script>alert(1)</script>", "\u202egnihsihp", "a\nb", "x" * 5000, "${style}", ""],
    ids=["markup", "turned letters", "two lines", "endless", "a template", "nothing"],
)
async def test_a_hosts_words_are_words_only(mediator: Mediator, goal: str) -> None:
    answer, page = await get(link_to(mediator, goal[:4000]))
    assert answer.status == 200
    assert "<script" not in page
    assert "\u202e" not in page
    assert "x" * 300 not in page


@pytest.mark.parametrize(
    "query",
    ["", "?_oob=", "?_oob=AAAA", "?_oob=e30", "?_oob=%00", "?" + "_oob=A&" * 40, "?x=1"],
    ids=["none", "empty", "no JSON", "no message", "a zero", "many", "another"],
)
async def test_any_other_query_gets_the_general_words(mediator: Mediator, query: str) -> None:
    answer, page = await get(mediator.identity.public_url.rstrip("/") + "/i/" + query)
    assert answer.status == 200
    assert "leads to a lobby" in page


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium")
async def test_it_fits_phones_and_desks_and_can_be_used_by_everybody(mediator: Mediator) -> None:
    async with tab() as browser:
        await browser.open(link_to(mediator))
        await looks.check(browser, "lobby-link")
        assert browser.complaints == []
