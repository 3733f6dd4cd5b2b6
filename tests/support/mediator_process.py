"""Mediators as processes of their own, started as a user would start them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
ORDINARY = "nobody"  # who runs it when the tests are run by root


@contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """One that an ordinary user may write to: a mediator does not run as root."""
    path = Path(tempfile.mkdtemp(prefix="didmesh-", dir=parent))
    try:
        if os.geteuid() == 0:
            shutil.chown(path, ORDINARY)
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def process(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Started as an ordinary user, from the checkout; told to stop when the block is left."""
    user = pwd.getpwnam(ORDINARY).pw_uid if os.geteuid() == 0 else None
    with subprocess.Popen(
        [sys.executable, "-m", *argv],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    ) as started:
        try:
            yield started
        finally:
            started.terminate()


def run_argv(data: Path | str, port: int = 0) -> list[str]:
    """For a mediator on loopback that says where it is as a line of JSON."""
    listen = f"127.0.0.1:{port}"
    stun = ["--stun-port", "0", "--stun-port", "0"]
    more = [*stun, "--metrics", "off", "--data", str(data), "--json"]
    return ["mediator", "run", "--listen", listen, *more]


def facts(started: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What it says when it is ready."""
    assert started.stdout is not None
    line = started.stdout.readline()
    assert line, "it ended before it was ready"
    value: dict[str, Any] = json.loads(line)
    return value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
