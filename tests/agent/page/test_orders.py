"""What the page may ask for: known commands, and no word of a stranger becomes an option."""

from pathlib import Path
from typing import Any

import pytest

from agent.page.orders import (
    BadOrder,
    Order,
    identity_order,
    session_order,
    short_order,
    verify_order,
)

PROFILE = ("--profile=work",)
KEPT = Path("/kept")


def test_a_lobby_is_hosted_as_on_the_command_line() -> None:
    asked = {"command": "host", "program": "auction", "seats": "3", "title": "Boat", "admit": "ask"}
    order = session_order({**asked, "with": ["did:a"], "inputs": ["bid=120"]}, PROFILE)
    words = ("--admit=ask", "--seats=3", "--title=Boat", "--with=did:a", "--", "auction")
    assert order == Order(("host", "--profile=work", "--json", "--answers", *words), ("bid=120",))


def test_the_same_people_are_called_again_by_one_word() -> None:
    asked = {"command": "host", "program": "auction", "again": True, "inputs": ["bid=120"]}
    assert session_order(asked, PROFILE).words[-3:] == ("--again", "--", "auction")


def test_what_was_allowed_is_taken_part_in_again_and_again() -> None:
    asked = {"command": "join", "standing": True, "inputs": ["bid=120"]}
    order = session_order(asked, PROFILE)
    assert order.standing
    assert order.words[-1] == "--standing"
    assert order.inputs == ("bid=120",)
    assert not session_order({"command": "join", "name": "--standing"}, PROFILE).standing


def test_a_guest_says_which_seat_it_would_like() -> None:
    order = session_order({"command": "join", "link": "x", "role": "helper"}, PROFILE)
    assert order.words[-3:] == ("--role=helper", "--", "x")


def test_claims_are_required_as_on_the_command_line() -> None:
    login = {"require-login": "https://a.example", "client-id": "c", "email": "*@uni.example"}
    asked = {"command": "host", "program": "auction", "require-vouch": ["--x", "did:a"], **login}
    words = session_order(asked, PROFILE).words
    required = ("--require-vouch=--x", "--require-vouch=did:a")
    assert words[4:6] == required
    assert words[6:9] == tuple(f"--{name}={value}" for name, value in login.items())


def test_a_vouch_is_handed_over_and_stands_in_no_argument() -> None:
    order = session_order({"command": "join", "link": "x", "claim": " a.b.c "}, PROFILE)
    assert order.claim == "a.b.c"
    assert not any("a.b.c" in word for word in order.words)
    assert "a.b.c" not in repr(order)


@pytest.mark.parametrize(
    "asked",
    [
        {"command": "host", "program": "auction"},
        {"command": "host", "resume": True},
        {"command": "join", "link": "x"},
        {"command": "join"},
        {"command": "run", "program": "auction", "with": ["did:a"]},
    ],
    ids=str,
)
def test_every_session_runs_rootless_if_that_is_chosen(asked: dict[str, Any]) -> None:
    assert not session_order(asked, PROFILE).rootless
    assert "--rootless" not in session_order({**asked, "rootless": "yes"}, PROFILE).words
    order = session_order({**asked, "rootless": True}, PROFILE)
    assert order.rootless
    assert "--rootless" in order.words[:4]


def test_inputs_stand_in_no_argument() -> None:
    asked = {"command": "run", "program": "auction", "with": ["did:a"], "inputs": ["bid=120"]}
    order = session_order(asked, PROFILE)
    assert "120" not in " ".join(order.words)
    assert order.inputs == ("bid=120",)


def test_a_passphrase_stands_in_no_argument_and_no_description() -> None:
    asked = {"command": "create-did", "mediator": "https://m.example", "passphrase": "open sesame"}
    order = identity_order(asked, PROFILE)
    words = ("create-did", "--profile=work", "--json", "--mediator=https://m.example")
    assert order.words == words
    assert order.passphrase == "open sesame"
    assert "sesame" not in repr(order)


def test_keys_are_sealed_unless_the_page_says_not_to() -> None:
    asked: dict[str, Any] = {"mediator": "https://m.example"}
    for one in ({}, {"unencrypted": "true"}, {"unencrypted": 1}, {"passphrase": "a\nb"}):
        with pytest.raises(BadOrder):
            identity_order({**asked, **one}, PROFILE)
    order = identity_order({**asked, "unencrypted": True, "passphrase": ""}, PROFILE)
    assert order.words[-1] == "--unencrypted"
    assert order.passphrase is None


@pytest.mark.parametrize("name", ["--help", "--passphrase-file=/etc/shadow", "-v"])
def test_a_value_that_looks_like_an_option_is_none(name: str) -> None:
    hosted = session_order({"command": "host", "program": name, "title": name}, PROFILE)
    assert hosted.words[-2:] == ("--", name)
    assert f"--title={name}" in hosted.words
    joined = session_order({"command": "join", "link": name}, PROFILE)
    assert joined.words[-2:] == ("--", name)
    for asked in (
        {"command": "program", "program": name},
        {"command": "approve", "program": name},
        {"command": "allow", "program": name, "with": [], "days": "3"},
        {"command": "revoke", "program": name, "with": []},
        {"command": "name", "did": name, "name": name},
        {"command": "verify-contact", "name": name},
        {"command": "forget", "name": name},
    ):
        words = short_order(asked, PROFILE).words
        assert name not in words[: words.index("--")]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"command": "create-did"},
        {"command": ["host"]},
        {"command": "host"},
        {"command": "host", "program": 7},
        {"command": "host", "program": "a\nb"},
        {"command": "host", "program": "a\0"},
        {"command": "host", "program": "x" * 9000},
        {"command": "host", "program": "a", "with": "did:a"},
        {"command": "host", "program": "a", "with": [7]},
        {"command": "host", "program": "a", "inputs": ["bid=1\nbid=2"]},
        {"command": "join", "link": "\ud800"},
    ],
    ids=str,
)
def test_everything_else_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BadOrder):
        session_order(asked, PROFILE)
    with pytest.raises(BadOrder):
        short_order(asked, PROFILE)


@pytest.mark.parametrize(
    "name",
    ["../profiles/default.age", "/etc/passwd", "0123456789abcdef.card", "", "a.json", "0" * 16],
)
def test_only_transcripts_are_verified(name: str) -> None:
    with pytest.raises(BadOrder):
        verify_order({"transcript": name}, KEPT)
    order = verify_order({"transcript": "0123456789abcdef.json"}, KEPT)
    assert order.words == ("verify", "--json", "--", "/kept/0123456789abcdef.json")


def test_files_of_others_that_are_called_the_same_are_told_apart() -> None:
    files = [{"name": "4f2a.json", "text": text} for text in ("bob's", "carol's", "dave's")]
    order = verify_order({"files": files}, KEPT)
    names = ("4f2a.json", "4f2a.json (2)", "4f2a.json (3)")
    assert order.words == ("verify", "--json", "--", *names)
    assert order.files == dict(zip(names, ("bob's", "carol's", "dave's"), strict=True))


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".", "...", "x" * 300, "a/../b"])
def test_no_name_of_a_file_leads_out_of_its_folder(name: str) -> None:
    [kept] = verify_order({"files": [{"name": name, "text": ""}]}, KEPT).files
    assert "/" not in kept
    assert kept not in (".", "..", "")
    assert len(kept) <= 80


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"files": []},
        {"files": "x"},
        {"files": [{}]},
        {"files": [{"name": "a", "text": 7}]},
        {"files": [{"name": "a\0b", "text": ""}]},
        {"files": [{"name": "a", "text": ""}] * 65},
    ],
    ids=lambda asked: str(asked)[:40],
)
def test_what_is_no_file_is_not_verified(asked: dict[str, Any]) -> None:
    with pytest.raises(BadOrder):
        verify_order(asked, KEPT)
