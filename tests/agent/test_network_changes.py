"""Changes of our network are told once, however many messages the kernel makes of them."""

import asyncio
import contextlib
import os
import subprocess

import pytest

from agent.connection.changes import network_changes

LINK = "dmchange0"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a link: needs root")
async def test_a_new_link_with_its_addresses_is_one_change() -> None:
    changes = network_changes()
    first = asyncio.create_task(anext(changes))
    await asyncio.sleep(0.2)
    commands = (
        f"link add {LINK} type veth peer name {LINK}p\naddress add 192.0.2.77/32 dev {LINK}\n"
    )
    commands += f"link set {LINK} up\nlink set {LINK}p up\n"
    try:
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
        assert await asyncio.wait_for(first, 10.0) == "network"
    finally:
        subprocess.run(["ip", "link", "del", LINK], check=True)
    await changes.aclose()


async def test_sleep_is_noticed_by_the_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = [0.0]
    monkeypatch.setattr("agent.connection.changes._asleep", lambda: slept[0])
    monkeypatch.setattr("agent.connection.changes.LOOK", 0.05)
    changes = network_changes()
    first = asyncio.create_task(anext(changes))
    await asyncio.sleep(0.1)
    slept[0] = 60.0
    assert await asyncio.wait_for(first, 10.0) in ("sleep", "network")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(anext(changes), 0.3)  # told once
    await changes.aclose()
