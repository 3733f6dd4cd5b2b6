"""A program's files as one deterministic archive, and back again from whatever somebody sent.

The archive is a ustar file of regular files alone, sorted by name, with zero times and owners, so
that equal files have equal bytes, and equal hashes, on every machine. `unpack` also reads what
`tar` and `tar -z` make of a folder; what it gives is bounded and has names that mislead nobody.
"""

import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

MAX_FILES: Final = 200
MAX_SIZE: Final = 512 * 1024  # bytes of all files; fits an envelope after base64
MAX_NAME: Final = 100  # bytes; what a plain ustar header holds
MAX_ARCHIVE: Final = 1024 * 1024  # bytes, unpacked: files, a header and padding each, an end
CACHE: Final = "__pycache__"  # what Python leaves behind is not part of a program
MAX_ENTRIES: Final = 2 * MAX_FILES  # folders and comments count too

_BLOCK: Final = 512
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_FILE, _FOLDER, _COMMENTS = (b"0", b"\0"), b"5", (b"x", b"g")
_MARKS_OF_TAR = (b"ustar\x0000", b"ustar  \0")
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
}


class ArchiveRefused(Exception):
    """These files or bytes cannot be a program; the words name the file and are for a person."""


def archive(files: Mapping[str, bytes]) -> bytes:
    """The deterministic archive of these files: equal files, equal bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # time, owner and group are 0 and empty
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def digest(files: Mapping[str, bytes]) -> str:
    """What the files are known by: SHA-256 of their archive, in hex."""
    return hashlib.sha256(archive(files)).hexdigest()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files in a tar archive, perhaps in gzip, by name; a folder around all is taken off.

    Raises: ArchiveRefused, for any other input whatsoever, and for what no program has: links,
    devices, names that lead elsewhere or could mislead, too much of anything.
    """
    if data[:2] == b"\x1f\x8b":
        data = _inflated(data)
    if len(data) > MAX_ARCHIVE:
        raise ArchiveRefused(f"the archive is larger than {MAX_ARCHIVE} bytes")
    files: dict[str, bytes] = {}
    size = 0
    for name, content in _entries(data):
        if CACHE in name.split("/"):
            continue
        check_name(name)
        if name in files:
            raise ArchiveRefused(f"the archive holds {name!r} twice")
        size += len(content)
        files[name] = content
        if len(files) > MAX_FILES:
            raise ArchiveRefused(f"the archive holds more than {MAX_FILES} files")
        if size > MAX_SIZE:
            raise ArchiveRefused(f"{name} makes the program larger than {MAX_SIZE} bytes")
    _refuse_files_that_are_folders(files)
    return _without_the_folder_around(files)


def check_name(name: str) -> None:
    """Raises: ArchiveRefused, unless this can be the name of a program's file."""
    if len(name) > MAX_NAME or not all(map(_PART.fullmatch, name.split("/"))):
        shown = name if len(name) <= 2 * MAX_NAME else f"{name[: 2 * MAX_NAME]}…"
        raise ArchiveRefused(
            f"{shown!r} cannot be part of a program: names are at most {MAX_NAME} "
            'letters, digits, "/" and "._+-", and no part starts with a dot'
        )


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file."""
    position = 0
    for _ in range(MAX_ENTRIES):
        header = data[position : position + _BLOCK]
        if not header.strip(b"\0"):
            return  # the end, said or not
        name, kind, size = _header(header)
        content = data[position + _BLOCK : position + _BLOCK + size]
        if len(content) < size:
            raise ArchiveRefused(f"the archive ends in the middle of {name!r}")
        position += _BLOCK + -(-size // _BLOCK) * _BLOCK
        if kind in _FILE:
            yield name, content
        elif kind in _COMMENTS:
            # What says that the next entry has another name or size than its header: see POSIX.
            if b" path=" in content or b" size=" in content or b" linkpath=" in content:
                raise ArchiveRefused("the archive renames its files: names are too long")
        elif kind != _FOLDER:
            what = _KINDS.get(kind, "no plain file")
            raise ArchiveRefused(f"{name!r} cannot be part of a program: it is {what}")
    raise ArchiveRefused(f"the archive has more than {MAX_ENTRIES} entries")


def _header(header: bytes) -> tuple[str, bytes, int]:
    """Name, type and size that a header of 512 bytes says. Source: POSIX pax, ustar format."""
    damaged = ArchiveRefused("this is not a tar archive of files with plain names")
    if len(header) < _BLOCK or header[257:265] not in _MARKS_OF_TAR:
        raise damaged
    try:
        said, size = _octal(header[148:156]), _octal(header[124:136])
        name, prefix = _ascii(header[:100]), _ascii(header[345:500])
    except ValueError as error:
        raise damaged from error
    if said != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]) or size < 0:
        raise damaged
    if prefix and header[257:263] == b"ustar\0":
        name = f"{prefix}/{name}"
    return name.removeprefix("./"), header[156:157], size


def _octal(field: bytes) -> int:
    return int(field.strip(b" \0") or b"0", 8)


def _ascii(field: bytes) -> str:
    return field.split(b"\0")[0].decode("ascii")


def _inflated(data: bytes) -> bytes:
    inflating = zlib.decompressobj(wbits=31)
    try:
        whole = inflating.decompress(data, MAX_ARCHIVE + 1)
    except zlib.error as error:
        raise ArchiveRefused("the archive's compression is damaged") from error
    if len(whole) <= MAX_ARCHIVE and not inflating.eof:
        raise ArchiveRefused("the archive's compression ends too early")
    return whole


def _refuse_files_that_are_folders(files: Mapping[str, bytes]) -> None:
    for name in files:
        parts = name.split("/")
        for end in range(1, len(parts)):
            if (above := "/".join(parts[:end])) in files:
                raise ArchiveRefused(f"{above!r} is a file and a folder at once")


def _without_the_folder_around(files: dict[str, bytes]) -> dict[str, bytes]:
    """`tar -c sum` holds "sum/manifest.toml": the program is what is inside "sum"."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or not all("/" in name for name in files):
        return files
    return {name.partition("/")[2]: content for name, content in files.items()}
