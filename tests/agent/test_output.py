"""What takes a while says so, once, to a person."""

import time
from types import SimpleNamespace

import pytest

from agent.output import patience


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("agent.output.sys", SimpleNamespace(stderr=stderr))


@pytest.mark.usefixtures("terminal")
def test_what_takes_long_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    with patience("asking the mediator", seconds=0.01):
        time.sleep(0.2)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "agent: asking the mediator\n")


@pytest.mark.usefixtures("terminal")
def test_what_is_quick_or_fails_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), patience("asking the mediator", seconds=0.05):
        1 / 0  # noqa: B018
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_script_reads_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with patience("asking the mediator", seconds=0.01):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
