import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity import did_jwk, did_key, did_peer
from identity.keys import Curve, PrivateKey
from resolvers import local
from resolvers.local import LocalResolver
from resolvers.resolver import ErrorType, ResolutionError

KEY = PrivateKey.generate(Curve.ED25519).public
PEER_2 = did_peer.create_2([], [KEY], [did_peer.didcomm_service("https://a.example")])
PEER_4 = did_peer.create_4({"authentication": []})


@pytest.mark.parametrize(
    "did",
    [did_key.create(KEY), did_jwk.create(KEY), f"did:peer:0{KEY.to_multikey()}", PEER_2, PEER_4],
    ids=["did:key", "did:jwk", "did:peer:0", "did:peer:2", "did:peer:4"],
)
async def test_a_did_that_says_it_all_is_resolved(did: str) -> None:
    assert (await LocalResolver().resolve(did)).id == did


@pytest.mark.parametrize("long", [PEER_2, PEER_4])
async def test_a_short_did_is_known_once_its_long_form_was_seen(long: str) -> None:
    resolver, short = LocalResolver(), did_peer.short_form(long)
    assert short is not None
    with pytest.raises(ResolutionError) as caught:
        await resolver.resolve(short)
    assert caught.value.type is ErrorType.NOT_FOUND
    await resolver.resolve(long)
    document = await resolver.resolve(short)
    assert document.id == short
    assert document.also_known_as == (long,)


async def test_a_long_form_that_is_invalid_is_not_remembered() -> None:
    resolver, long = LocalResolver(), "did:peer:2.Vz6Mk"
    with pytest.raises(ResolutionError):
        await resolver.resolve(long)
    with pytest.raises(ResolutionError) as caught:
        await resolver.resolve(str(did_peer.short_form(long)))
    assert caught.value.type is ErrorType.NOT_FOUND


async def test_strangers_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_LONG_FORMS", 2)
    resolver = LocalResolver()
    dids = [did_peer.create_4({"alsoKnownAs": [f"did:example:{n}"]}) for n in range(3)]
    for did in dids:
        await resolver.resolve(did)
    with pytest.raises(ResolutionError):
        await resolver.resolve(str(did_peer.short_form(dids[0])))
    for did in dids[1:]:
        assert await resolver.resolve(str(did_peer.short_form(did)))


@pytest.mark.parametrize(
    ("did", "type_"),
    [
        ("", ErrorType.INVALID_DID),
        ("did:key:zzz", ErrorType.INVALID_DID),
        ("did:peer:2.Ez6LS", ErrorType.INVALID_DID),
        ("did:peer:0z" + "6" * 64_000, ErrorType.INVALID_DID),
        ("did:peer:1zQmZMygzYqNwU6Uhmewx5Xepf2VLp5S4HLSwwgf2aiKZuwa", ErrorType.NOT_FOUND),
        ("did:web:a.example", ErrorType.METHOD_NOT_SUPPORTED),
    ],
)
async def test_a_failure_says_whose_fault_it_is(did: str, type_: ErrorType) -> None:
    with pytest.raises(ResolutionError) as caught:
        await LocalResolver().resolve(did)
    assert caught.value.type is type_
    assert caught.value.did == did
    assert len(str(caught.value)) < 300


@given(st.text() | st.from_regex(r"did:(key|jwk|peer|web):[0-4]?[.:]?[A-Za-z0-9._:=-]*"))
def test_no_text_makes_resolving_crash(did: str) -> None:
    with contextlib.suppress(ResolutionError):
        LocalResolver().resolve_now(did)
