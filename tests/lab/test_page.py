"""Three people, three browsers: from a link on a page to a result and its proof, on an internet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lab.runs import NETNS
from tests.support import looks
from tests.support.browser import Tab, find_browser, tab
from tests.support.internet import Command, Internet, Party
from tests.support.unprivileged import OPEN_TUN, ordinary

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
    pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt-get install chromium"),
]
RESULT = "winner=party1 price=135"


async def test_three_people_compute_on_their_pages(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    async with page(parties[0]) as alice, page(parties[1]) as bob, page(parties[2]) as carol:
        await alice.fill({"[aria-labelledby=host] [name=program]": "second_price_auction"})
        await alice.fill({"title": "Who buys the boat"})
        await alice.fill({".chosen ~ .field [name=name]": "alice"})
        await alice.fill({"[data-input=bid]": "120"})
        await alice.press("Open the lobby")
        link = await alice.value("#invite input")
        await alice.picture("lobby")
        for guest, bid, name in ((bob, "150", "bob"), (carol, "135", "carol")):
            await guest.fill({"link": link, "name": name})
            await guest.press("Knock")
            await alice.sees(f'calls itself "{name}" in?')
            await alice.picture("knock")
            await alice.press("Let in")
            await guest.sees("the winner")
            await guest.fill({"value": bid})
            await guest.picture("input")
            await guest.press("Use it")
        words = {await one.text(".question .words") for one in (alice, bob, carol)}
        assert len(words) == 1
        await alice.picture("phrase")
        await alice.can_be_used_by_everybody()
        for one in (alice, bob, carol):
            await one.press("Everybody reads the same")
        for one in (alice, bob, carol):
            assert await one.text("pre.output") == RESULT
            await one.sees("agreed, ready, result")
            await one.picture("result")
            assert await one.text(".verdict .good")
            await one.can_be_used_by_everybody()
            assert one.tab.complaints == []


async def test_people_who_have_nothing_yet_compute_by_the_keyboard_alone(
    internet: Internet,
) -> None:
    """From `agent ui` to the proof: identities, a lobby, the words, a result."""
    alice_, bob_ = internet.newcomer("home0"), internet.newcomer("home1")
    folder = internet.rounds(0.1)
    for party in (alice_, bob_):
        party.allow(folder)
    async with keyboard(alice_) as alice, keyboard(bob_) as bob:
        await alice.type("[name=mediator]", internet.near.url)
        for name in ("passphrase", "again"):
            await alice.type(f"[name={name}]", "read aloud to nobody")
        await alice.picture("welcome")
        await alice.enter("Make it")
        await alice.choose("[aria-labelledby=host] [name=program]", "again and again")
        await alice.type("[name=seats]", "2")
        await alice.type("[data-input=bid]", "1")
        await alice.enter("Open the lobby")
        link = await alice.value("#invite input")
        await bob.type("[name=mediator]", link)
        await bob.toggle("[name=unencrypted]")
        await bob.enter("Make it")
        assert await bob.value("[name=link]") == link
        await bob.enter("Knock")
        await alice.enter("Let in")
        await bob.type("[name=value]", "2")
        await bob.enter("Use it")
        for one in (alice, bob):
            await one.enter("Everybody reads the same")
        for one in (alice, bob):
            assert await one.text("pre.output") == "sum=3"
            assert await one.text(".verdict .good")
            assert one.tab.complaints == []
            await one.enter("Back")
        await bob.enter("Wait for a call")
        await bob.sees("waiting until a contact calls")
        await alice.type("[aria-labelledby=again] [data-input=bid]", "3")
        await alice.enter("Call them again")
        await bob.enter("Knock")
        await bob.type("[name=value]", "4")
        await bob.enter("Use it")
        for one in (alice, bob):
            await one.enter("Everybody reads the same")
        for one in (alice, bob):
            assert await one.text("pre.output") == "sum=7"


async def test_roles_are_chosen_on_the_page_and_the_helper_learns_nothing(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1", "home2")
    async with page(parties[0]) as alice, page(parties[1]) as bob, page(parties[2]) as carol:
        await alice.fill({"[aria-labelledby=host] [name=program]": "private_match"})
        await alice.fill({"[aria-labelledby=host] [name=role]": "helper"})
        await alice.press("Open the lobby")
        link = await alice.value("#invite input")
        for guest, role in ((bob, "voter"), (carol, "")):
            await guest.fill({"link": link, "role": role})
            await guest.press("Knock")
            await alice.press("Let in")
            await guest.fill({"value": "1"})
            await guest.press("Use it")
        await alice.sees("as voter")
        await alice.picture("roles")
        for one in (alice, bob, carol):
            await one.press("Everybody reads the same")
        for voter in (bob, carol):
            assert await voter.text("pre.output") == "match"
        await alice.sees("agreed, ready, result")
        assert await alice.text("pre.output") == "done (no output)"


async def test_who_knows_everybody_computes_without_a_lobby(internet: Internet) -> None:
    parties = internet.parties("home0", "home1", "home2")
    dids = [party.did for party in parties]
    async with page(parties[0]) as alice, page(parties[1]) as bob, page(parties[2]) as carol:
        for one, did, bid in zip((alice, bob, carol), dids, ("120", "150", "135"), strict=True):
            card = "[aria-label='Without a lobby']"
            unfold = f'(document.querySelector("{card} details") ?? {{}}).open = true'
            await one.tab.until(f'document.querySelector("{card}") && ({unfold})')
            await one.fill({f"{card} [name=program]": "second_price_auction"})
            await one.fill({f"{card} [name=with]": "\n".join({*dids} - {did})})
            await one.fill({f"{card} [data-input=bid]": bid})
            await one.press("Run")
        for one in (alice, bob, carol):
            assert (await one.text("pre.output")).endswith("price=135")
            await one.sees("agreed, ready, result")
        await alice.picture("mesh")


async def test_a_lobby_goes_on_after_its_host_went_away(internet: Internet) -> None:
    one, two, three = internet.parties("home0", "home1", "home2")
    async with page(one) as alice, page(two) as bob:
        await alice.fill({"[aria-labelledby=host] [name=program]": "second_price_auction"})
        await alice.fill({"admit": "anyone", "[data-input=bid]": "120"})
        await alice.press("Open the lobby")
        link = await alice.value("#invite input")
        await bob.fill({"link": link})
        await bob.press("Knock")
        await bob.fill({"value": "150"})
        await bob.press("Use it")
        await alice.sees("ready")
        await alice.press("Go away for now")
        await alice.press("Back")
        await alice.fill({"[aria-labelledby=resume] [data-input=bid]": "120"})
        await alice.press("Go on")
        assert await alice.value("#invite input") == link
        await bob.press("Go away for now")
        await bob.press("Back")
        await bob.fill({"link": link})
        await bob.press("Knock")
        await bob.fill({"value": "150"})
        await bob.press("Use it")
        async with page(three) as carol:
            await carol.fill({"link": link})
            await carol.press("Knock")
            await alice.press("Let in")
            await carol.fill({"value": "135"})
            await carol.press("Use it")
            for each in (alice, bob, carol):
                await each.press("Everybody reads the same")
            for each in (alice, bob, carol):
                assert await each.text("pre.output") == RESULT
                await each.sees("agreed, ready, result")
        await alice.press("Back")
        await alice.sees("The same people again")


async def test_what_was_allowed_goes_on_without_a_click(internet: Internet) -> None:
    alice, bob = internet.parties("home0", "home1")
    assert bob.agent("contacts", "name", alice.did, "alice").wait() == 0
    folder = internet.rounds(0.1)
    for party in (alice, bob):
        party.allow(folder)
    assert bob.agent("allow", folder, "--with", "alice").wait() == 0
    host = ("host", folder, "--with", bob.did, "--yes", "--json", "--input", "bid=7")
    async with page(bob) as shown:
        await shown.fill({"inputs": "bid=5"})
        await shown.press("Take part without asking")
        for _ in range(2):
            await shown.sees("waiting until a contact calls")
            command = alice.start(*host, as_root=True)
            assert await asyncio.to_thread(command.wait) == 0, command.told()
            assert command.the("result")["output"] == "sum=12\n"
            await shown.sees("The last result")
            await shown.sees("sum=12")
        await shown.press("Stop")
        await shown.press("Back")


@pytest.mark.skipif(shutil.which("pasta") is None, reason="needs Debian's package passt")
async def test_who_may_do_nothing_on_a_machine_ticks_rootless(internet: Internet) -> None:
    """Also the input, which no argument shows and no file holds, comes through."""
    alice, bob = internet.parties("home0", "home1")
    folder = internet.rounds(0.1)
    for party in (alice, bob):
        party.allow(folder)
    async with page(alice, **ordinary(alice, OPEN_TUN)) as shown:
        await shown.tab.until("document.getElementById('rootless')?.disabled === false")
        await shown.tab.evaluate("document.getElementById('rootless').click()")
        program = await shown.tab.until(
            "[...document.querySelectorAll('[aria-labelledby=host] option')]"
            ".find((one) => one.textContent.includes('again and again'))?.value"
        )
        await shown.fill({"[aria-labelledby=host] [name=program]": program})
        await shown.fill({"seats": "2", "admit": "anyone", "[data-input=bid]": "1"})
        await shown.press("Open the lobby")
        link = await shown.value("#invite input")
        guest = bob.start("join", link, "--input", "bid=2", "--json", as_root=True)
        await shown.press("Everybody reads the same")
        assert await shown.text("pre.output") == "sum=3"
        await shown.sees("agreed, ready, result")
        assert await asyncio.to_thread(guest.wait) == 0, guest.told()


async def test_a_strangers_program_is_shown_and_runs_only_after_a_yes(internet: Internet) -> None:
    alice, bob = internet.parties("home0", "home1")
    folder = internet.rounds(0.1)
    assert alice.agent("program", "approve", folder).wait() == 0
    host = alice.start(
        *("host", folder, "--seats", "2", "--admit", "anyone", "--input", "bid=1", "--json"),
        as_root=True,
    )
    await told(host, "open")
    async with page(bob) as guest:
        await guest.join(host)
        await guest.sees("May this program run with your inputs?")
        await guest.sees("main.py")
        await guest.sees("the sum, to all")
        await guest.picture("consent")
        await guest.press("Do not let it run")
        await guest.sees("you have not approved rounds")
        await told(host, "left")
        await guest.press("Back")
        await guest.join(host)
        await guest.press("Let it run")
        await guest.fill({"value": "2"})
        await guest.press("Leave")
        await guest.sees("you left the lobby")
        await told(host, "left", number=1)
    host.kill()


async def told(command: Command, what: str, number: int = 0) -> dict[str, Any]:
    """What a command told of its lobby, waiting for it."""
    deadline = time.monotonic() + 60
    while len(found := [one for one in command.all("lobby") if one["what"] == what]) <= number:
        assert command.process.poll() is None, command.told()
        assert time.monotonic() < deadline, command.told()
        await asyncio.sleep(0.05)
    return found[number]


class Page:
    """What a person does on it: fills, presses, reads; each waits until it can."""

    def __init__(self, tab: Tab, name: str) -> None:
        self.tab = tab
        self._name = name

    async def fill(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            where = name if name[0] in "[." else f"[name={name}]"
            field = f"[...document.querySelectorAll({json.dumps(where)})].at(0)"
            await self.tab.until(f"{field}?.form !== undefined")
            change = f"{field}.dispatchEvent(new Event('change'))"
            await self.tab.evaluate(f"{field}.value = {json.dumps(value)}; {change}")

    async def join(self, host: Command) -> None:
        await self.fill({"link": (await told(host, "open"))["link"]})
        await self.press("Knock")

    async def press(self, words: str) -> None:
        button = (
            "[...document.querySelectorAll('main button:not(:disabled)')]"
            f".find(one => one.textContent === {json.dumps(words)})"
        )
        await self.tab.until(f"{button} && ({button}.click(), true)")

    async def sees(self, words: str) -> None:
        await self.tab.until(f"document.body.innerText.includes({json.dumps(words)})")

    async def text(self, selector: str) -> str:
        return str(
            await self.tab.until(f"document.querySelector({json.dumps(selector)})?.innerText")
        )

    async def value(self, selector: str) -> str:
        return str(await self.tab.until(f"document.querySelector({json.dumps(selector)})?.value"))

    async def can_be_used_by_everybody(self) -> None:
        await looks.check(self.tab, f"checked-{self._name}")

    async def picture(self, what: str) -> None:
        await looks.picture(self.tab, f"{what}-{self._name}")


class Keyboard(Page):
    """The same by Tab, Enter, Space and arrows alone; what the keyboard cannot reach fails."""

    async def go_to(self, where: str) -> None:
        """`where` is an expression that gives the element."""
        await self.tab.until(f"({where}) && !({where}).disabled")
        for _ in range(200):
            if await self.tab.evaluate(f"document.activeElement === ({where})"):
                return
            await self.tab.key("Tab")
        raise AssertionError(f"the keyboard does not reach {where}")

    async def type(self, selector: str, text: str) -> None:
        field = f"document.querySelector({json.dumps(f'main {selector}')})"
        await self.go_to(field)
        await self.tab.type(text)
        assert await self.tab.evaluate(f"{field}.value") == text

    async def choose(self, selector: str, words: str) -> None:
        """The option that has these words."""
        field = f"document.querySelector({json.dumps(selector)})"
        await self.go_to(field)
        chosen = f"{field}.selectedOptions[0].textContent.includes({json.dumps(words)})"
        for _ in range(await self.tab.evaluate(f"{field}.length")):
            if await self.tab.evaluate(chosen):
                return
            await self.tab.key("ArrowDown")
        assert await self.tab.evaluate(chosen)

    async def toggle(self, selector: str) -> None:
        await self.go_to(f"document.querySelector({json.dumps(selector)})")
        await self.tab.key(" ")

    async def enter(self, words: str) -> None:
        await self.go_to(
            "[...document.querySelectorAll('button')]"
            f".find(one => one.textContent === {json.dumps(words)})"
        )
        await self.tab.key("Enter")


@asynccontextmanager
async def keyboard(party: Party) -> AsyncIterator[Keyboard]:
    async with page(party) as shown:
        yield Keyboard(shown.tab, party.host.name)


@asynccontextmanager
async def page(party: Party, **how: Any) -> AsyncIterator[Page]:
    command = party.start("ui", "--no-open", "--json", **{"as_root": True, **how})
    url = await address(command)
    async with tab(namespace=NETNS / party.host.namespace) as browser:
        await browser.look(1280, 900)
        await browser.open(url)
        try:
            yield Page(browser, party.host.name)
        finally:
            command.process.terminate()
            assert await asyncio.to_thread(command.wait) == 0, command.told()


async def address(command: Command) -> str:
    deadline = time.monotonic() + 60
    while not command.events:
        assert command.process.poll() is None, command.told()
        assert time.monotonic() < deadline, command.told()
        await asyncio.sleep(0.05)
    return str(command.events[0]["url"])
