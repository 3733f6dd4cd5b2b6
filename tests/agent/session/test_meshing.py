"""How long is waited for STUN servers, before anybody is offered an address."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import AgentError
from agent.session.meshing import STUN_ROUNDS, STUN_SOON, STUN_TIMEOUT, Meshing
from traversal.candidate import Address

SERVER = Address("192.0.2.1", 3478)


@pytest.mark.parametrize("took", [0.0, STUN_SOON / 2, STUN_TIMEOUT])
async def test_a_mediator_that_answers_soon_has_its_stun_answer_soon(took: float) -> None:
    found = meshing(took)
    assert await found._stun_servers() == (SERVER,)
    lower = min(max(STUN_SOON, STUN_ROUNDS * took), STUN_TIMEOUT)
    assert lower <= found._stun_timeout <= min(lower + 0.5, STUN_TIMEOUT)


async def test_a_mediator_that_does_not_answer_says_nothing_of_the_network() -> None:
    found = meshing(0.0, AgentError("gone"))
    assert await found._stun_servers() == ()
    assert found._stun_timeout == STUN_TIMEOUT


def meshing(took: float, error: AgentError | None = None) -> Meshing:
    async def stun_servers() -> tuple[Address, ...]:
        await asyncio.sleep(took)
        if error is not None:
            raise error
        return (SERVER,)

    nothing: Any = None
    stage: Any = SimpleNamespace(step=lambda *_: None)
    mailbox: Any = SimpleNamespace(account=SimpleNamespace(stun_servers=stun_servers))
    return Meshing(stage, mailbox, nothing, nothing)
