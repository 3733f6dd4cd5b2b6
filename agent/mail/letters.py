"""Which letters we hold, which are doubles, and which the mediator may forget.

A letter is one message of one sender. It may lie at the mediator several times, because its sender
repeated it in another envelope: once acknowledged, all of them are. Memory is bounded: what is
older than the last REMEMBERED letters may come a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from messaging.packing import Opened

REMEMBERED = 4096
MAX_DOUBLES = 16  # of one letter that are remembered


@dataclass
class Letter:
    sender: str | None
    message_id: str
    attachment_ids: list[str] = field(default_factory=list)
    acknowledged: bool = False
    left: bool = False  # for the next reader


@dataclass(frozen=True)
class Received:
    """A message that the mediator keeps until it is acknowledged."""

    opened: Opened
    attachment_id: str
    _letter: Letter = field(repr=False)
    _done: Callable[[Letter], None] = field(repr=False)

    async def acknowledge(self) -> None:
        """Have it deleted, with its doubles; sent at once, or when the mediator is back."""
        self._done(self._letter)

    def leave(self) -> None:
        """It is not for this reader: the next one of this mailbox gets it again."""
        self._letter.left = True


class Letters:
    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()  # attachment ids
        self._letters: OrderedDict[tuple[str | None, str], Letter] = OrderedDict()
        self._to_acknowledge: dict[str, None] = {}  # attachment ids, in order

    def seen(self, attachment_id: str) -> bool:
        """Whether this one is dealt with: held by a reader, or about to be acknowledged."""
        return attachment_id in self._seen

    def admit(self, sender: str | None, message_id: str, attachment_id: str) -> Letter | None:
        """The letter to hand on; None for a double, which shares the fate of the first."""
        self._see(attachment_id)
        letter = self._letters.get((sender, message_id))
        if letter is None:
            letter = Letter(sender, message_id, [attachment_id])
            self._letters[sender, message_id] = letter
            _bound(self._letters)
            return letter
        if letter.acknowledged or len(letter.attachment_ids) >= MAX_DOUBLES:
            self._to_acknowledge[attachment_id] = None
        else:
            letter.attachment_ids.append(attachment_id)
        return None

    def acknowledge(self, letter: Letter) -> None:
        letter.acknowledged = True
        self._to_acknowledge.update(dict.fromkeys(letter.attachment_ids))
        letter.attachment_ids.clear()

    def discard(self, attachment_id: str) -> None:
        """Acknowledge what nobody can ever read."""
        self._see(attachment_id)
        self._to_acknowledge[attachment_id] = None

    def forget(self, letter: Letter) -> None:
        """Nobody has read it: let it come again."""
        for attachment_id in letter.attachment_ids:
            self._seen.pop(attachment_id, None)
        self._letters.pop((letter.sender, letter.message_id), None)

    def forget_left(self) -> None:
        """Somebody else reads now: let all come again that were left."""
        for letter in [one for one in self._letters.values() if one.left and not one.acknowledged]:
            self.forget(letter)

    def to_acknowledge(self, limit: int) -> tuple[str, ...]:
        return tuple(islice(self._to_acknowledge, limit))

    def acknowledged(self, attachment_ids: tuple[str, ...]) -> None:
        """The mediator has let go of these."""
        for attachment_id in attachment_ids:
            self._to_acknowledge.pop(attachment_id, None)

    def _see(self, attachment_id: str) -> None:
        self._seen[attachment_id] = None
        _bound(self._seen)


def _bound(memory: OrderedDict[Any, Any]) -> None:
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
