"""One side's time in a lobby: its mail is carried, work goes on beside, and at last it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agent.lobby.courier import Courier, Machine
from agent.lobby.events import Gathered
from agent.lobby.room import Room, interruptible
from messaging.protocols.lobby import LobbyMessage

LAST_WORDS = 5.0  # seconds to bring what we still have to say


class Sitting:
    """`on_change` is called after whatever may have changed the machine; `aside` as in Courier."""

    def __init__(
        self,
        room: Room,
        machine: Machine,
        lobby: str,
        expires: int,
        *,
        on_change: Callable[[], None],
        save: Callable[[], None],
        aside: Callable[[str, LobbyMessage], bool] = lambda *_: False,
    ) -> None:
        self._over: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()
        self._courier = Courier(
            machine,
            room.mailbox,
            lobby,
            expires,
            on_change=on_change,
            on_trouble=room.trouble,
            aside=aside,
            save=save,
        )

    @property
    def is_over(self) -> bool:
        return self._over.done()

    async def last(self, begin: Callable[[], None], hint: str) -> Gathered:
        """Call `begin`, and wait for the end.

        Raises: what `fail` was given; WentAway, with `hint`.
        """
        async with self._courier as courier:
            begin()
            ends: set[asyncio.Future[Any]] = {self._over, courier.failed}
            with interruptible(self._over, hint):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            try:
                if not self._over.done():
                    courier.failed.result()
                return self._over.result()
            finally:
                await courier.flush(LAST_WORDS)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside; an error of it ends the lobby here."""
        self._courier.start(work)

    def pump(self) -> None:
        """Act on what the machine tells, keep its state, and send what it says."""
        self._courier.pump()

    def send(self, did: str, content: LobbyMessage) -> None:
        self._courier.send(did, content)

    def end(self, gathered: Gathered) -> None:
        if not self._over.done():
            self._over.set_result(gathered)

    def fail(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)
