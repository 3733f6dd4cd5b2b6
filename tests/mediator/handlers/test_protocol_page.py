"""docs/protocols/mediator.md is true: its messages are understood, its codes are those in use."""

import re
from pathlib import Path

from messaging.message import Message
from messaging.protocols import discover_features as discovery
from tests.support.mediator_client import Party

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/protocols/mediator.md").read_text()
CODE = re.compile(r"[ew]\.[pm]\.[a-z0-9_.-]+")


def documented() -> dict[str, list[str]]:
    """The messages that are accepted, by protocol."""
    sections = re.split(r"^#+ ", PAGE, flags=re.MULTILINE)
    protocols = [section for section in sections if section.startswith("https://")]
    return {
        section.partition("\n")[0]: re.findall(r"^\| `([a-z-]+)`", section, re.MULTILINE)
        for section in protocols
    }


async def test_the_page_has_every_protocol_that_is_disclosed_and_no_other(stranger: Party) -> None:
    request = discovery.Queries((discovery.Query("protocol", "*"),))
    answer = discovery.Disclose.from_message(await stranger.ask(request.to_message()))
    assert sorted(feature.id for feature in answer.disclosures) == sorted(documented())


async def test_every_message_on_the_page_is_understood(stranger: Party) -> None:
    for protocol, names in documented().items():
        for name in names:
            reply = await stranger.post(await stranger.seal(Message(f"{protocol}/{name}")))
            if reply.body:
                answer = (await stranger.open(reply.body)).message
                assert answer.body.get("code") != "e.p.msg.unsupported", f"{protocol}/{name}"


async def test_every_message_that_is_understood_is_on_the_page(stranger: Party) -> None:
    """Of every protocol each name that any of them has, so that none is forgotten."""
    names = {name for listed in documented().values() for name in listed}
    for protocol, listed in documented().items():
        for name in names - set(listed):
            unknown = Message(f"{protocol}/{name}")
            if name == "problem-report":
                continue  # of whatever protocol, it is not answered
            assert await stranger.problem(unknown) == "e.p.msg.unsupported", unknown.type


def test_the_codes_on_the_page_are_those_in_use() -> None:
    table = PAGE.partition("## Problem codes")[2]
    on_page = set(re.findall(r"^\| `([^`]+)` \| \d", table, re.MULTILINE))
    in_use = {
        code
        for file in (ROOT / "mediator").rglob("*.py")
        for code in re.findall(rf'"({CODE.pattern})"', file.read_text())
    }
    assert in_use == on_page
