"""What parties do not agree on is refused before anything runs; bad words get a good sentence."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.internet import PATIENCE, Command, Internet, Party

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]

SECONDS_TO_REFUSE = 5.0
KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"  # nobody can write to it
OTHER_KEY = "did:key:z6Mkj3PUd1WjvaDhNZhhhXQdz5UnZXmS7ehtx8bsPpD47kKc"


@pytest.fixture(scope="module")
def party(_internet: Internet) -> Party:
    """Somebody with a DID, for commands that do not get far."""
    return _internet.parties("home0")[0]


Dissent = Callable[[Internet, list[Party]], Command]


def other_order(internet: Internet, parties: list[Party]) -> Command:
    order = [parties[2], parties[0], parties[1]]
    return internet.run_one(internet.rounds(1), parties[2], 3, order, "--json")


def other_roster(internet: Internet, parties: list[Party]) -> Command:
    [stranger] = internet.parties("home0")
    return internet.run_one(internet.rounds(1), parties[2], 3, [*parties, stranger], "--json")


def other_program(internet: Internet, parties: list[Party]) -> Command:
    folder = changed_copy(internet, "main.py", "total = int", "total = 1 + int")
    return internet.run_one(folder, parties[2], 3, parties, "--json")


def other_threshold(internet: Internet, parties: list[Party]) -> Command:
    folder = changed_copy(internet, "manifest.toml", "[parties]", "threshold = 0\n[parties]")
    return internet.run_one(folder, parties[2], 3, parties, "--json")


def other_runtime(internet: Internet, parties: list[Party]) -> Command:
    packages = internet.folder("packages") / "mpyc-0.10.dist-info"
    packages.mkdir()
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: mpyc\nVersion: 0.10\n")
    env = {"PYTHONPATH": str(packages.parent)}
    return internet.run_one(internet.rounds(1), parties[2], 3, parties, "--json", env=env)


@pytest.mark.parametrize(
    ("dissent", "ours", "theirs"),
    [
        (other_order, "order: ours is [0, 1, 2], theirs is [2, 0, 1]", "order: ours is [0, 1, 2]"),
        (other_roster, "ours is out, theirs is in", "ours is in, theirs is out"),
        (other_program, "program sha256: ours is ", "program sha256: ours is "),
        (other_threshold, "threshold: ours is 1, theirs is 0", "threshold: ours is 0, theirs is 1"),
        (
            other_runtime,
            "runtime mpyc: ours is 0.11, theirs is 0.10",
            "runtime mpyc: ours is 0.10, theirs is 0.11",
        ),
    ],
)
def test_a_party_that_wants_something_else_is_refused_by_all_before_anything_runs(
    internet: Internet, dissent: Dissent, ours: str, theirs: str
) -> None:
    parties = internet.parties("home0", "home1", "home2")
    agreeing = [
        internet.run_one(internet.rounds(1), party, number, parties, "--json")
        for party, number in zip(parties[:2], (1, 2), strict=True)
    ]
    for command in agreeing:
        command.until("wants the same session")
    differing = dissent(internet, parties)
    differing.until("waiting")
    began = time.monotonic()
    for command in agreeing:
        assert command.wait(PATIENCE) == 6, command.told()
        assert ours in error_of(command)
        assert ends_of(parties[2].did) in error_of(command)
    assert differing.wait(PATIENCE) == 6, differing.told()
    assert theirs in error_of(differing)
    assert any(ends_of(party.did) in error_of(differing) for party in parties[:2])
    assert time.monotonic() - began < SECONDS_TO_REFUSE
    for command in (*agreeing, differing):
        assert not [step for step in command.steps() if "signed" in step or "namespace" in step]
    assert all(party.transcript() is None for party in parties)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("auction --input bid=0", 2, 'input "bid" must be a whole number from 1 to 1000000000'),
        ("auction --input bid=1000000001", 2, 'input "bid" must be a whole number'),
        ("auction --input bid=much", 2, 'input "bid" must be a whole number'),
        ("auction --input bid", 2, "an input is given as name=value"),
        ("auction --input bid=1 --input bid=2", 2, 'input "bid" is given twice'),
        ("auction --input price=1", 2, '"price" is not an input'),
        ("auction --input @/no/such/file", 2, "cannot read the input file /no/such/file"),
        ("auction", 2, 'input "bid" is missing'),
        ("nothing --input bid=1", 2, 'no program "nothing"'),
        ("./nothing --input bid=1", 2, 'no program "./nothing"'),
        ("/usr/share/doc --input bid=1", 2, "/usr/share/doc"),
        ("auction --input bid=1 --with hello", 2, "you have no contact 'hello'"),
        ("auction --input bid=1 --with did:peer:2.Ez6LSbroken", 1, "did:peer:2.Ez6LSbroken"),
        ("auction --input bid=1 --order did:key:z6Mk", 2, "--order must name every party"),
        ("auction --input bid=1 --timeout 0", 2, "--timeout"),
        ("auction --input bid=1 --profile other", 1, "there is no profile 'other' yet"),
    ],
)
def test_words_that_make_no_sense_get_one_sentence_and_the_documented_code(
    internet: Internet, party: Party, words: str, code: int, sentence: str
) -> None:
    command = party.start("run", *words.split(), *with_both(KEY, OTHER_KEY), as_root=True)
    assert_refused_in_a_sentence(command, code, sentence)


def test_whoever_is_named_twice_counts_once(internet: Internet, party: Party) -> None:
    for words, sentence in (
        (["--with", KEY], "is for 3 to 64 parties; with you these are 2"),
        (["--with", KEY, "--with", KEY], "with you these are 2"),
        (["--with", KEY, "--with", party.did], "with you these are 2"),
    ):
        command = party.start("run", "auction", "--input", "bid=1", *words, as_root=True)
        assert_refused_in_a_sentence(command, 2, sentence)


def test_a_wrong_passphrase_opens_nothing_and_says_so(internet: Internet) -> None:
    [party] = internet.parties("home0", encrypted=True)
    wrong = {"DIDMESH_PASSPHRASE": "not this one"}
    words = ("run", "auction", "--input", "bid=1", *with_both(KEY, OTHER_KEY))
    command = party.start(*words, as_root=True, env=wrong)
    assert_refused_in_a_sentence(command, 1, "passphrase")
    command = party.start("status", env=wrong)
    assert_refused_in_a_sentence(command, 1, "passphrase")
    assert "not this one" not in command.told()


def test_a_mediator_that_does_not_answer_is_named(internet: Internet) -> None:
    party = internet.newcomer("home0")
    url = "http://198.51.100.10:9999"
    command = party.start("create-did", "--mediator", url, "--unencrypted")
    assert_refused_in_a_sentence(command, 1, f"cannot reach mediator {url}")
    assert "agent: hint: " in command.errors


def test_status_says_that_the_mediator_is_away(internet: Internet) -> None:
    [party] = internet.parties("home0")
    internet.near.kill()
    command = party.agent("status")
    assert command.wait() == 1
    assert "not reachable" in command.output


def assert_refused_in_a_sentence(command: Command, code: int, sentence: str) -> None:
    assert command.wait(PATIENCE) == code, command.told()
    told = [line for line in command.errors.splitlines() if " s  sandbox level " not in line]
    assert sentence in told[0]
    assert told[0].startswith("agent: ")
    assert len(told) <= 2
    assert all(line.startswith("agent: hint: ") for line in told[1:])
    assert command.output == ""


def with_both(*dids: str) -> list[str]:
    return [word for did in dids for word in ("--with", did)]


def changed_copy(internet: Internet, file: str, before: str, after: str) -> str:
    folder = internet.folder("changed")
    shutil.copytree(internet.rounds(1), folder, dirs_exist_ok=True)
    text = (folder / file).read_text()
    assert before in text
    Path(folder, file).write_text(text.replace(before, after, 1))
    return str(folder)


def error_of(command: Command) -> str:
    text: str = command.the("error")["text"]
    return text


def ends_of(did: str) -> str:
    """How a DID begins and ends where it is shown to people."""
    return f"{did[:18]}…"
