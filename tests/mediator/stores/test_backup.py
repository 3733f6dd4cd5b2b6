"""`mediator backup`, beside a mediator at work, and `mediator migrate` as a command."""

import asyncio
import itertools
import os
import stat
from pathlib import Path

import pytest

from mediator.cli import run
from mediator.settings.config import Limits
from mediator.stores.opening import open_store
from tests.support.stores import ALICE, NOW, post

ROOMY = Limits(inbox_messages=9_999)


async def test_a_backup_is_of_one_moment_while_mail_comes(tmp_path: Path) -> None:
    data, copy = tmp_path / "mediator.db", tmp_path / "copy.db"
    stop = asyncio.Event()
    async with open_store(data, ROOMY) as store:
        await store.open_account(ALICE, NOW)
        await store.bind(ALICE, ALICE, proven=True)

        async def send() -> int:
            for number in itertools.count():
                await post(store, b"%d" % number)
                if stop.is_set():
                    return number
            raise AssertionError

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.1)
        code = await asyncio.to_thread(run, ["backup", "--data", str(data), str(copy)])
        stop.set()
        last = await sending
    assert code == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    async with open_store(copy, ROOMY) as store:
        messages = await store.fetch(ALICE, now=NOW, limit=9_999, max_bytes=99_999)
        there = [message.envelope for message in messages]
        assert 0 < len(there) <= last + 1
        assert there == [b"%d" % number for number in range(len(there))]
        assert (await store.waiting(ALICE, now=NOW)).messages == len(there)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_backup_made_by_root_is_the_mediators_own_and_as_private(tmp_path: Path) -> None:
    data, copy = tmp_path / "mediator.db", tmp_path / "copy.db"

    async def make() -> None:
        async with open_store(data, ROOMY):
            pass

    asyncio.run(make())
    for mode in (0o600, 0o640):
        os.chown(data, 1234, 5678)
        data.chmod(mode)
        copy.unlink(missing_ok=True)
        assert run(["backup", "--data", str(data), str(copy)]) == 0
        made = copy.stat()
        assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (1234, 5678, mode)


def test_a_backup_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("mediator.db", "copy.db"):
        (tmp_path / name).write_bytes(b"there")
    arguments = ["backup", "--data", str(tmp_path / "mediator.db"), str(tmp_path / "copy.db")]
    assert run(arguments) == 1
    assert "it is there already" in capsys.readouterr().err
    assert (tmp_path / "copy.db").read_bytes() == b"there"


def test_a_database_is_not_backed_up_by_us(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", "--data", "postgresql://me:secret@host/db", "copy.db"]) == 1
    words = capsys.readouterr().err
    assert "pg_dump" in words
    assert "secret" not in words


def test_migrate_says_what_it_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"

    async def fill() -> None:
        async with open_store(old, ROOMY) as store:
            await store.open_account(ALICE, NOW)
            await store.bind(ALICE, ALICE, proven=True)
            await post(store, b"letter")

    asyncio.run(fill())
    assert run(["migrate", str(old), str(new)]) == 0
    assert "1 accounts, 1 recipients, 1 messages" in capsys.readouterr().out
    assert run(["migrate", str(old), str(new)]) == 1
