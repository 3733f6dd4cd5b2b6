"""From a program and its seats to a process."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.launch.adapters import (
    ADAPTERS,
    Adapter,
    AdapterError,
    EachParty,
    Seats,
    plan,
    runtime_versions,
)
from tests.support.launched import AUCTION

SEATS = Seats(1, ("10.77.0.1", "10.77.0.2", "10.77.0.3"), (22000, 22001, 22002), 1, ("party",) * 3)
WORK = Path("/work folder/{rank}")


def test_every_party_is_named_in_order_with_its_own_address_and_port() -> None:
    argv = plan(AUCTION, SEATS, {"bid": 5}, WORK, "/usr/bin/python3").argv
    assert argv[:5] == ("/usr/bin/python3", "-P", "-B", "-m", "agent.launchers.mpyc")
    parties = [after for word, after in itertools.pairwise(argv) if word == "--party"]
    assert parties == ["10.77.0.1:22000", "10.77.0.2:22001", "10.77.0.3:22002"]
    assert argv[argv.index("--rank") + 1] == "1"
    assert argv[argv.index("--threshold") + 1] == "1"


def test_what_is_filled_in_is_not_read_as_a_template_again() -> None:
    argv = plan(AUCTION, SEATS, {"bid": 5}, WORK, "python3").argv
    assert argv[-1] == "/work folder/{rank}/program/main.py"


def test_inputs_are_on_standard_input_and_nowhere_else() -> None:
    launch = plan(AUCTION, SEATS, {"bid": 777_771}, WORK, "python3")
    assert json.loads(launch.stdin) == {"bid": 777_771}
    assert launch.env["DIDMESH_INPUTS"] == "/dev/stdin"
    assert not any(b"777771" in content for content in launch.files.values())
    assert "777771" not in repr(launch)


def test_the_program_itself_travels_into_the_work_folder() -> None:
    launch = plan(AUCTION, SEATS, {"bid": 5}, WORK, "python3")
    assert launch.files["program/main.py"] == AUCTION.files["main.py"]
    assert set(launch.files) == {"program/main.py", "program/manifest.toml"}


def test_nothing_of_our_own_environment_reaches_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "secret")
    env = plan(AUCTION, SEATS, {"bid": 5}, WORK, "python3").env
    ours = {"DIDMESH_INPUTS", "DIDMESH_ROLE", "DIDMESH_ROLES"}
    assert set(env) == {*ours, "HOME", "LANG", "PATH", "PYTHONPATH"}


@pytest.mark.parametrize(
    ("seats", "wanted"),
    [
        (Seats(0, ("a", "b"), (1, 1), 0, ("party",) * 2), "is for 3 to 64 parties, not for 2"),
        (replace(SEATS, rank=3), "do not fit each other"),
        (replace(SEATS, ports=(1, 2)), "do not fit each other"),
        (replace(SEATS, threshold=2), "must be less than half of 3 parties, not 2"),
        (replace(SEATS, threshold=-1), "must be less than half of 3 parties, not -1"),
    ],
)
def test_seats_that_do_not_fit_the_program_are_refused(seats: Seats, wanted: str) -> None:
    with pytest.raises(AdapterError) as caught:
        plan(AUCTION, seats, {"bid": 5}, WORK, "python3")
    assert wanted in str(caught.value)


def test_an_unknown_adapter_is_answered_with_those_there_are() -> None:
    other = replace(AUCTION, manifest=replace(AUCTION.manifest, adapter="spdz"))
    with pytest.raises(
        AdapterError, match='wants the adapter "spdz"; there is: cicada, generic, mpyc'
    ):
        plan(other, SEATS, {"bid": 5}, WORK, "python3")


def test_parties_compare_the_frameworks_version_and_the_word_size() -> None:
    assert runtime_versions(AUCTION) == {"mpyc": "0.11", "word": "64-bit"}


def test_a_missing_framework_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = replace(ADAPTERS["mpyc"], packages=("mpyc_absent",))
    monkeypatch.setattr("agent.launch.adapters.ADAPTERS", {"mpyc": absent})
    with pytest.raises(AdapterError, match=r"pip install didmesh\[mpyc\]"):
        runtime_versions(AUCTION)


def test_a_template_has_no_variables_but_the_known_ones() -> None:
    for word in ("{home}", "{address}", EachParty(("{bid}",))):
        with pytest.raises(ValueError, match="no variable"):
            Adapter("x", (), (word,), {})
