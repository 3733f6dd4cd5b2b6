"""For which pairs a party asks its mediator for relay tickets."""

import asyncio
import contextlib
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from agent.mail.account import MediatorRefused
from agent.session.relaying import Relaying
from resolvers.resolver import ErrorType, ResolutionError
from traversal.relay import RelayTicket

PARTIES = ("did:example:ann", "did:example:ben", "did:example:cleo")
ANN, BEN, CLEO = PARTIES


@dataclass
class Mediator:
    """Our account, at a mediator that keeps the mail of these parties, too."""

    beside: Collection[str]
    gives: int = 9
    asked: list[int] = field(default_factory=list)

    async def keeps_mail_of(self, did: str) -> bool:
        if did not in PARTIES:
            raise ResolutionError(did, ErrorType.NOT_FOUND, "gone")
        return did in self.beside

    async def relays(self, session: str, count: int) -> list[tuple[RelayTicket, RelayTicket]]:
        self.asked.append(count)
        if self.gives == 0:
            raise MediatorRefused("no-relay-pairs", "no more")
        ours = RelayTicket(("192.0.2.1",), 41000, "t" * 20, 0, "s" * 20, 1, 2)
        return [(ours, ours)] * min(count, self.gives)


@pytest.mark.parametrize(
    ("me", "beside", "for_whom"),
    [
        (ANN, (), [BEN, CLEO]),
        (ANN, PARTIES, [BEN, CLEO]),
        (BEN, PARTIES, [CLEO]),
        (CLEO, PARTIES, []),
        (CLEO, (), [ANN, BEN]),
        (CLEO, (BEN,), [ANN]),
    ],
)
async def test_of_two_at_one_mediator_the_lower_rank_asks_for_both(
    me: str, beside: Collection[str], for_whom: list[str]
) -> None:
    mediator = Mediator(beside)
    assert list(await relaying(mediator, me).tickets(descriptor())) == for_whom
    assert mediator.asked == [len(for_whom)][: len(for_whom)]


async def test_a_party_of_whom_nothing_is_known_is_asked_for() -> None:
    found = await relaying(Mediator(()), CLEO).tickets(descriptor(("did:example:zoe", CLEO)))
    assert list(found) == ["did:example:zoe"]


@pytest.mark.parametrize(("gives", "count"), [(0, 0), (1, 1)])
async def test_a_mediator_that_gives_fewer_is_no_fault(gives: int, count: int) -> None:
    assert len(await relaying(Mediator((), gives), ANN).tickets(descriptor())) == count


async def test_a_relay_that_has_failed_is_replaced_at_both_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.session.relaying.LOOK", 0.01)
    told: list[tuple[str, list[dict[str, Any]]]] = []
    relayed, mediator = Relayed({BEN}), Mediator(PARTIES)
    ours = relaying(mediator, ANN)
    ours.stage.machine = SimpleNamespace(relays_changed=lambda *words: told.append(words))
    await ours.tickets(descriptor())
    await for_a_moment(ours.keep(relayed, descriptor()))
    assert [(party, side) for party, _, side in relayed.given] == [(BEN, 0)]
    assert [party for party, _ in told] == [BEN]
    assert mediator.asked == [2, 1]


async def test_a_mediator_that_is_away_is_asked_again_but_not_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.session.relaying.LOOK", 0.01)
    monkeypatch.setattr("agent.session.relaying.FIRST_WAIT", 0.05)
    mediator = Mediator((), gives=0)
    ours = relaying(mediator, ANN)
    await ours.tickets(descriptor())
    await for_a_moment(ours.keep(Relayed({BEN, CLEO}), descriptor()))
    assert 2 <= len(mediator.asked[1:]) <= 4  # after 0, 0.05, 0.15, 0.35 s
    assert set(mediator.asked) == {2}


@dataclass
class Relayed:
    """Connectivity to parties, some of which lack a relay."""

    lacking: set[str]
    given: list[tuple[str, Sequence[RelayTicket], int]] = field(default_factory=list)

    def lacks_relay(self, party: str) -> bool:
        return party in self.lacking

    def set_tickets(self, party: str, tickets: Sequence[RelayTicket], side: int) -> None:
        self.given.append((party, tickets, side))
        self.lacking.remove(party)


async def for_a_moment(work: Awaitable[NoReturn]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.4):
            await work


def relaying(mediator: Mediator, me: str) -> Relaying:
    stage: Any = SimpleNamespace(me=me, step=lambda *_: None, name=str)
    account: Any = mediator
    return Relaying(stage, account)


def descriptor(parties: tuple[str, ...] = PARTIES) -> Any:
    return SimpleNamespace(parties=parties, rank=parties.index, id="ab" * 32)
