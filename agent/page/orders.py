"""What the page may ask for, as command lines: a closed set, each word checked.

Values stand behind "--option=" or behind "--", so that none of them can be an option itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_TEXT = 8192  # characters; a link is the longest
MAX_FILES = 64  # compared at a time: one of each party
MAX_NAME = 60  # characters of a file's
_TRANSCRIPT = re.compile(r"[0-9a-f]{16}[\w.-]{0,32}\.json")


class BadOrder(ValueError):
    """The page asked for nothing that we know; one sentence."""


@dataclass(frozen=True)
class Order:
    """Words for `agent`; `inputs` are lines `name=value`, which no argument may show."""

    words: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    claim: str = field(default="", repr=False)  # a vouch to show, too long for an argument
    passphrase: str | None = field(default=None, repr=False)  # of a profile that is to be made
    rootless: bool = False  # it needs no network helper of ours
    standing: bool = False  # it waits for one session after the other
    files: Mapping[str, str] = field(default_factory=dict)  # to be there for it, by their names


def session_order(asked: Mapping[str, Any], profile: Sequence[str]) -> Order:
    """A command that lives on and tells events: host, join, run. Raises: BadOrder.

    `profile` are the words that name ours.
    """
    rootless = asked.get("rootless") is True
    options = [*profile, "--json", *(["--rootless"] if rootless else [])]
    inputs = tuple(_texts(asked, "inputs"))
    claim = "" if asked.get("resume") is True else _text(asked, "claim", "").strip()
    match _text(asked, "command"):
        case "host":
            words = ["host", *options, "--answers", *_host(asked)]
        case "join":
            link = _text(asked, "link", "")
            seat = _named(asked, "name", "mediator", "role")
            seat += ["--standing"] if asked.get("standing") is True else []
            words = ["join", *options, "--answers", *seat, *(["--", link] if link else [])]
        case "run":
            parties = [*_others(asked), *_named(asked, "role", "order")]
            words = ["run", *options, *parties, "--", _text(asked, "program")]
        case _:
            raise BadOrder("there is no such command")
    standing = "--standing" in words
    return Order(tuple(words), inputs, claim, rootless=rootless, standing=standing)


def identity_order(asked: Mapping[str, Any], profile: Sequence[str]) -> Order:
    """Keys and a DID, sealed unless the page says in so many words not to. Raises: BadOrder."""
    words = ("create-did", *profile, "--json", f"--mediator={_text(asked, 'mediator')}")
    if asked.get("unencrypted") is True:
        return Order((*words, "--unencrypted"))
    return Order(words, passphrase=_text(asked, "passphrase"))


def short_order(asked: Mapping[str, Any], profile: Sequence[str]) -> Order:
    """A command that answers at once with JSON. Raises: BadOrder."""
    match _text(asked, "command"):
        case "me":
            return Order(("show", *profile, "--json"))
        case "register":
            return Order(("create-did", *profile, "--json"))
        case "status":
            return Order(("status", *profile, "--json"))
        case "programs":
            return Order(("program", "list", "--json"))
        case "program" | "approve" | "forget-program" as verb:
            name = {"program": "show", "approve": "approve", "forget-program": "rm"}[verb]
            return Order(("program", name, "--json", "--", _text(asked, "program")))
        case "add-program":
            return Order(("program", "add", "--json", "--", _text(asked, "path")))
        case "allowed":
            return Order(("allow", *profile, "--json"))
        case "allow":
            words = ("allow", *profile, "--json", *_named(asked, "days"), *_others(asked))
            return Order((*words, "--", _text(asked, "program")))
        case "revoke":
            words = ("allow", *profile, "--json", "--revoke", *_others(asked))
            return Order((*words, "--", _text(asked, "program")))
        case "contacts":
            return Order(("contacts", "list", "--json"))
        case "name":
            return Order(("contacts", "name", "--", _text(asked, "did"), _text(asked, "name")))
        case "words":
            return _verify(profile, _text(asked, "name"))
        case "verify-contact":
            return _verify((*profile, "--yes"), _text(asked, "name"))
        case "forget":
            return Order(("contacts", "rm", "--", _text(asked, "name")))
    raise BadOrder("there is no such command")


def verify_order(asked: Mapping[str, Any], transcripts: Path) -> Order:
    """One of our transcripts, files of others, or all of them compared. Raises: BadOrder."""
    own = _text(asked, "transcript", "")
    if own and not _TRANSCRIPT.fullmatch(own):
        raise BadOrder("this is not the name of a transcript")
    files = asked.get("files", [])
    if not isinstance(files, list) or len(files) > MAX_FILES or not (own or files):
        raise BadOrder("there is nothing to verify")
    given: dict[str, str] = {}
    for file in files:
        if not isinstance(file, dict) or not isinstance(text := file.get("text"), str):
            raise BadOrder("this is no file")
        given[_file_name(_text(file, "name"), given)] = text
    names = [*([str(transcripts / own)] if own else []), *given]
    return Order(("verify", "--json", "--", *names), files=given)


def _file_name(wanted: str, taken: Collection[str]) -> str:
    """A name in one folder; everybody's transcript of one session is called the same."""
    plain = wanted.replace("/", "_").lstrip(".")[-MAX_NAME:] or "file"
    names = itertools.chain([plain], (f"{plain} ({number})" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def _verify(options: Sequence[str], name: str) -> Order:
    return Order(("contacts", "verify", *options, "--json", "--", name))


def _host(asked: Mapping[str, Any]) -> list[str]:
    words = _named(asked, "name", "admit")
    if asked.get("resume") is True:
        return [*words, "--resume"]
    words += [*_named(asked, "seats", "role", "title"), *_others(asked)]
    words += [f"--require-vouch={one}" for one in _texts(asked, "require-vouch")]
    words += _named(asked, "require-login", "client-id", "email")
    words += ["--again"] if asked.get("again") is True else []
    return [*words, "--", _text(asked, "program")]


def _others(asked: Mapping[str, Any]) -> list[str]:
    return [f"--with={one}" for one in _texts(asked, "with")]


def _named(asked: Mapping[str, Any], *names: str) -> list[str]:
    given = ((name, _text(asked, name, "")) for name in names)
    return [f"--{name}={value}" for name, value in given if value]


def _texts(asked: Mapping[str, Any], name: str) -> Sequence[str]:
    values = asked.get(name, [])
    if not isinstance(values, list) or len(values) > 64:
        raise BadOrder(f"{name} is not a list")
    return [_checked(value, name) for value in values]


def _text(asked: Mapping[str, Any], name: str, default: str | None = None) -> str:
    return _checked(asked.get(name, default), name)


def _checked(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise BadOrder(f"{name} is missing, or not one line of text")
    return value
