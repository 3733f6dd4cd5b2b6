"""A bad mediator, to show that tests notice: it answers first and commits afterwards."""

import asyncio
from typing import Any

from mediator.cli import main
from mediator.stores import commits

HASTE = 0.1  # seconds between answer and commit


async def answer_first(self: Any, group: list[Any]) -> None:
    connection = self._connection
    connection.execute("BEGIN IMMEDIATE")
    outcomes = [commits._attempt(pending.operation, connection) for pending in group]
    for pending, outcome in zip(group, outcomes, strict=True):
        commits._answer(pending.future, outcome)
    await asyncio.sleep(HASTE)
    connection.execute("COMMIT")


if __name__ == "__main__":
    commits.GroupCommit._write = answer_first  # type: ignore[method-assign]
    main()
