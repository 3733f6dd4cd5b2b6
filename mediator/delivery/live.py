"""Live delivery: who is connected and wants mail as it comes.

The queue is the only place where mail is. A wake-up says "look at the queue now"
and carries nothing, so a lost or doubled one does no harm, and a socket that dies
takes no mail with it. Any number of sockets may be live for one account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable

from mediator.errors import Refusal
from mediator.guard.limits import TOO_MANY_SOCKETS
from mediator.stores.interface import StoreUnavailable

RETRY = 1.0  # seconds after which a store that could not be reached is asked again

Send = Callable[[bytes], Awaitable[None]]
# Sends the next of what waits beyond a position, in order, and returns the new position: the
# same when nothing waits. What one call sent is done, whatever becomes of the next.
Deliver = Callable[[int], Awaitable[int]]


class LiveAccounts:
    """Which subscriptions to wake when there is mail for an account."""

    def __init__(self, most_of_one: int) -> None:
        self._most_of_one = most_of_one
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def wake(self, account: str) -> None:
        for subscription in self._subscriptions.get(account, ()):
            subscription.wake()

    def hear(self, account: str | None) -> None:
        """Another process queued mail: for the account, or for any when it is not known which."""
        if account is not None:
            self.wake(account)
            return
        for group in self._subscriptions.values():
            for subscription in group:
                subscription.wake()

    def add(self, subscription: Subscription) -> None:
        """Raises: Refusal: the newcomer's, for sockets that push each other out never end."""
        group = self._subscriptions[subscription.account]
        if len(group) >= self._most_of_one:
            raise Refusal(TOO_MANY_SOCKETS, f"{len(group)} sockets have live delivery")
        group.add(subscription)

    def discard(self, subscription: Subscription) -> None:
        group = self._subscriptions[subscription.account]
        group.discard(subscription)
        if not group:
            del self._subscriptions[subscription.account]


class Subscription:
    """Live delivery to one account over one socket.

    It is woken from the moment it exists and delivers from the moment it is started,
    so that counting the queue may happen in between and nothing falls through.
    """

    def __init__(self, account: str, deliver: Deliver) -> None:
        self.account = account
        self.position = 0  # set when the queue is counted
        self._deliver = deliver
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        self._awake.set()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        if self._task is None:
            self._task = tasks.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        with contextlib.suppress(ConnectionError):  # the reader of the socket sees it, too
            while True:
                await self._awake.wait()
                self._awake.clear()
                try:
                    while (reached := await self._deliver(self.position)) != self.position:
                        self.position = reached
                except StoreUnavailable:  # the mail is there when the store is
                    await asyncio.sleep(RETRY)
                    self._awake.set()


class Connection:
    """One WebSocket as the handlers see it."""

    def __init__(self, live: LiveAccounts, send: Send, tasks: asyncio.TaskGroup) -> None:
        self.send = send
        self._live = live
        self._tasks = tasks
        self._subscriptions: dict[str, Subscription] = {}

    def is_live(self, account: str) -> bool:
        return account in self._subscriptions

    def subscribe(self, account: str, deliver: Deliver) -> Subscription:
        self.unsubscribe(account)
        subscription = Subscription(account, deliver)
        self._live.add(subscription)
        self._subscriptions[account] = subscription
        return subscription

    def unsubscribe(self, account: str) -> None:
        if subscription := self._subscriptions.pop(account, None):
            self._live.discard(subscription)
            subscription.stop()

    def answered(self) -> None:
        """The answer to a request is out, so what it subscribed to may follow."""
        for subscription in self._subscriptions.values():
            subscription.start(self._tasks)

    def close(self) -> None:
        for account in list(self._subscriptions):
            self.unsubscribe(account)
