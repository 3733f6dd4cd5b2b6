"""The programs that the how-tos show run as they stand there."""

from __future__ import annotations

from pathlib import Path

from agent.launch.program import load_folder
from tests.support import launched
from tests.support.howto import Page


async def test_a_program_of_ones_own_is_two_files_to_copy(tmp_path: Path) -> None:
    Page("write-a-program").write_files(tmp_path)
    program = load_folder(tmp_path / "sum")
    assert sorted(program.files) == ["main.py", "manifest.toml"]
    ends = await launched.run(program, [{"number": n} for n in (7, 107, 207)], tmp_path)
    for ended in ends:
        assert (ended.code, ended.stdout) == (0, "total=321\n"), ended.stderr
