"""Commands of an operator, beside a running mediator and without one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mediator.addresses import shorten
from mediator.app import Mediator
from mediator.cli import run
from mediator.guard.admission import INTERVAL
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols.out_of_band import Invitation
from messaging.protocols.report_problem import ProblemReport
from tests.support.mediator_client import Party

Command = Callable[..., Awaitable[Any]]
NOT_ENROLLED = "e.p.req.not_enroll"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "mediator.db"


@pytest.fixture
def text(data: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command as a terminal would; gives what it prints."""

    async def call(*arguments: str, code: int = 0) -> str:
        assert await asyncio.to_thread(run, [*arguments, "--data", str(data)]) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    return call


@pytest.fixture
def command(text: Command) -> Command:
    """The same with --json."""

    async def call(*arguments: str) -> Any:
        return json.loads(await text(*arguments, "--json"))

    return call


# status


async def test_status_says_what_waits_and_for_whom(
    alice: Party, bob: Party, command: Command
) -> None:
    for number in range(3):
        await alice.forward(bob.did, {"n": number})
    await alice.forward("did:peer:2.nobody", {"n": 1})
    facts = await command("status")
    facts.pop("relay")  # of whatever mediator runs on this host
    oldest = facts["queued"].pop("oldest_seconds")
    assert oldest in range(5)
    assert facts == {
        "registration": "open",
        "accounts": 2,
        "recipients": 2,
        "queued": {"messages": 3, "bytes": 21},
        "outgoing": {"messages": 0, "bytes": 0, "passes_on": True},
        "unknown_recipient": 1,
        "top": [
            {
                "did": shorten(bob.did),
                "recipients": 1,
                "messages": 3,
                "bytes": 21,
                "oldest_seconds": facts["top"][0]["oldest_seconds"],
            }
        ],
    }


async def test_status_tells_dids_apart_without_showing_them(
    alice: Party, bob: Party, text: Command
) -> None:
    for party in (alice, bob):
        await alice.forward(party.did, {"to": party.did[:20]})
    shown = await text("status")
    assert shorten(alice.did) != shorten(bob.did)
    for party in (alice, bob):
        assert shorten(party.did) in shown
        assert party.did[:40] not in shown
    assert "2 messages" in shown


# accounts


async def test_accounts_are_listed_with_what_waits(
    alice: Party, bob: Party, command: Command, text: Command
) -> None:
    await alice.forward(bob.did, {"n": 1})
    first, second = (await command("accounts", "list"))["accounts"]
    assert (first["did"], second["did"]) == (bob.did, alice.did)
    assert first.keys() == {"did", "created", "recipients", "messages", "bytes", "oldest"}
    assert shorten(bob.did) in await text("accounts", "list")
    assert bob.did in await text("accounts", "list", "--whole")


async def test_a_closed_account_is_gone_at_once(alice: Party, bob: Party, command: Command) -> None:
    await alice.forward(bob.did, {"n": 1})
    closed = await command("accounts", "close", bob.did)
    assert closed == {"did": bob.did, "recipients": 1, "messages": 1, "bytes": 7}
    assert await bob.problem(mediation.RecipientQuery().to_message()) == NOT_ENROLLED
    assert (await alice.status()).message_count == 0


async def test_an_account_can_be_closed_by_its_shortened_name(
    alice: Party, bob: Party, text: Command
) -> None:
    assert shorten(bob.did) in await text("accounts", "close", shorten(bob.did))
    assert "0 accounts are shortened to" in await text(
        "accounts", "close", shorten(bob.did), code=1
    )
    assert (await alice.status()).message_count == 0


async def test_closed_registration_keeps_newcomers_out_and_the_others_in(
    alice: Party, stranger: Party, command: Command
) -> None:
    assert await command("accounts", "registration") == {"registration": "open"}
    assert await command("accounts", "registration", "closed") == {"registration": "closed"}
    assert await outcome(stranger) == "mediate-deny"
    assert await outcome(alice) == "mediate-grant"
    assert await command("accounts", "registration", "open") == {"registration": "open"}
    assert await outcome(stranger) == "mediate-grant"


async def test_who_is_allowed_comes_in_though_registration_is_closed(
    party: Callable[[], Party], command: Command
) -> None:
    alice, bob = party(), party()
    await command("accounts", "registration", "closed")
    assert await command("accounts", "allow", alice.did) == {"pattern": alice.did, "allow": True}
    assert [await outcome(each) for each in (alice, bob)] == ["mediate-grant", "mediate-deny"]
    await command("accounts", "allow", "did:peer:*")
    await command("accounts", "deny", bob.did)
    assert await outcome(bob) == "mediate-deny"
    assert await command("accounts", "forget", bob.did) == {"forgotten": bob.did}
    assert await outcome(bob) == "mediate-grant"
    assert (await command("accounts", "rules"))["rules"] == [
        {"pattern": "did:peer:*", "allow": True},
        {"pattern": alice.did, "allow": True},
    ]


async def test_who_is_denied_can_do_nothing_any_more(
    alice: Party, bob: Party, command: Command
) -> None:
    await command("accounts", "deny", bob.did)
    await asyncio.sleep(INTERVAL + 0.5)
    assert await bob.problem(mediation.RecipientQuery().to_message()) == NOT_ENROLLED
    assert await outcome(bob) == "mediate-deny"
    reply = await bob.post(await bob.sealed_forward(alice.did, {"n": 1}, known=True))
    assert reply.status == 403
    assert ProblemReport.from_message((await bob.open(reply.body)).message).code == "e.p.trust"
    assert (await alice.forward(alice.did, {"n": 2})).status == 200


@pytest.mark.parametrize("pattern", ["nonsense", "did:web:*.example", "did:peer:**", "x*"])
async def test_a_wrong_rule_is_refused(mediator: Mediator, text: Command, pattern: str) -> None:
    assert "mediator: " in await text("accounts", "allow", pattern, code=2)


# invite


async def test_the_public_invitation_is_the_one_that_show_prints(
    mediator: Mediator, command: Command, text: Command
) -> None:
    facts = await command("invite")
    assert facts.keys() == {"url", "id", "uses", "expires", "note"}
    assert facts["url"] == mediator.identity.invitation_url == (await command("show"))["invitation"]
    shown = await text("invite")
    assert shown.splitlines()[0] == facts["url"]
    assert "▀" in shown
    assert await text("invite", "--no-qr") == f"{facts['url']}\n"


async def test_whoever_follows_a_new_invitation_comes_in_though_registration_is_closed(
    party: Callable[[], Party], mediator: Mediator, command: Command
) -> None:
    """As out-of-band 2.0 says: the id of the invitation is the `pthid` of the first message."""
    alice, bob = party(), party()
    await command("accounts", "registration", "closed")
    made = await command("invite", "--new", "--uses", "1", "--expires", "7d", "--note", "for Alice")
    invitation = Invitation.from_url(made["url"])
    assert (invitation.id, invitation.frm) == (made["id"], mediator.identity.did)
    assert made["expires"] - time.time() > 6 * 86_400
    assert await outcome(alice) == "mediate-deny"
    assert await outcome(alice, pthid="a guess") == "mediate-deny"
    assert await outcome(alice, pthid=invitation.id) == "mediate-grant"
    assert await outcome(alice) == "mediate-grant"
    assert await outcome(bob, pthid=invitation.id) == "mediate-deny"
    [listed] = (await command("accounts", "invitations"))["invitations"]
    assert listed.keys() == {"id", "created", "expires", "uses", "note", "used", "usable"}
    assert (listed["used"], listed["usable"], listed["note"]) == (1, False, "for Alice")


async def test_both_versions_of_coordination_know_invitations(
    stranger: Party, command: Command
) -> None:
    await command("accounts", "registration", "closed")
    made = await command("invite", "--new")
    request = mediation.MediateRequest().to_message(mediation.Version.V2, pthid=made["id"])
    assert (await stranger.ask(request)).type.endswith("2.0/mediate-grant")


async def test_a_revoked_invitation_lets_nobody_in(
    stranger: Party, command: Command, text: Command
) -> None:
    await command("accounts", "registration", "closed")
    made = await command("invite", "--new")
    assert made["id"] not in await text("accounts", "invitations")
    assert await command("accounts", "revoke", made["id"][:8]) == {"revoked": made["id"], "used": 0}
    assert await outcome(stranger, pthid=made["id"]) == "mediate-deny"
    assert "0 invitations begin so" in await text("accounts", "revoke", made["id"], code=1)


async def test_an_invitation_that_helps_nobody_is_not_given_without_a_word(
    mediator: Mediator, data: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    await command("accounts", "registration", "closed")
    await asyncio.to_thread(run, ["invite", "--data", str(data)])
    assert "registration is closed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--uses", "3"), ("--new", "--expires", "soon")])
async def test_wrong_wishes_are_refused(
    mediator: Mediator, text: Command, arguments: tuple[str, ...]
) -> None:
    assert "mediator: " in await text("invite", *arguments, code=2)


# whoever runs them


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_root_becomes_the_owner_of_the_file_so_that_the_mediator_may_go_on_writing() -> None:
    import subprocess
    import sys

    from tests.support.mediator_process import CHECKOUT, facts, folder, process, run_argv

    with folder() as place:
        file = place / "m.db"
        with process(run_argv(file)) as started:
            facts(started)
        subprocess.run(
            [sys.executable, "-m", "mediator", "accounts", "deny", "did:web:x", "--data", file],
            cwd=CHECKOUT,
            check=True,
            capture_output=True,
        )
        assert {each.stat().st_uid for each in place.iterdir()} == {place.stat().st_uid} != {0}


def test_every_command_of_accounts_shows_an_example() -> None:
    from mediator.commands.accounts import command as accounts

    for name, each in accounts.commands.items():
        assert f"mediator accounts {name}" in re.sub(r"\s+", " ", each.epilog or ""), name
        assert each.help


async def outcome(party: Party, pthid: str | None = None) -> str:
    """What comes of a request for mediation."""
    answer = await party.ask(mediation.MediateRequest().to_message(pthid=pthid))
    return answer.type.rpartition("/")[2]
