"""A program: files with a manifest, known by the SHA-256 of their deterministic archive.

What runs is what was read here once, not what a folder holds later.

    ProgramError        tell the person; it names the folder and the file
    └── UnknownProgram  no such program: the message lists those there are
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.launch import archive, manifest
from agent.launch.archive import CACHE, MAX_ARCHIVE, MAX_FILES, MAX_SIZE, ArchiveRefused
from agent.launch.manifest import Manifest

SHIPPED: Final = Path(__file__).parent.parent / "programs"
ALIASES: Final = {"auction": "second_price_auction"}


class ProgramError(Exception):
    pass


class UnknownProgram(ProgramError):
    def __init__(self, name: str, others: tuple[str, ...] = ()) -> None:
        names = ", ".join(sorted({*ALIASES, *shipped(), *others}))
        super().__init__(
            f'no program "{name}"; name one of {names}, or the path of a folder or an archive'
        )


@dataclass(frozen=True)
class Program:
    name: str
    manifest: Manifest
    sha256: str
    files: Mapping[str, bytes] = field(repr=False)
    """The content of every file by its name, as hashed."""

    def archive(self) -> bytes:
        """As it travels; its SHA-256 is `sha256`."""
        return archive.archive(self.files)


def shipped() -> tuple[str, ...]:
    """The names of the programs that come along."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{manifest.FILE_NAME}")))


def load_shipped(name: str) -> Program | None:
    """The program of that name or alias that comes along, if there is one. Raises: ProgramError."""
    name = ALIASES.get(name, name)
    return load_folder(SHIPPED / name) if name in shipped() else None


def load_path(path: Path) -> Program:
    """The program in that folder or archive.

    Raises: ProgramError, for what cannot be a program; ManifestError.
    """
    return load_folder(path) if path.is_dir() else from_archive(_bounded(path), str(path))


def load_folder(folder: Path) -> Program:
    """Raises: ProgramError, for a folder that cannot be a program; ManifestError."""
    return from_files(_read(folder), f"{folder}/")


def from_archive(data: bytes, source: str) -> Program:
    """The program in an archive; `source` names it in errors.

    Raises: ProgramError, ManifestError; nothing else, whatever the bytes are.
    """
    try:
        return from_files(archive.unpack(data), f"{source}: ")
    except ArchiveRefused as error:
        raise ProgramError(f"{source}: {error}") from error


def from_files(files: Mapping[str, bytes], source: str) -> Program:
    """Raises: ProgramError, ManifestError, whose words start with `source`."""
    if manifest.FILE_NAME not in files:
        raise ProgramError(f"{source.rstrip('/: ')} has no {manifest.FILE_NAME}")
    named = f"{source}{manifest.FILE_NAME}"
    described = manifest.parse(files[manifest.FILE_NAME], named)
    if described.entry not in files:
        raise manifest.ManifestError(named, "entry", f'there is no file "{described.entry}"')
    return Program(described.name, described, archive.digest(files), files)


def load_file(path: Path) -> bytes:
    """A file that becomes part of a program. Raises: ProgramError."""
    return _content(path, MAX_SIZE)


def write_files(files: Mapping[str, bytes], workdir: Path) -> None:
    """Write new files, readable by their owner alone, below the work folder."""
    for name, content in files.items():
        path = workdir / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)


def memory_file(content: bytes) -> int:
    """A descriptor, for its owner to close, of a file that is on no disk; at its start."""
    handle = os.memfd_create("inputs", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _read(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    size = 0
    for name in _names(folder, ""):
        content = _content(folder / name, MAX_SIZE - size)
        size += len(content)
        files[name] = content
        if len(files) > MAX_FILES:
            raise ProgramError(f"{folder} holds more than {MAX_FILES} files")
    return files


def _names(folder: Path, below: str) -> Iterator[str]:
    """The relative name of every file, none of them reached through a link."""
    try:
        entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except OSError as error:
        raise ProgramError(f"cannot read {folder / below}: {error.strerror}") from error
    for entry in entries:
        name = below + entry.name
        if entry.name == CACHE:
            continue
        try:
            archive.check_name(name)
        except ArchiveRefused as error:
            raise ProgramError(f"{str(folder)!r}: {error}") from error
        if entry.is_dir(follow_symlinks=False):
            yield from _names(folder, name + "/")
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise ProgramError(f"{folder / name} cannot be part of a program: it is no plain file")


def _content(path: Path, limit: int) -> bytes:
    content = _bounded(path, limit, follow=False)
    if len(content) > limit:
        raise ProgramError(f"{path} makes the program larger than {MAX_SIZE} bytes")
    return content


def _bounded(path: Path, limit: int = MAX_ARCHIVE, *, follow: bool = True) -> bytes:
    """At most one byte more than the limit of a plain file."""
    try:
        # NONBLOCK: if the file was swapped for a pipe meanwhile, opening must not wait.
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ProgramError(f"{path} cannot be part of a program: it is no plain file")
            return file.read(limit + 1)
    except OSError as error:
        raise ProgramError(f"cannot read {path}: {error.strerror}") from error
