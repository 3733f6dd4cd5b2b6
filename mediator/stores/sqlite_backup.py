"""A copy of a SQLite store at one moment, beside the mediator that uses it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from mediator.errors import DataFileError


def backup(source: Path, target: Path) -> int:
    """Write all of one moment to a new file; its size in bytes.

    It has the permissions of the source and, made by root, its owner, so that the mediator can
    be started on it. The mediator goes on meanwhile. The file is complete on disk, or not there.

    Raises: DataFileError.
    """
    if not source.exists():
        raise DataFileError(source, "there is no such file")
    if target.exists():
        raise DataFileError(target, "it is there already", "name a new file")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise DataFileError(target, error.strerror or str(error)) from error
    try:
        _belong_alike(descriptor, source)
        _copy(source, unfinished)
        os.fsync(descriptor)
        unfinished.rename(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise DataFileError(target, str(error)) from error
    finally:
        os.close(descriptor)
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def _belong_alike(descriptor: int, source: Path) -> None:
    alike = source.stat()
    if os.geteuid() == 0:
        os.fchown(descriptor, alike.st_uid, alike.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(alike.st_mode))


def _copy(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as giver,
        contextlib.closing(sqlite3.connect(target)) as taker,
    ):
        giver.execute("PRAGMA query_only = ON")
        # In one step: pages at a time it would begin anew with every commit of the mediator.
        giver.backup(taker)
        taker.execute("PRAGMA journal_mode = DELETE")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
