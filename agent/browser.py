"""Opens the person's browser, without telling other users of the machine at which address."""

from __future__ import annotations

import html
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.output import remark

OPENERS = ("xdg-open", "open")


@contextmanager
def way_in(url: str) -> Iterator[Path]:
    """A file that leads to the page: other users can read a browser's arguments, but not this."""
    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="didmesh-") as file:
        target = html.escape(url)
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={target}">')
        file.flush()
        yield Path(file.name)


def open_browser(way: Path) -> subprocess.Popen[bytes] | None:
    """The process that opens it, where there is a browser to open."""
    opener = next(filter(None, map(shutil.which, OPENERS)), None)
    if opener is None:
        remark("no browser opens by itself here: open the address above")
        return None
    return subprocess.Popen(
        [opener, str(way)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
