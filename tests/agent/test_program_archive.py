"""A program is its files, known by the hash of its archive."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from agent.launch import archive, program
from agent.launch.manifest import ManifestError
from agent.launch.program import ProgramError
from tests.support.launched import write_program


def test_the_shipped_auction_has_a_short_name() -> None:
    auction = program.load_shipped("auction")
    assert auction is not None
    assert auction == program.load_shipped("second_price_auction")
    assert auction.name == "second_price_auction"
    assert "second_price_auction" in program.shipped()


def test_the_archive_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write_program(first, "pass")
    write_program(second, "pass")
    (first / "x.txt").write_text("x")
    (first / "y.txt").write_text("y")
    (second / "y.txt").write_text("y")
    (second / "x.txt").write_text("x")
    os.utime(second / "x.txt", (1, 1))
    (second / "x.txt").chmod(0o700)
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"compiled")
    assert program.load_folder(first).sha256 == program.load_folder(second).sha256
    (second / "x.txt").write_text("z")
    assert program.load_folder(first).sha256 != program.load_folder(second).sha256


def test_a_file_with_another_name_is_another_program(tmp_path: Path) -> None:
    assert archive.archive({"a": b"x", "b": b""}) != archive.archive({"a": b"", "b": b"x"})
    assert archive.archive({"a": b"", "b": b""}) == archive.archive({"b": b"", "a": b""})


def test_the_hash_of_known_files_never_changes() -> None:
    """Parties with different releases compare this hash: a new value splits them."""
    digest = hashlib.sha256(archive.archive({"main.py": b"pass\n", "data/a.txt": b"1"})).hexdigest()
    assert digest == "4fb214f6c347c9ebacd763702677b78f7d1fdb08f1f4d567f2e513de37ce1698"


def test_a_link_is_not_part_of_a_program(tmp_path: Path) -> None:
    for name, target in (("secret", "/etc/passwd"), ("folder", "/etc"), ("dangling", "/nowhere")):
        folder = tmp_path / name
        write_program(folder, "pass")
        (folder / name).symlink_to(target)
        with pytest.raises(ProgramError, match="it is no plain file"):
            program.load_folder(folder)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    write_program(tmp_path / "p", "pass")
    os.mkfifo(tmp_path / "p" / "pipe")
    with pytest.raises(ProgramError, match="it is no plain file"):
        program.load_folder(tmp_path / "p")


@pytest.mark.parametrize("name", [".hidden", "a b", "a\nb", "ä", "-x", "x" * 101])
def test_a_name_that_could_mislead_is_refused(tmp_path: Path, name: str) -> None:
    write_program(tmp_path / "p", "pass")
    (tmp_path / "p" / name).write_text("")
    with pytest.raises(ProgramError, match="cannot be part of a program"):
        program.load_folder(tmp_path / "p")


def test_a_folder_without_end_is_refused(tmp_path: Path) -> None:
    write_program(tmp_path / "p", "pass")
    (tmp_path / "p" / "/".join(["d"] * 60)).mkdir(parents=True)
    with pytest.raises(ProgramError, match="cannot be part of a program"):
        program.load_folder(tmp_path / "p")


def test_too_many_or_too_large_files_are_refused(tmp_path: Path) -> None:
    write_program(tmp_path / "large", "pass")
    (tmp_path / "large" / "data").write_bytes(bytes(archive.MAX_SIZE))
    with pytest.raises(ProgramError, match="larger than 524288 bytes"):
        program.load_folder(tmp_path / "large")
    write_program(tmp_path / "many", "pass")
    for number in range(archive.MAX_FILES):
        (tmp_path / "many" / f"f{number}").touch()
    with pytest.raises(ProgramError, match="more than 200 files"):
        program.load_folder(tmp_path / "many")


def test_a_folder_without_manifest_or_entry_is_not_a_program(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProgramError, match=r"has no manifest\.toml"):
        program.load_folder(tmp_path / "empty")
    write_program(tmp_path / "p", "pass")
    (tmp_path / "p" / "main.py").rename(tmp_path / "p" / "other.py")
    with pytest.raises(ManifestError, match=r'entry: there is no file "main\.py"'):
        program.load_folder(tmp_path / "p")


def test_what_runs_is_what_was_hashed_whatever_the_folder_holds_later(tmp_path: Path) -> None:
    loaded = write_program(tmp_path / "p", "pass")
    (tmp_path / "p" / "main.py").write_text("changed")
    assert loaded.files["main.py"] == b"pass"
    assert hashlib.sha256(archive.archive(loaded.files)).hexdigest() == loaded.sha256


def test_files_are_written_for_their_owner_alone_and_never_over_others(tmp_path: Path) -> None:
    program.write_files({"inputs.json": b"{}", "program/main.py": b"pass"}, tmp_path)
    assert stat.S_IMODE((tmp_path / "inputs.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "program").stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        program.write_files({"inputs.json": b"{}"}, tmp_path)
