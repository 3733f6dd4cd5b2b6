"""What some foreign clients do by themselves: fetch, listen and acknowledge, unasked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.foreign_clients import CLIENTS, begun, mediator, registered
from tests.support.peers import process

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def did() -> Iterator[str]:
    with mediator() as facts:
        yield facts["did"]


@pytest.mark.parametrize("live", [False, True], ids=["polling", "listening"])
def test_an_identus_agent_hears_its_mail_and_acknowledges_it(did: str, live: bool) -> None:
    skip_if_missing("identus")
    with registered(CLIENTS["identus"], did, live=live) as client:
        assert client.ask("listening") is live
        texts = ["one", "two", "three"]
        for text in texts:
            client.ask("write", text=text)
        heard: list[str] = []
        while len(heard) < len(texts):
            heard += client.ask("collect", count=1)
        assert sorted(heard) == sorted(texts)
        assert soon(lambda: client.ask("count") == 0)


@pytest.mark.parametrize("name", ["veramo, mediation 3.0", "didcomm-messaging"])
def test_its_own_helper_fetches_everything_and_acknowledges_it(did: str, name: str) -> None:
    skip_if_missing(CLIENTS[name].package)
    with registered(CLIENTS[name], did) as client:
        texts = ["one", "two"]
        for text in texts:
            client.ask("write", text=text)
        assert client.ask("fetch_all") == texts
        assert soon(lambda: client.ask("count") == 0)


@pytest.mark.parametrize(
    ("sender", "reader"),
    [
        ("didcomm-node, mediation 3.0", "didcomm-messaging"),
        ("didcomm-node, mediation 3.0", "sicpa, mediation 3.0"),
        ("didcomm-messaging", "didcomm-node, mediation 3.0"),
        ("sicpa, mediation 3.0", "didcomm-node, mediation 2.0"),
        ("sicpa, mediation 3.0", "identus"),
    ],
)
def test_mail_travels_between_clients_of_different_makers(
    did: str, sender: str, reader: str
) -> None:
    for name in (sender, reader):
        skip_if_missing(CLIENTS[name].package)
    with registered(CLIENTS[reader], did) as recipient, begun(CLIENTS[sender], did) as writer:
        assert writer.ask("write", text="across", to=recipient.did) == 200
        assert recipient.texts() == ["across"]


def skip_if_missing(package: str) -> None:
    if reason := process.missing(package):
        pytest.skip(reason)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within a time that a busy machine needs."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.1)
    return False
