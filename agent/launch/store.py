"""The programs of a person: those that come along, and those added, by their hash.

    $DIDMESH_HOME/programs/<sha256>.tar    read-only; checked against its name whenever it is read

A program is had once its archive is here, and may run once its hash is approved: those that come
along are. Names are labels: one that comes along is never another program's, and a name that two
added programs share must be said as a hash.
"""

import functools
import os
import re
import secrets
import time
from pathlib import Path

from agent.errors import AgentError, Exit
from agent.launch import program
from agent.launch.consents import Consents
from agent.launch.program import Program, ProgramError, UnknownProgram

_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{8,64}")  # as much of a hash as names a program


class NotApproved(AgentError):
    """The program may not run here: nobody has allowed its hash."""

    exit_code = Exit.REFUSED

    def __init__(self, name: str, sha256: str, word: str) -> None:
        super().__init__(
            f"{name} {sha256[:16]} is not approved to run here",
            f"agent program show {word}; then agent program approve {word}",
        )


class ProgramStore:
    """Below the folder of all profiles ($DIDMESH_HOME, `Choice.folder`)."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "programs"
        self.consents = Consents(home)

    def find(self, word: str) -> Program:
        """The program that a person means: a path (with a "/" or a file's ending), a name, a hash.

        Raises: UnknownProgram; ProgramError, also if several are meant; ManifestError.
        """
        if "/" in word or word.endswith((".tar", ".tar.gz", ".tgz")):
            path = Path(word)
            if not path.exists():
                raise UnknownProgram(word, self._names())
            return program.load_path(path)
        if (along := program.load_shipped(word)) is not None:
            return along
        meant = [one for one in self.added() if one.name == word] or self._by_prefix(word)
        if not meant:
            raise UnknownProgram(word, self._names())
        if len(meant) > 1:
            hashes = ", ".join(one.sha256[:16] for one in meant)
            raise ProgramError(
                f'there are several programs "{word}"; name one by its hash: {hashes}'
            )
        return meant[0]

    def has(self, sha256: str) -> bool:
        """Whether the program is here, approved or not."""
        return sha256 in _shipped_hashes() or self._path(sha256).is_file()

    def get(self, sha256: str) -> Program:
        """The program of this hash. Raises: UnknownProgram; ProgramError, if it is damaged."""
        if (along := _shipped_hashes().get(sha256)) is not None:
            return along
        path = self._path(sha256)
        if not path.is_file():
            raise UnknownProgram(sha256[:16], self._names())
        found = program.load_path(path)
        if found.sha256 != sha256:
            raise ProgramError(f"{path} is damaged: its content has another hash than its name")
        return found

    def add(self, new: Program) -> bool:
        """Keep the program, not yet approved; whether it was new here."""
        if self.has(new.sha256):
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._path(new.sha256)
        temporary = target.with_name(f".{secrets.token_hex(8)}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as to:
            to.write(new.archive())
            to.flush()
            os.fsync(to.fileno())
        temporary.replace(target)
        return True

    def add_archive(self, data: bytes, sha256: str) -> Program:
        """Keep what somebody sent as the program of this hash.

        Raises: ProgramError, if it is not that program, or none at all; ManifestError.
        """
        sent = program.from_archive(data, f"the archive of {sha256[:16]}")
        if sent.sha256 != sha256:
            raise ProgramError(
                f"the archive holds {sent.name} {sent.sha256[:16]}, not {sha256[:16]}"
            )
        self.add(sent)
        return sent

    def added(self) -> tuple[Program, ...]:
        """All that were added, by name and hash. Raises: ProgramError, if one is damaged."""
        return tuple(sorted(map(self.get, self._kept()), key=lambda one: (one.name, one.sha256)))

    def remove(self, sha256: str) -> None:
        """Forget the program and every consent to it. Raises: ProgramError, if it came along."""
        if sha256 in _shipped_hashes():
            raise ProgramError("programs that come along cannot be removed")
        self.consents.withdraw(sha256)
        self._path(sha256).unlink(missing_ok=True)

    def is_approved(self, sha256: str) -> bool:
        return sha256 in _shipped_hashes() or self.consents.is_approved(sha256)

    def approve(self, new: Program) -> None:
        """Allow the program of this hash to run from now on, and keep it."""
        if new.sha256 not in _shipped_hashes():
            self.add(new)
            self.consents.approve(new.sha256, new.name, time.time())

    def last_approved(self, name: str, *, but: str) -> Program | None:
        """The version of that name that was approved last, other than the hash `but`."""
        for approval in reversed(self.consents.approvals()):
            if approval.name == name and approval.sha256 != but and self.has(approval.sha256):
                return self.get(approval.sha256)
        along = program.load_shipped(name)
        return along if along is not None and along.sha256 != but else None

    def _by_prefix(self, word: str) -> list[Program]:
        if not _PREFIX.fullmatch(word):
            return []
        known = {*_shipped_hashes(), *self._kept()}
        return [self.get(sha256) for sha256 in sorted(known) if sha256.startswith(word)]

    def _kept(self) -> list[str]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except (FileNotFoundError, PermissionError):  # nothing, or nothing of this user's
            return []
        stems = [name.removesuffix(".tar") for name in names if name.endswith(".tar")]
        return list(filter(_HASH.fullmatch, stems))

    def _names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.added())

    def _path(self, sha256: str) -> Path:
        if not _HASH.fullmatch(sha256):
            raise ProgramError("a program's hash is 64 hex digits")
        return self._folder / f"{sha256}.tar"


@functools.cache
def _shipped_hashes() -> dict[str, Program]:
    programs = (program.load_shipped(name) for name in program.shipped())
    return {one.sha256: one for one in programs if one is not None}
