"""What stands in the log, and what never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from mediator.addresses import shorten
from mediator.operation.logs import configure, redact
from mediator.settings.config import LogFormat

DID = "did:peer:2.Ez6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc.Vz6MkqRYqQiSgvZQdnBytw86Qbs0"


@pytest.fixture
def root() -> Iterator[None]:
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = before, level


def lines(format_: LogFormat, *arguments: object, fault: bool = False) -> str:
    stream = io.StringIO()
    configure(format_, "info", stream)
    error = ValueError(f"about {DID}") if fault else None
    logging.getLogger("mediator.test").info(*arguments, exc_info=error)
    logging.getLogger("mediator.test").debug("not worth a line")
    return stream.getvalue()


def test_a_line_is_one_json_object_with_time_and_level(root: None) -> None:
    line = json.loads(lines(LogFormat.JSON, "refused %s", "this"))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "mediator.test", "message": "refused this"}


def test_elsewhere_than_on_a_terminal_the_log_is_json(root: None) -> None:
    assert lines(LogFormat.AUTO, "x").startswith("{")
    assert lines(LogFormat.TEXT, "x") == "INFO mediator.test: x\n"


@pytest.mark.parametrize("format_", [LogFormat.JSON, LogFormat.TEXT])
def test_a_did_is_never_written_whole_not_even_in_a_traceback(
    root: None, format_: LogFormat
) -> None:
    text = lines(format_, "from %s", f"{DID}#key-1", fault=True)
    assert DID not in text
    assert "ValueError" in text
    assert text.count("did:peer:2.E…") >= 2


def test_a_traceback_does_not_break_a_line(root: None) -> None:
    assert lines(LogFormat.JSON, "fault", fault=True).count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"mail for {DID}, twice", f"mail for {shorten(DID)}, twice"),
        ("did:web:example.org", "did:web:example.org"),
        ("GET /?_oob=eyJpZCI6IjEifQ HTTP/1.1", "GET /?_oob=… HTTP/1.1"),
        ("postgresql://me:hunter2@db/x", "postgresql://me:…@db/x"),
        ("password=hunter2", "password=…"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_the_port_of_a_url_is_no_secret() -> None:
    assert redact("serves http://localhost:8080/a") == "serves http://localhost:8080/a"
    assert redact("postgresql://me:secret@db:5432/x") == "postgresql://me:…@db:5432/x"
