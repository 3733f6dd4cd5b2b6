"""A program: a folder with a manifest, known by the SHA-256 of its deterministic archive.

The archive is a ustar file of the program's regular files, sorted by name, with zero times and
owners, so that equal folders have equal hashes on every machine. What runs is what was read
here once, not what the folder holds later.

    ProgramError        tell the person; it names the folder and the file
    └── UnknownProgram  no such program: the message lists those that come along
"""

import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.launch import manifest
from agent.launch.manifest import Manifest

SHIPPED: Final = Path(__file__).parent.parent / "programs"
ALIASES: Final = {"auction": "second_price_auction"}

MAX_FILES: Final = 200
MAX_SIZE: Final = 512 * 1024  # bytes of all files; fits an envelope after base64
MAX_NAME: Final = 100  # bytes; what a plain ustar header holds

_SHIPPED_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_CACHE = "__pycache__"  # what Python leaves behind is not part of the program


class ProgramError(Exception):
    pass


class UnknownProgram(ProgramError):
    def __init__(self, name: str) -> None:
        names = ", ".join(sorted({*ALIASES, *shipped()}))
        super().__init__(f'no program "{name}"; name one of {names}, or the path of a folder')


@dataclass(frozen=True)
class Program:
    name: str
    folder: Path
    manifest: Manifest
    sha256: str
    files: Mapping[str, bytes] = field(repr=False)
    """The content of every file by its name relative to the folder, as hashed."""


def shipped() -> tuple[str, ...]:
    """The names of the programs that come along."""
    return tuple(sorted(path.parent.name for path in SHIPPED.glob(f"*/{manifest.FILE_NAME}")))


def load(name_or_path: str) -> Program:
    """The program of that name or alias, or in the folder at that path (which has a "/").

    Raises: UnknownProgram; ProgramError, for a folder that cannot be a program; ManifestError.
    """
    folder = _find(name_or_path)
    files = _read(folder)
    if manifest.FILE_NAME not in files:
        raise ProgramError(f"{folder} has no {manifest.FILE_NAME}")
    source = str(folder / manifest.FILE_NAME)
    described = manifest.parse(files[manifest.FILE_NAME], source)
    if described.entry not in files:
        raise manifest.ManifestError(source, "entry", f'there is no file "{described.entry}"')
    digest = hashlib.sha256(archive(files)).hexdigest()
    return Program(described.name, folder, described, digest, files)


def archive(files: Mapping[str, bytes]) -> bytes:
    """The deterministic archive of these files: equal files, equal bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # time, owner and group are 0 and empty
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


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


def _find(name_or_path: str) -> Path:
    if "/" in name_or_path:
        folder = Path(name_or_path)
    else:
        name = ALIASES.get(name_or_path, name_or_path)
        folder = SHIPPED / name
        if not _SHIPPED_NAME.fullmatch(name):
            raise UnknownProgram(name_or_path)
    if not folder.is_dir():
        raise UnknownProgram(name_or_path)
    return folder


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
        if entry.name == _CACHE:
            continue
        if not _FILE_NAME.fullmatch(entry.name) or len(name) > MAX_NAME:
            raise ProgramError(
                f"{str(folder / name)!r} cannot be part of a program: names are at most {MAX_NAME} "
                'letters, digits, "/" and "._+-", and no part starts with a dot'
            )
        if entry.is_dir(follow_symlinks=False):
            yield from _names(folder, name + "/")
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise ProgramError(f"{folder / name} cannot be part of a program: it is no plain file")


def _content(path: Path, limit: int) -> bytes:
    try:
        # NONBLOCK: if the file was swapped for a pipe meanwhile, opening must not wait.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ProgramError(f"{path} cannot be part of a program: it is no plain file")
            content = file.read(limit + 1)
    except OSError as error:
        raise ProgramError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > limit:
        raise ProgramError(f"{path} makes the program larger than {MAX_SIZE} bytes")
    return content
