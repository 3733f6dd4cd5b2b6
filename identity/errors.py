"""What can be wrong with an identity; a class for each way a caller acts."""

from __future__ import annotations

from pathlib import Path


class IdentityError(Exception):
    """Everything this package raises about DIDs, documents, keys and keystores."""


class InvalidDid(IdentityError):
    """Not a DID, or one whose method forbids what it contains."""


class UnknownDid(IdentityError):
    """A well-formed DID whose document only those who met its owner can know."""


class InvalidDocument(IdentityError):
    """A DID document that breaks the rules or our limits."""


class InvalidKey(IdentityError):
    """Key material of the wrong kind, length or place on the curve."""


class UnknownCurve(InvalidKey):
    """A key of a kind we do not know; the others beside it may do."""


class KeyNotFound(IdentityError):
    """The document lists no such verification method."""


class KeystoreError(IdentityError):
    """A profile cannot be read or written; `path` says which."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class KeystoreMissing(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is no such profile")


class KeystoreExists(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "the profile exists already")


class WrongPassphrase(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "the passphrase does not open this profile")


class PassphraseNeeded(KeystoreError):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "the profile is encrypted and needs its passphrase")


class KeystoreCorrupt(KeystoreError):
    """The file is damaged: restore it from a backup, another passphrase will not help."""
