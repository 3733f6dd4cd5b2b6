"""Scripts without a manifest, and programs that say themselves how they are started."""

from pathlib import Path

import pytest

from agent.errors import UsageMistake
from agent.launch import adapters, program
from agent.launch.adapters import AdapterError, Seats, plan
from agent.launch.manifest import ManifestError
from agent.launch.program import ProgramError
from agent.launch.script import from_script
from agent.session.descriptor import alike
from tests.support import launched

# In the style of MPyC's own demos: words in sys.argv, mpc.run at the end, every party prints.
DEMO = """
import sys
from mpyc.runtime import mpc

async def main():
    factor, mine = int(sys.argv[1]), int(sys.argv[2])
    await mpc.start()
    secint = mpc.SecInt(32)
    numbers = mpc.input(secint(mine))
    print(f"party {mpc.pid} of {len(mpc.parties)}: {await mpc.output(factor * mpc.sum(numbers))}")
    await mpc.shutdown()

if __name__ == "__main__":
    mpc.run(main())
"""
HOSTS = """
name = "hosts"
title = "Shows what it was given"
adapter = "generic"
entry = "show.py"
words = ["{number}"]
parties = { min = 2, max = 3 }
opens = [{ what = "what it was given", to = "self" }]
[launch]
argv = ["{python}", "{entry}", "-p", "{rank}", ["-P", "{party}={address}:{port}"]]
env = { THRESHOLD = "{threshold}" }
[[launch.files]]
name = "hosts"
each = "{address}:{port}"
[[launch.files]]
name = "me.ini"
text = "index = {rank}\\nrole = {role}\\n"
[[inputs]]
name = "number"
type = "integer"
title = "any"
min = 0
max = 9
"""
SHOW = """
import os, sys
here = os.path.dirname(sys.argv[0])
print(sys.argv[1:], os.environ["THRESHOLD"], sys.stdin.read())
print(open(here + "/hosts").read() + open(here + "/me.ini").read(), end="")
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.py"
    path.write_text(DEMO)
    return path


async def test_a_demo_runs_as_it_is_with_its_words(demo: Path, tmp_path: Path) -> None:
    found = from_script("mpyc", ["python", str(demo), "10", "{mine}"])
    ended = await launched.run(found, [{"mine": 1}, {"mine": 2}, {"mine": 3}], tmp_path)
    assert [one.stdout for one in ended] == [f"party {rank} of 3: 60\n" for rank in range(3)]


def test_a_scripts_hash_has_its_words_but_no_input(demo: Path) -> None:
    first = from_script("mpyc", ["python", str(demo), "8", "{mine}"])
    assert first.sha256 == from_script("mpyc", ["python3", str(demo), "8", "{mine}"]).sha256
    assert first.sha256 != from_script("mpyc", ["python", str(demo), "9", "{mine}"]).sha256
    assert first.sha256 != from_script("cicada", ["python", str(demo), "8", "{mine}"]).sha256
    assert [entry.name for entry in first.manifest.inputs] == ["mine"]


def test_what_a_script_prints_is_each_partys_own(demo: Path) -> None:
    found = from_script("mpyc", ["python", str(demo)])
    outputs = {opening.what: opening.audience for opening in found.manifest.opens}
    assert alike(found.manifest.seats(3), outputs) == ((0,), (1,), (2,))


@pytest.mark.parametrize("words", [["python"], ["bash", "x.sh"], ["demo.py", "8"], []])
def test_what_is_no_script_is_told(words: list[str]) -> None:
    with pytest.raises(UsageMistake, match="a script and its words"):
        from_script("mpyc", words)


def test_a_script_that_is_not_there_or_has_odd_words_is_told(demo: Path) -> None:
    with pytest.raises(ProgramError, match=r"no\.py: No such file"):
        from_script("mpyc", ["python", "no.py"])
    with pytest.raises(UsageMistake, match="cannot be a word"):
        from_script("mpyc", ["python", str(demo), "a\x1bb"])


def generic(folder: Path, manifest: str = HOSTS) -> program.Program:
    folder.mkdir()
    (folder / "manifest.toml").write_text(manifest)
    (folder / "show.py").write_text(SHOW)
    return program.load_folder(folder)


async def test_a_generic_program_gets_words_variables_and_files(tmp_path: Path) -> None:
    hosts = launched.addresses(2)
    ended = await launched.run(generic(tmp_path / "p"), [{"number": 5}] * 2, tmp_path)
    first = hosts[0].rsplit(".", 2)[0]
    for rank, one in enumerate(ended):
        assert one.code == 0, one
        head, *lines = one.stdout.splitlines()
        assert head.startswith(f"['-p', '{rank}', '-P', '0={first}.")
        assert head.endswith("'5'] 0 {\"number\": 5}")
        assert lines[0].startswith(first)
        assert lines[0].endswith(f".1:{launched.PORT}")
        assert lines[2:] == [f"index = {rank}", "role = party"]


def test_a_generic_program_has_no_launcher_that_tells_its_start(tmp_path: Path) -> None:
    seats = Seats(0, ("a", "b"), (1, 2), 0, ("party", "party"))
    launch = plan(generic(tmp_path / "p"), seats, {"number": 5}, tmp_path, "python3")
    assert not launch.tells_start
    assert plan(launched.AUCTION, launched.seats(launched.AUCTION, 0, ("a", "b", "c")),
                {"bid": 5}, tmp_path, "python3").tells_start  # fmt: skip


def test_a_variable_that_there_is_not_is_told_before_anything_is_signed(tmp_path: Path) -> None:
    wrong = generic(tmp_path / "p", HOSTS.replace("{threshold}", "{passphrase}"))
    with pytest.raises(AdapterError, match=r"no variable \{passphrase\}"):
        adapters.runtime_versions(wrong)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ('words = ["{number}"]', 'words = ["{nummer}"]', 'words: "{nummer}" is not an input'),
        ('words = ["{number}"]', "words = [5]", "words: must be a list of at most 100"),
        ('adapter = "generic"', 'adapter = "mpyc"', "launch: goes with adapter"),
        (
            'argv = ["{python}", ',
            'argv = [["{python}"], ',
            "argv: must start with a program",
        ),
        ('argv = ["{python}", ', "argv = [1, ", "launch.argv: must be a list of texts"),
        ("{ THRESHOLD =", "{ 1T =", "launch.env: must be a table"),
        (
            'name = "hosts"\neach',
            'name = "../hosts"\neach',
            "files[0].name: must be a plain",
        ),
        ('each = "{address}:{port}"', "", "launch.files[0].text: must be there, or each"),
    ],
)
def test_what_cannot_be_started_is_told_with_its_field(
    tmp_path: Path, before: str, after: str, wanted: str
) -> None:
    text = HOSTS.replace(before, after, 1)
    assert text != HOSTS
    with pytest.raises(ManifestError) as caught:
        generic(tmp_path / "p", text)
    assert wanted in str(caught.value)
