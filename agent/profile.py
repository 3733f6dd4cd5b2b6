"""Which profile a command means, and how it is opened.

Beside the keystore lies a card, `profiles/NAME.card`: what anybody may know (DID, mediator, whether
it is registered), so that showing it needs no passphrase. The card can be made again at any time.

Passphrases come from a file, the variable DIDMESH_PASSPHRASE or a prompt; never from arguments,
which every user of a machine can read.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from agent.errors import PassphraseMissing, ProfileMissing, UsageMistake
from identity.keystore import Keystore, Profile, profile_path

PASSPHRASE_VARIABLE = "DIDMESH_PASSPHRASE"  # noqa: S105 - its name
DEFAULT = "default"


@dataclass(frozen=True)
class Card:
    """What may be shown of a profile to anyone."""

    did: str
    mediator: str | None
    registered: bool


@dataclass(frozen=True)
class Choice:
    """The profile that a command line names."""

    name: str
    passphrase_file: Path | None
    turn: str | None = None  # URL of a TURN server, in place of the one in `turn_file`
    try_hard: bool = False  # to take part in birthday attempts

    @property
    def turn_file(self) -> Path:
        return profile_path(self.name).with_suffix(".turn")

    @property
    def folder(self) -> Path:
        """Where everything of all profiles lies: $DIDMESH_HOME."""
        return profile_path(self.name).parent.parent

    def exists(self) -> bool:
        return Keystore(profile_path(self.name)).exists()

    def load(self) -> Profile:
        """The profile with its secrets.

        Raises: ProfileMissing, PassphraseMissing, KeystoreError.
        """
        passphrase = self.passphrase()
        return Keystore(profile_path(self.name)).load(passphrase)

    def passphrase(self) -> str | None:
        """What opens the profile, or None for one without; not tried yet.

        Raises: ProfileMissing, PassphraseMissing.
        """
        store = Keystore(profile_path(self.name))
        if not store.exists():
            raise ProfileMissing(self.name)
        return self._passphrase(new=False) if store.is_encrypted() else None

    def passphrase_for_new(self) -> str:
        """The passphrase of a profile that is to be made; a prompt asks twice."""
        passphrase = self._passphrase(new=True)
        if not passphrase:
            raise UsageMistake("the passphrase is empty", "--unencrypted keeps keys without one")
        return passphrase

    def create(self, profile: Profile, passphrase: str | None) -> None:
        """Save a new profile. Raises: KeystoreExists, KeystoreError."""
        path = profile_path(self.name, encrypted=passphrase is not None)
        Keystore(path).save(profile, passphrase, create=True)

    def card(self) -> Card:
        """What may be shown; asks for the passphrase only if there is no card yet."""
        try:
            return Card(**json.loads(self._card_path().read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            profile = self.load()
            card = Card(profile.did, profile.mediator, registered=False)
            self.write_card(card)
            return card

    def write_card(self, card: Card) -> None:
        path = self._card_path()
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        new.write_text(json.dumps(asdict(card)))
        new.replace(path)

    def _card_path(self) -> Path:
        return profile_path(self.name).with_suffix(".card")

    def _passphrase(self, *, new: bool) -> str:
        if self.passphrase_file is not None:
            with self.passphrase_file.open() as file:
                return file.readline().rstrip("\n")
        if (passphrase := os.environ.get(PASSPHRASE_VARIABLE)) is not None:
            return passphrase
        if not sys.stdin.isatty():
            raise PassphraseMissing(self.name, new=new)
        words = f"{'New passphrase' if new else 'Passphrase'} for profile {self.name!r}"
        answer: str = click.prompt(words, hide_input=True, confirmation_prompt=new, err=True)
        return answer


def profile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --profile and --passphrase-file; the command is given `choice`, a Choice."""

    @functools.wraps(command)
    def with_choice(*, profile: str, passphrase_file: Path | None, **rest: Any) -> Any:
        return command(choice=Choice(profile, passphrase_file), **rest)

    return _PASSPHRASE_FILE(_PROFILE(with_choice))


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for commands that compute, with --turn and --try-hard."""

    @functools.wraps(command)
    def with_wishes(*, choice: Choice, turn: str | None, try_hard: bool, **rest: Any) -> Any:
        return command(choice=replace(choice, turn=turn, try_hard=try_hard), **rest)

    return _TURN(_TRY_HARD(profile_options(with_wishes)))


_TURN = click.option(
    "--turn",
    envvar="DIDMESH_TURN",
    metavar="URL",
    help="A TURN server as one more relay; user and password in DIDMESH_TURN_USER and"
    " DIDMESH_TURN_PASSWORD, or all three in the profile's .turn file.",
)
_TRY_HARD = click.option(
    "--try-hard",
    is_flag=True,
    help="Where only guessing gives a direct path, guess, if the other side does: up to 2048"
    " datagrams to random ports, or 256 ports of ours. Looks like a port scan.",
)
_PROFILE = click.option(
    "--profile", default=DEFAULT, metavar="NAME", help="Which of your profiles.", show_default=True
)
_PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File whose first line opens the profile; else {PASSPHRASE_VARIABLE}, else a prompt.",
)
