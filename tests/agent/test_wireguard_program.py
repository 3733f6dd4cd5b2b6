"""Which wireguard-go is run, and how old it says it is."""

import sys
from pathlib import Path

import pytest

from agent.wireguard.program import find_wireguard_go, version_of


def program(folder: Path, words: str) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / "wireguard-go"
    made.write_text(f"#!/bin/sh\n{words}\n")
    made.chmod(0o755)
    return made


def test_the_one_beside_our_python_goes_before_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = program(tmp_path / "system", "true")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert find_wireguard_go(str(system.parent)) == str(system)
    built = program(tmp_path / "bin", "true")
    assert find_wireguard_go(str(system.parent)) == str(built)


def test_nothing_is_found_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_wireguard_go(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("echo 'wireguard-go v0.0.20220316'", 20220316),
        ("echo 'wireguard-go v0.0.20250522'; echo; echo 'Userspace WireGuard daemon'", 20250522),
        ("echo 'wireguard-go from a distribution'", None),
        ("exit 1", None),
    ],
)
def test_a_version_is_a_day(tmp_path: Path, words: str, day: int | None) -> None:
    assert version_of(str(program(tmp_path / "bin", words))) == day


def test_what_cannot_be_run_has_no_version(tmp_path: Path) -> None:
    assert version_of(str(tmp_path / "nothing")) is None
