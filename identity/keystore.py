"""A party's profile on disk: its DID, the keys of it, its mediator.

One file each, readable by its owner alone, sealed by a passphrase unless the caller asks
otherwise. A crash at any moment leaves the old file or the new one, never half of either.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from identity import age
from identity.codec import parse_json
from identity.did import did_of, parse_did
from identity.errors import (
    IdentityError,
    KeystoreCorrupt,
    KeystoreError,
    KeystoreExists,
    KeystoreMissing,
    PassphraseNeeded,
    WrongPassphrase,
)
from identity.keys import PrivateKey

MAX_BYTES = 64 * 1024  # before it is sealed
_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Profile:
    """Who we are. `secrets` are by absolute key id; `mediator` is a DID."""

    did: str
    secrets: Mapping[str, PrivateKey] = field(repr=False)
    mediator: str | None = None


def profile_path(name: str, home: Path | None = None, *, encrypted: bool = True) -> Path:
    """Where the profile called `name` is, or is to be: NAME.age, or NAME.json if not encrypted.

    `home` defaults to $DIDMESH_HOME, $XDG_DATA_HOME/didmesh, ~/.local/share/didmesh.

    Raises: KeystoreError, if no file can have this name.
    """
    folder = (home or home_folder()) / "profiles"
    if not _NAME.fullmatch(name):
        problem = f"{name!r} is no name for a profile: letters, digits, '.', '_', '-'"
        raise KeystoreError(folder, problem)
    age_file, json_file = folder / f"{name}.age", folder / f"{name}.json"
    if age_file.exists():
        return age_file
    return age_file if encrypted and not json_file.exists() else json_file


class Keystore:
    """The file of one profile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def is_encrypted(self) -> bool:
        """Whether `load` wants a passphrase. Raises: KeystoreError."""
        return self._read().startswith(age.MAGIC)

    def load(self, passphrase: str | None) -> Profile:
        """Read the profile; the passphrase of one that has none is not looked at.

        Raises: KeystoreMissing, PassphraseNeeded, WrongPassphrase, KeystoreCorrupt, KeystoreError.
        """
        data = self._read()
        if data.startswith(age.MAGIC):
            data = self._unseal(data, passphrase)
        elif self.path.stat().st_mode & 0o077:
            raise KeystoreError(self.path, "others can read its keys: chmod 600 it")
        try:
            return _profile(parse_json(data, depth=4))
        except (ValueError, KeyError, TypeError, AttributeError, IdentityError) as error:
            # What stood there may be secret: the kind of the error says enough.
            problem = f"the profile is damaged ({type(error).__name__})"
            raise KeystoreCorrupt(self.path, problem) from None

    def save(self, profile: Profile, passphrase: str | None, *, create: bool = False) -> None:
        """Write the profile; with `create` only if there is none, without only over one.

        No passphrase means that the keys are to lie there unencrypted; it never takes the
        encryption off a file that has it.

        Raises: KeystoreExists, KeystoreMissing, PassphraseNeeded, KeystoreError.
        """
        if create and self.exists():
            raise KeystoreExists(self.path)  # known before the slow part
        if not create and self.is_encrypted() and passphrase is None:
            raise PassphraseNeeded(self.path)
        data = orjson.dumps(_json(profile))
        if len(data) > MAX_BYTES:
            raise KeystoreError(self.path, f"a profile of more than {MAX_BYTES} bytes")
        if passphrase is not None:
            data = age.seal(data, passphrase)
        try:
            self._write(data, create=create)
        except FileExistsError:
            raise KeystoreExists(self.path) from None
        except OSError as error:
            raise KeystoreError(self.path, f"cannot be written: {error.strerror}") from error

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                data = file.read(2 * MAX_BYTES)
        except FileNotFoundError:
            raise KeystoreMissing(self.path) from None
        except OSError as error:
            raise KeystoreError(self.path, f"cannot be read: {error.strerror}") from error
        if len(data) == 2 * MAX_BYTES:
            raise KeystoreCorrupt(self.path, "too large for a profile")
        return data

    def _unseal(self, data: bytes, passphrase: str | None) -> bytes:
        if passphrase is None:
            raise PassphraseNeeded(self.path)
        try:
            return age.unseal(data, passphrase)
        except age.WrongPassphraseError:
            raise WrongPassphrase(self.path) from None
        except age.TooBusyError:
            raise KeystoreError(
                self.path,
                "the passphrase cannot be tried, this machine is too busy: try again later",
            ) from None
        except ValueError as error:
            raise KeystoreCorrupt(self.path, f"the encrypted profile is damaged: {error}") from None

    def _write(self, data: bytes, *, create: bool) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if create:
                # A second name, since a rename would replace what somebody else just made.
                self.path.hardlink_to(new)
            else:
                new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)
        _sync_folder(self.path.parent)


def home_folder() -> Path:
    if home := os.environ.get("DIDMESH_HOME"):
        return Path(home)
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "didmesh"
    return Path.home() / ".local" / "share" / "didmesh"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(profile: Profile) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "did": profile.did,
        "mediator": profile.mediator,
        "secrets": {kid: key.to_jwk() for kid, key in profile.secrets.items()},
    }


def _profile(value: dict[str, Any]) -> Profile:
    if value["version"] != _VERSION:
        raise ValueError("not a profile of this version")
    did, mediator = value["did"], value["mediator"]
    parse_did(did)
    if mediator is not None:
        parse_did(mediator)
    keys = {kid: PrivateKey.from_jwk(jwk) for kid, jwk in value["secrets"].items()}
    if not keys or any(did_of(kid) != did for kid in keys):
        raise ValueError("keys of another DID, or none")
    return Profile(did, keys, mediator)
