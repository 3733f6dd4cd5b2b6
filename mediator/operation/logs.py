"""What a mediator says while it runs: a line each, for people or machines; never a whole DID."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TextIO

import orjson

from mediator.addresses import shorten
from mediator.settings.config import LogFormat

# Long enough to be somebody's; methods' names and placeholders stay as they are.
_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%\-]{24,}(?:[?#][^\s\"',;)\]}]*)?")
# What a query of an invitation link or an Authorization header would carry.
_SECRET = re.compile(
    r"(?i)(_oob=|bearer\s+|password[=:]\s*)[^\s&\"'@]+|(://[^/\s:@]*:)[^\s\"'@]+(?=@)"
)


def configure(format_: LogFormat, level: str, stream: TextIO = sys.stderr) -> None:
    """Send everything of this process to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Text() if _is_text(format_, stream) else _Json())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def redact(text: str) -> str:
    """The text with each DID shortened and secrets left out."""
    return _SECRET.sub(r"\1\2…", _DID.sub(lambda found: shorten(found[0]), text))


def _is_text(format_: LogFormat, stream: TextIO) -> bool:
    return format_ is LogFormat.TEXT or (format_ is LogFormat.AUTO and stream.isatty())


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Json(logging.Formatter):
    """One object a line: time (UTC), level, logger, message and, after a fault, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()
