"""What a PostgreSQL store of so many mailboxes weighs, and how deep its indexes are: arithmetic.

    python -m bench.model [--mailboxes 100000000] [--waiting 5] [--message 1000] [--did 630]

From the layout of PostgreSQL's pages and the columns of `mediator/stores/migrations/postgres`.
What `bench.stores` measures at 1,000,000 mailboxes is beside it to check against; run both after
a change of the schema.

Source: PostgreSQL, "Database Page Layout" and "B-Tree Implementation".
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

PAGE = 8192 - 24  # bytes of a page for rows
POINTER = 4  # to each row, in its page
HEADER = 24  # of a row; an index entry has 8
IN_ORDER, AT_RANDOM = 0.9, 0.69  # how full the pages of a B-tree are, by how keys come
PARTITIONS = 8
MEASURED = "measured at 1,000,000, DIDs of 630: 1,829 bytes a mailbox, 1,285 a message of 1,000"


@dataclass(frozen=True)
class Index:
    name: str
    key: int  # bytes
    full: float = AT_RANDOM

    @property
    def entry(self) -> float:
        return _aligned(8 + self.key) + POINTER

    @property
    def bytes_each(self) -> float:
        return self.entry / self.full

    def depth(self, entries: float) -> int:
        """Pages from the root to a leaf, both included."""
        fan_out = PAGE * self.full / self.entry
        return max(1, math.ceil(math.log(entries) / math.log(fan_out)))


DIGEST = 17  # 16 bytes, and one for their length
MAILBOX_INDEXES = (
    Index("account_pkey", 8, IN_ORDER),
    Index("account_digest_key", DIGEST),
    Index("recipient_pkey", 8, IN_ORDER),
    Index("recipient_digest_key", DIGEST),
    Index("recipient_of_account", 8, IN_ORDER),
)
MESSAGE_INDEXES = (
    Index("queue_pkey", 16),
    Index("queue_equal", 16 + DIGEST),
    Index("queue_by_expiry", 8, IN_ORDER),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mailboxes", type=int, default=10**8)
    parser.add_argument("--waiting", type=int, default=5, help="messages in each")
    parser.add_argument("--message", type=int, default=1000, help="bytes of one")
    parser.add_argument("--did", type=int, default=630, help="characters of one")
    options = parser.parse_args()
    messages = options.mailboxes * options.waiting
    mailbox, message = mailbox_bytes(options.did), message_bytes(options.message)
    print(f"{options.mailboxes:,} mailboxes with {options.waiting} messages of {options.message}")
    _say("account, recipient and indexes", mailbox, mailbox * options.mailboxes)
    _say("message with its indexes", message, message * messages)
    _say("  of that a partition", message, message * messages / PARTITIONS)
    print(f"\n{'index':24}{'bytes an entry':>15}{'GB':>8}{'depth':>7}")
    for index in MAILBOX_INDEXES:
        _say_index(index, options.mailboxes)
    for index in MESSAGE_INDEXES:
        _say_index(index, messages / PARTITIONS)
    print(f"\nThose of the queue are for one of {PARTITIONS} partitions.\n{MEASURED}")


def mailbox_bytes(did: int) -> float:
    """Of a row of `account` and one of `recipient`, with their indexes."""
    name = DIGEST + _text(did)
    account = _row(_aligned(8 + name) + 8)
    recipient = _row(_aligned(8 + name) + 8 + 4 + 4 + 8) / 0.8  # its fillfactor
    return account + recipient + sum(index.bytes_each for index in MAILBOX_INDEXES)


def message_bytes(size: int) -> float:
    """Whole rows to a page, as long as one fits; longer ones are cut into pages of their own."""
    row = _row(5 * 8 + 4 + DIGEST + 4 + size)
    heap = PAGE / (PAGE // row) if row <= 2000 else row * 1.02
    return heap + sum(index.bytes_each for index in MESSAGE_INDEXES)


def _row(columns: float) -> float:
    return _aligned(HEADER + columns) + POINTER


def _text(characters: int) -> int:
    return characters + (1 if characters < 127 else 4)


def _aligned(size: float) -> int:
    return math.ceil(size / 8) * 8


def _say(what: str, each: float, total: float) -> None:
    print(f"{what:32}{each:10,.0f} bytes{total / 1e9:10,.0f} GB")


def _say_index(index: Index, entries: float) -> None:
    total = index.bytes_each * entries / 1e9
    print(f"{index.name:24}{index.bytes_each:15.0f}{total:8.1f}{index.depth(entries):7}")


if __name__ == "__main__":
    main()
