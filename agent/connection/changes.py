"""When our network changes: addresses, routes, links, and the machine's sleep.

Source: rtnetlink(7), linux/rtnetlink.h; clock_gettime(2): of the two clocks only one stands still
while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4 and of IPv6
REST = 0.3  # seconds of quiet after which a burst of changes is over
LONGEST_BURST = 2.0  # seconds
LOOK = 2.0  # seconds between two looks at the clocks
SLEPT = 2.0  # seconds of sleep that matter
ENOUGH = 1 << 16  # bytes read at once; what the kernel says in detail is not needed


async def network_changes() -> AsyncGenerator[str, None]:
    """What has changed, in a word, once for every burst of changes. Raises: OSError."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.setblocking(False)
        netlink.bind((0, GROUPS))
        asleep = _asleep()
        while True:
            heard = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await _read(loop, netlink)
                    heard = True
            if _asleep() - asleep > SLEPT:
                yield "sleep"
            elif heard:
                await _until_quiet(loop, netlink)
                yield "network"
            asleep = _asleep()


async def _until_quiet(loop: asyncio.AbstractEventLoop, netlink: socket.socket) -> None:
    end = time.monotonic() + LONGEST_BURST
    with contextlib.suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0:
            async with asyncio.timeout(min(REST, left)):
                await _read(loop, netlink)


async def _read(loop: asyncio.AbstractEventLoop, netlink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # ENOBUFS: so much has changed that some of it was left out
        await loop.sock_recv(netlink, ENOUGH)


def _asleep() -> float:
    """Seconds that the machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
