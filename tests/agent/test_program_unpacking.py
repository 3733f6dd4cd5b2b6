"""Archives that people or strangers made: read to the end, bounded, or refused with a reason."""

import gzip
import io
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launch import archive, program
from agent.launch.archive import ArchiveRefused, unpack
from agent.launch.manifest import ManifestError
from agent.launch.program import ProgramError
from tests.support.launched import AUCTION, write_program

NAME = st.from_regex(r"[a-z0-9_]{1,8}(/[a-z0-9_]{1,8}){0,3}", fullmatch=True)


def test_what_was_archived_comes_back() -> None:
    assert unpack(AUCTION.archive()) == AUCTION.files
    assert program.from_archive(AUCTION.archive(), "sent") == AUCTION


@given(st.dictionaries(NAME, st.binary(max_size=2000), max_size=8))
def test_archiving_is_undone_by_unpacking(files: dict[str, bytes]) -> None:
    files = {"top": b"", **{f"d/{name}": content for name, content in files.items()}}
    above = {name.rsplit("/", count)[0] for name in files for count in range(1, 5)}
    if above & (files.keys() - {"top"}):
        files = {"top": b""}
    assert unpack(archive.archive(files)) == files


@pytest.mark.parametrize("options", [[], ["-z"], ["--format=pax"], ["--format=ustar"], ["-h"]])
def test_what_tar_makes_of_a_folder_is_the_same_program(tmp_path: Path, options: list[str]) -> None:
    loaded = write_program(tmp_path / "sum", "pass")
    for inside in (["-C", tmp_path, "sum"], ["-C", tmp_path / "sum", "."]):
        subprocess.run(["tar", *options, "-cf", tmp_path / "sum.tar", *inside], check=True)
        assert program.load_path(tmp_path / "sum.tar").sha256 == loaded.sha256


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b""
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def many(count: int) -> bytes:
    return b"".join(entry(f"f{number}") for number in range(count))


BOMB = gzip.compress(entry("zeros", content=bytes(archive.MAX_ARCHIVE)), 9)
HOSTILE = {
    "a path upwards": (entry("../../etc/cron.d/x"), "'../../etc/cron.d/x' cannot be part"),
    "a path upwards inside": (entry("a/../../x"), "cannot be part"),
    "an absolute path": (entry("/etc/passwd"), "'/etc/passwd' cannot be part"),
    "a drive": (entry("C:\\x"), "cannot be part"),
    "a hidden file": (entry(".bashrc"), "'.bashrc' cannot be part"),
    "an option": (entry("-rf"), "cannot be part"),
    "an empty name": (entry("a//b"), "cannot be part"),
    "a terminal's words": (entry("a\x1b[2J"), "cannot be part"),
    "a link": (entry("x", tarfile.SYMTYPE, "/etc/passwd"), "it is a link"),
    "a hard link": (entry("x", tarfile.LNKTYPE, "/etc/passwd"), "it is a hard link"),
    "a device": (entry("x", tarfile.CHRTYPE), "it is a device"),
    "a pipe": (entry("x", tarfile.FIFOTYPE), "it is a pipe"),
    "a sparse file": (entry("x", tarfile.GNUTYPE_SPARSE), "it is no plain file"),
    "a long name": (entry("x", tarfile.GNUTYPE_LONGNAME), "it is no plain file"),
    "another name in a comment": (entry("x", b"x", content=b"20 path=../../etc/x\n"), "renames"),
    "another size in a comment": (entry("x", b"g", content=b"14 size=99999\n"), "renames"),
    "a name twice": (entry("x") + entry("x"), "holds 'x' twice"),
    "a file that is a folder": (entry("x") + entry("x/y"), "'x' is a file and a folder at once"),
    "too many files": (many(archive.MAX_FILES + 1), "more than 200 files"),
    "too many folders": (entry("x", tarfile.DIRTYPE) * 401, "more than 400 entries"),
    "too large a file": (entry("x", content=bytes(archive.MAX_SIZE + 1)), "x makes the program"),
    "a huge archive": (bytes(archive.MAX_ARCHIVE + 1), "larger than 1048576 bytes"),
    "a bomb": (BOMB, "larger than 1048576 bytes"),
    "a bomb in a bomb": (gzip.compress(BOMB), "not a tar archive"),
    "half a compression": (gzip.compress(AUCTION.archive())[:-9], "ends too early"),
    "damaged compression": (b"\x1f\x8b\x08" + bytes(40), "damaged"),
    "half a file": (entry("x", content=b"y" * 5000)[:2000], "ends in the middle of 'x'"),
    "a wrong sum": (entry("x").replace(b"x", b"y", 1), "not a tar archive"),
    "a zip": (b"PK\x03\x04" + bytes(600), "not a tar archive"),
    "a name of other letters": (entry("ä"), "not a tar archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_with_the_reason(case: str) -> None:
    data, words = HOSTILE[case]
    began = time.monotonic()
    with pytest.raises(ArchiveRefused) as refused:
        unpack(data)
    assert words in str(refused.value)
    assert time.monotonic() - began < 2


def test_a_size_that_reads_backwards_is_refused() -> None:
    header = bytearray(entry("x")[:512])
    header[124:136] = b"-0000001000\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    with pytest.raises(ArchiveRefused, match="not a tar archive"):
        unpack(bytes(header))


@given(st.binary(max_size=3000))
def test_no_bytes_are_answered_with_anything_but_a_reason(data: bytes) -> None:
    for tried in (data, b"\x1f\x8b" + data, entry("x") + data, AUCTION.archive()[:700] + data):
        with pytest.raises((ProgramError, ManifestError), match=r"^sent"):
            program.from_archive(tried, "sent")


@given(st.integers(0, 2047), st.integers(0, 255))
def test_no_changed_byte_makes_a_program_of_the_same_hash(position: int, value: int) -> None:
    data = bytearray(AUCTION.archive())
    before, data[position] = data[position], value
    try:
        changed = program.from_archive(bytes(data), "sent")
    except (ProgramError, ManifestError):
        return
    assert (changed.sha256 == AUCTION.sha256) == (changed.files == AUCTION.files)
    assert before == value or changed.files != AUCTION.files or position >= 100


def test_members_can_be_read_by_tar_itself() -> None:
    with tarfile.open(fileobj=io.BytesIO(AUCTION.archive())) as tar:
        assert tar.getnames() == sorted(AUCTION.files)
        assert {member.mtime for member in tar} == {0}
