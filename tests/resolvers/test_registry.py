import asyncio
from typing import Any

import pytest

from identity import did_key, did_peer
from identity.did import MAX_DID
from identity.document import DidDocument
from identity.keys import Curve, PrivateKey
from resolvers import registry as registry_module
from resolvers.registry import (
    MAX_REMEMBERED_DID,
    NEGATIVE_SECONDS,
    POSITIVE_SECONDS,
    Registry,
    default_registry,
)
from resolvers.resolver import ErrorType, ResolutionError
from tests.support.resolvers import FixedResolver

WEB = "did:web:a.example"
KEY = did_key.create(PrivateKey.generate(Curve.ED25519).public)


async def test_the_method_picks_the_resolver() -> None:
    web, other = FixedResolver([DidDocument(WEB)]), FixedResolver()
    assert (await Registry({"web": web, "other": other}).resolve(WEB)).id == WEB
    assert (web.asked, other.asked) == ([WEB], [])


async def test_an_unknown_method_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(
        ResolutionError, match=r"did:ion is not supported.*jwk, key, peer"
    ) as caught:
        await default_registry().resolve("did:ion:abc")
    assert caught.value.type is ErrorType.METHOD_NOT_SUPPORTED


@pytest.mark.parametrize("did", ["", "did:web:", "did:web:" + "a" * MAX_DID])
async def test_what_is_no_did_reaches_no_resolver(did: str) -> None:
    web = FixedResolver()
    with pytest.raises(ResolutionError) as caught:
        await Registry({"web": web}).resolve(did)
    assert caught.value.type is ErrorType.INVALID_DID
    assert web.asked == []


async def test_an_answer_is_remembered_for_its_time() -> None:
    clock = Clock()
    web = FixedResolver([DidDocument(WEB)])
    registry = Registry({"web": web}, clock=clock)
    await registry.resolve(WEB)
    clock.now = POSITIVE_SECONDS - 1
    await registry.resolve(WEB)
    assert len(web.asked) == 1
    clock.now = POSITIVE_SECONDS
    await registry.resolve(WEB)
    assert len(web.asked) == 2


async def test_a_failure_is_remembered_for_a_moment() -> None:
    clock = Clock()
    web = FixedResolver()
    registry = Registry({"web": web}, clock=clock)
    for _ in range(2):
        with pytest.raises(ResolutionError):
            await registry.resolve(WEB)
    assert len(web.asked) == 1
    web.documents[WEB] = DidDocument(WEB)
    clock.now = NEGATIVE_SECONDS
    assert await registry.resolve(WEB)


async def test_a_did_that_never_changes_is_read_once() -> None:
    clock = Clock()
    local = FixedResolver([DidDocument(KEY)])
    registry = Registry({"key": local}, clock=clock)
    await registry.resolve(KEY)
    clock.now = 1e9
    await registry.resolve(KEY)
    assert len(local.asked) == 1


async def test_a_long_local_did_takes_no_memory() -> None:
    did = "did:key:" + "z" * MAX_REMEMBERED_DID
    local = FixedResolver([DidDocument(did)])
    registry = Registry({"key": local})
    await registry.resolve(did)
    await registry.resolve(did)
    assert len(local.asked) == 2


async def test_a_short_did_peer_is_known_at_once_when_its_long_form_was_seen() -> None:
    registry = default_registry()
    long = did_peer.create_2([PrivateKey.generate(Curve.X25519).public], [], [])
    short = str(did_peer.short_form(long))
    with pytest.raises(ResolutionError):
        await registry.resolve(short)
    await registry.resolve(long)
    assert (await registry.resolve(short)).id == short


async def test_the_oldest_answer_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_REMEMBERED", 2)
    dids = [f"did:web:{name}.example" for name in "abc"]
    web = FixedResolver(DidDocument(did) for did in dids)
    registry = Registry({"web": web})
    for did in [dids[0], dids[1], dids[0], dids[2]]:  # 0 was used again, so 1 goes
        await registry.resolve(did)
    await registry.resolve(dids[0])
    assert web.asked == dids
    await registry.resolve(dids[1])
    assert web.asked == [*dids, dids[1]]


async def test_many_who_ask_at_once_are_one_question() -> None:
    slow = SlowResolver()
    registry = Registry({"web": slow})
    waiting = [asyncio.create_task(registry.resolve(WEB)) for _ in range(5)]
    await slow.asked.wait()
    slow.answer.set_result(DidDocument(WEB))
    assert {document.id for document in await asyncio.gather(*waiting)} == {WEB}
    assert slow.questions == 1


async def test_who_gives_up_does_not_end_it_for_the_others() -> None:
    slow = SlowResolver()
    registry = Registry({"web": slow})
    first, second = (asyncio.create_task(registry.resolve(WEB)) for _ in range(2))
    await slow.asked.wait()
    first.cancel()
    slow.answer.set_result(DidDocument(WEB))
    assert (await second).id == WEB
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_one_failure_reaches_everybody_who_waits() -> None:
    slow = SlowResolver()
    registry = Registry({"web": slow})
    waiting = [asyncio.create_task(registry.resolve(WEB)) for _ in range(3)]
    await slow.asked.wait()
    slow.answer.set_exception(ResolutionError(WEB, ErrorType.NOT_FOUND, "gone"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(o, ResolutionError) and o.detail == "gone" for o in outcomes)


async def test_a_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "RESOLUTION_SECONDS", 0.01)
    with pytest.raises(ResolutionError, match="no answer") as caught:
        await Registry({"web": SlowResolver()}).resolve(WEB)
    assert caught.value.type is ErrorType.INTERNAL_ERROR


async def test_the_document_of_another_did_is_refused() -> None:
    web = FixedResolver()
    web.documents[WEB] = DidDocument("did:web:mallory.example")
    with pytest.raises(ResolutionError, match="another DID") as caught:
        await Registry({"web": web}).resolve(WEB)
    assert caught.value.type is ErrorType.INVALID_DID_DOCUMENT


async def test_a_result_has_the_documents_json() -> None:
    result = (await default_registry().resolve_result(KEY)).to_json()
    assert result["didDocument"]["id"] == KEY
    assert result["didDocumentMetadata"] == {}
    assert result["didResolutionMetadata"] == {"contentType": "application/did"}


@pytest.mark.parametrize(
    ("did", "type_"),
    [
        ("nonsense", "https://www.w3.org/ns/did#INVALID_DID"),
        ("did:ion:a", "https://www.w3.org/ns/did#METHOD_NOT_SUPPORTED"),
        (
            "did:peer:3zQmS19jtYDvGtKVrJhQnRFpBQAx3pJ9omx2HpNrcXFuRCz9",
            "https://www.w3.org/ns/did#NOT_FOUND",
        ),
    ],
)
async def test_a_result_without_document_says_why(did: str, type_: str) -> None:
    result: dict[str, Any] = (await default_registry().resolve_result(did)).to_json()
    assert result["didDocument"] is None
    assert result["didDocumentMetadata"] == {}
    error = result["didResolutionMetadata"]["error"]
    assert error["type"] == type_
    assert error["title"]
    assert error["detail"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowResolver:
    """Answers when the test does."""

    def __init__(self) -> None:
        self.questions = 0
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[DidDocument] = asyncio.get_running_loop().create_future()

    async def resolve(self, did: str) -> DidDocument:
        self.questions += 1
        self.asked.set()
        return await self.answer
