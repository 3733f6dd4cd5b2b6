"""The programs that the how-tos show run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from agent.launch.program import load_folder
from tests.support import launched

PAGE = Path(__file__).parents[2] / "docs/howto/write-a-program.md"
FILE = re.compile(r"^`(\w+)/([\w.]+)`:\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)


def written(text: str, below: Path) -> None:
    """Each file that the page shows, where it says."""
    for folder, name, lines in FILE.findall(text):
        (below / folder).mkdir(exist_ok=True)
        content = re.sub("^ {4}", "", lines, flags=re.MULTILINE)
        (below / folder / name).write_text(content)


async def test_a_program_of_ones_own_is_two_files_to_copy(tmp_path: Path) -> None:
    written(PAGE.read_text(), tmp_path)
    program = load_folder(tmp_path / "sum")
    assert sorted(program.files) == ["main.py", "manifest.toml"]
    ends = await launched.run(program, [{"number": n} for n in (7, 107, 207)], tmp_path)
    for ended in ends:
        assert (ended.code, ended.stdout) == (0, "total=321\n"), ended.stderr
