"""The page in a real browser: words of strangers stay words, and everybody can use it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import run
from agent.contacts import Contacts
from agent.launch.consents import Consents
from agent.launch.program import load_shipped, shipped
from agent.page.server import PageServer
from agent.profile import Choice
from agent.rootless.probe import Obstacle
from tests.support import looks
from tests.support.axe import faults
from tests.support.browser import Chromium, Tab, find_browser
from tests.support.internet import MANIFEST
from tests.support.sessions import transcripts
from tests.support.stub_mediator import StubMediator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium"),
]
VIEWS = ("Compute", "Programs", "Contacts", "Transcripts", "You")
MARKUP = "<img src=x onerror=document.title='broken'>"


@pytest.fixture
async def browser(chrome: Chromium, server: PageServer) -> AsyncIterator[Tab]:
    async with chrome.tab() as opened:
        await opened.look(*looks.SIZES["wide"])
        await opened.open(server.url)
        yield opened


async def test_the_token_leaves_the_address_bar(browser: Tab, server: PageServer) -> None:
    await browser.until("document.querySelector('form')")
    assert server.guard.token not in await browser.evaluate("location.href")
    assert await browser.evaluate("history.length") <= 2
    assert browser.complaints == []


async def test_a_reloaded_page_goes_on(browser: Tab) -> None:
    await browser.until("document.querySelector('form')")
    await browser.call("Page.reload")
    await browser.until("document.querySelector('form')")


async def test_a_newcomer_makes_an_identity_and_finds_the_link_in_its_place(
    chrome: Chromium, empty_server: PageServer
) -> None:
    async with StubMediator().running() as stub, chrome.tab() as browser:
        await browser.open(empty_server.url)
        await browser.until("document.querySelector('[name=mediator]')")
        assert not await browser.evaluate("document.querySelector('#views').offsetHeight > 0")
        await looks.check(browser, "newcomer")
        link = f"{stub.url}/i/?_oob=eyJ9#hash.token"
        await type_in(browser, mediator=link, passphrase="one", again="other")
        await press(browser, "Make it")
        await browser.until("document.body.innerText.includes('the two passphrases differ')")
        assert not empty_server.choice.exists()
        await type_in(browser, again="one")
        await press(browser, "Make it")
        assert await browser.until("document.querySelector('[name=link]')?.value") == link
        await show(browser, "You")
        await browser.until("document.body.innerText.includes('no message waits')")
        shown = await browser.evaluate("document.querySelector('main input[readonly]').value")
        assert shown == empty_server.choice.card().did
        assert browser.complaints == []


async def test_without_the_token_the_page_shows_nothing(
    chrome: Chromium, server: PageServer
) -> None:
    async with chrome.tab() as stranger:
        await stranger.open(f"http://127.0.0.1:{server.guard.port}/")
        shown = await stranger.until(
            "document.querySelector('main .trouble') && document.body.innerText"
        )
    assert "did:" not in shown
    assert "the token is missing or wrong" in shown


async def test_no_page_can_frame_it(chrome: Chromium, server: PageServer, tmp_path: Path) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe src="{server.url}"></iframe>')
    async with chrome.tab() as hostile:
        await hostile.open(frame.as_uri())
        await asyncio.sleep(0.5)
        assert any("frame" in complaint.lower() for complaint in hostile.complaints)


async def test_no_page_can_speak_to_its_server(
    chrome: Chromium, server: PageServer, tmp_path: Path
) -> None:
    """Not even one that has got hold of the token."""
    url = f"http://127.0.0.1:{server.guard.port}/api/ask"
    page = tmp_path / "page.html"
    page.write_text("<title>another page</title>")
    order = {"method": "POST", "body": '{"command":"me"}'}
    order["headers"] = {  # type: ignore[assignment]
        "Authorization": f"Bearer {server.guard.token}",
        "Content-Type": "application/json",
    }
    async with chrome.tab() as hostile:
        await hostile.open(page.as_uri())
        got = await hostile.evaluate(
            f"fetch({json.dumps(url)}, {json.dumps(order)}).then(a => a.text(), e => 'kept out')"
        )
    assert got == "kept out"


async def test_words_of_strangers_are_never_markup(
    choice: Choice, tmp_path: Path, browser: Tab
) -> None:
    folder = tmp_path / MARKUP.replace("/", "")
    folder.mkdir()
    (folder / "manifest.toml").write_text(
        MANIFEST.replace("Adds everybody's number", MARKUP).replace("your number", MARKUP)
    )
    (folder / "main.py").write_text("print()")
    assert await asyncio.to_thread(run, ["program", "add", str(folder)]) == 0
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    Contacts(choice.folder).meet({did: MARKUP + "\u202e"})
    for view in VIEWS:
        await show(browser, view)
        for details in range(await browser.evaluate("document.querySelectorAll('details').length")):
            await browser.evaluate(f"document.querySelectorAll('details')[{details}].open = true")
        await asyncio.sleep(0.5)
        assert await browser.evaluate("document.querySelectorAll('main img').length") == 0
        assert not await browser.evaluate("document.body.innerText.includes('\\u202e')")
    await show(browser, "Programs")
    await browser.until("document.body.innerText.includes('<img src=x')")
    assert await browser.evaluate("document.title") == "Programs – didmesh"
    assert browser.complaints == []


async def test_a_standing_consent_is_given_until_a_date_and_taken_back(
    choice: Choice, browser: Tab
) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    Contacts(choice.folder).name(did, "bob")
    await show(browser, "Programs")
    date = time.strftime("%Y-%m-%d", time.localtime(time.time() + 3 * 86_400))
    await browser.evaluate("document.querySelector('#standing ~ details').open = true")
    await type_in(browser, until=date, program="second_price_auction")
    await press(browser, "Allow it")
    await browser.until("document.body.innerText.includes('With whom?')")
    await browser.evaluate("document.querySelector('main [name=with]').click()")
    await press(browser, "Allow it")
    await browser.until("document.body.innerText.includes('with bob, you until')")
    [one] = Consents(choice.folder).standing(time.time())
    assert one.parties == {did, choice.card().did}
    assert time.strftime("%Y-%m-%d %H:%M", time.localtime(one.until)) == f"{date} 23:59"
    assert await faults(browser) == []
    await browser.evaluate("document.querySelector('#standing ~ ul button').click()")
    await browser.until("document.body.innerText.includes('Nothing: you are asked each time')")
    assert Consents(choice.folder).standing(time.time()) == ()


async def test_words_are_compared_with_a_contact_who_is_verified_then(
    choice: Choice, browser: Tab
) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    contacts = Contacts(choice.folder)
    contacts.name(did, "bob")
    await show(browser, "Contacts")
    await press(browser, "Compare words with bob")
    words = await browser.until("document.querySelector('main .words')?.innerText")
    assert len(words.split()) == 4
    assert not contacts.named("bob").verified
    assert await faults(browser) == []
    await press(browser, "The same")
    await browser.until("document.querySelector('main li .stage')?.innerText === 'verified'")
    assert contacts.named("bob").verified
    await press(browser, "Forget bob")
    await browser.until("!document.querySelector('main ul.rows li')")
    assert contacts.all() == ()


async def test_the_same_people_are_called_again_with_the_same_program(
    choice: Choice, browser: Tab
) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    Contacts(choice.folder).name(did, "bob")
    [program] = [one for one in programs() if one["name"] == "private_match"]
    descriptor = {"parties": [did, choice.card().did], "program": program}
    (choice.folder / "transcripts").mkdir()
    (choice.folder / "transcripts" / "x.json").write_text(json.dumps({"descriptor": descriptor}))
    await show(browser, "Compute")
    again = "document.querySelector('[aria-labelledby=again]')"
    await browser.until(f"{again}.innerText.includes('Calls bob and lets them in')")
    await browser.until(f"{again}.querySelector('[name=role]')")
    assert await browser.evaluate(f"{again}.querySelector('[name=program]').value") == (
        "private_match"
    )
    await browser.evaluate(f"{again}.querySelector('[data-input]').value = '1'")
    await press(browser, "Call them again")
    words = await browser.until("document.querySelector('#now code')?.innerText")
    assert "--again" in words
    assert "--role=voter" in words
    assert "--seats" not in words


async def test_rootless_is_a_choice_where_the_machine_allows_it_and_a_sentence_where_not(
    browser: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.page.server.find_obstacle", lambda: None)
    await show(browser, "Compute")
    await browser.evaluate("document.getElementById('rootless').click()")
    await press(browser, "Wait for a call")
    words = await browser.until("document.querySelector('#now code')?.innerText")
    assert "--rootless" in words
    await browser.until("document.querySelector('#now h2')?.innerText === 'Ended'")
    obstacle = Obstacle("there is no /dev/net/tun", "sudo modprobe tun")
    monkeypatch.setattr("agent.page.server.find_obstacle", lambda: obstacle)
    await press(browser, "Back")
    await browser.until("document.getElementById('rootless')?.disabled")
    hint = await browser.evaluate("document.getElementById('rootless-hint').innerText")
    assert "there is no /dev/net/tun" in hint
    assert "sudo modprobe tun" in hint
    assert not await browser.evaluate("document.getElementById('rootless').checked")
    assert await faults(browser) == []


async def test_the_difference_between_transcripts_is_named(choice: Choice, browser: Tab) -> None:
    one, two, three = transcripts()
    folder = choice.folder / "transcripts"
    folder.mkdir()
    (folder / f"{one['session'][:16]}.json").write_text(json.dumps(one))
    await show(browser, "Transcripts")
    await drop(browser, two, three)
    await browser.until("document.body.innerText.includes('All 3 transcripts are equal, yours')")
    assert await browser.evaluate("document.querySelectorAll('.verdict li.ready').length") == 3
    assert await faults(browser) == []
    one["statements"].pop()
    (folder / f"{one['session'][:16]}.json").write_text(json.dumps(one))
    await drop(browser, two, three)
    await browser.until("document.body.innerText.includes('yours lacks the result of party2')")
    await drop(browser, transcripts()[0], two)
    await browser.until("document.body.innerText.includes('is of another session than yours')")
    assert await faults(browser) == []


async def test_every_view_fits_and_can_be_used_by_everybody(choice: Choice, browser: Tab) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    Contacts(choice.folder).name(did, "bob")
    for view in VIEWS:
        await show(browser, view)
        await looks.check(browser, f"view-{view.lower()}")
    assert browser.complaints == []


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Tab) -> None:
    await show(browser, "Compute")
    reached = set()
    for _ in range(60):
        await browser.key("Tab")
        reached.add(
            await browser.evaluate(
                "(e => e.name || e.textContent.trim().slice(0, 30))(document.activeElement)"
            )
        )
        outline = await browser.evaluate(
            "document.activeElement === document.body"
            " || getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        )
        assert outline, reached
    assert {"Programs", "link", "Knock", "program", "seats", "Open the lobby"} <= reached


def programs() -> list[dict[str, str]]:
    found = [load_shipped(name) for name in shipped()]
    return [{"name": one.name, "sha256": one.sha256} for one in found if one is not None]


async def show(browser: Tab, view: str) -> None:
    button = (
        f"[...document.querySelectorAll('#views button')].find(b => b.textContent === '{view}')"
    )
    await browser.until(f"document.querySelector('main h1') && {button}")
    await browser.evaluate(f"{button}.click()")
    await browser.until(
        f"document.title.startsWith('{view}') && !document.querySelector('main[aria-busy]')",
    )
    if view == "Compute":
        await browser.until("document.querySelector('[name=seats]')")


async def type_in(browser: Tab, **values: str) -> None:
    for name, value in values.items():
        field = f"document.querySelector('main [name={name}]')"
        await browser.evaluate(f"{field}.value = {json.dumps(value)}")


async def drop(browser: Tab, *transcripts: dict[str, Any]) -> None:
    """As if somebody had dragged files there; everybody's is called the same."""
    files = json.dumps([json.dumps(one) for one in transcripts])
    await browser.evaluate(
        f"(() => {{ const data = new DataTransfer(); for (const text of {files})"
        " data.items.add(new File([text], 'transcript.json'));"
        " document.querySelector('.drop').dispatchEvent(new DragEvent('drop',"
        " { dataTransfer: data, bubbles: true, cancelable: true })); })()"
    )


async def press(browser: Tab, words: str) -> None:
    button = (
        "[...document.querySelectorAll('main button')]"
        f".find(one => one.textContent === {json.dumps(words)})"
    )
    await browser.evaluate(f"{button}.click()")
