"""A pair's pre-shared key: the same at both, nobody else's, and named where it does not fit."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from agent.session.callers import VERDICT_DELAY
from agent.session.descriptor import KeyAgreement
from agent.session.events import Outcome, State
from agent.session.preshared import (
    Decapsulator,
    End,
    NotConfirmed,
    PairKeys,
    is_encapsulation_key,
)
from agent.session.statements import Kind
from identity.codec import b64url_decode, b64url_encode
from messaging.protocols.session import Offer, Preshared, Propose
from tests.support.sessions import Table, draft_of, make_parties

SESSION, OTHER_SESSION = "ab" * 32, "cd" * 32
NAMES = ("ann", "ben", "cy")


def wireguard_key() -> str:
    return base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()


class Trio:
    """Three parties of one session, whose offers have been made."""

    def __init__(self, session: str = SESSION) -> None:
        self.keys = {name: Decapsulator.generate() for name in NAMES}
        ends = {
            name: End(rank, self.keys[name].encapsulation_key) for rank, name in enumerate(NAMES)
        }
        self.wireguard = {name: wireguard_key() for name in NAMES}
        self.pairs = {
            name: PairKeys(
                self.keys[name],
                session,
                ends[name],
                {other: end for other, end in ends.items() if other != name},
                self.wireguard[name],
            )
            for name in NAMES
        }

    def offer(self, sender: str, recipient: str) -> Offer:
        preshared = self.pairs[sender].sent_to(recipient)
        return Offer(SESSION, "a.b.c", self.wireguard[sender], {}, (), preshared)

    def key(self, owner: str, other: str) -> bytes:
        return self.pairs[owner].key(other, self.offer(other, owner))


TRIO = Trio()


def test_both_of_a_pair_have_the_same_key_and_no_two_pairs_do() -> None:
    pairs = [("ann", "ben"), ("ann", "cy"), ("ben", "cy")]
    keys = {TRIO.key(one, two) for one, two in pairs}
    assert keys == {TRIO.key(two, one) for one, two in pairs}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}


def test_the_same_parties_have_new_keys_in_the_next_session() -> None:
    assert Trio().key("ann", "ben") != TRIO.key("ann", "ben")


ATTACKS: dict[str, Callable[[Offer], Offer]] = {
    "nothing at all": lambda honest: replace(honest, preshared=None),
    "the ciphertext for the third": lambda honest: with_part(
        honest, ciphertext=TRIO.offer("ben", "cy").preshared.ciphertext
    ),
    "the part for the third": lambda honest: replace(
        honest, preshared=TRIO.offer("ben", "cy").preshared
    ),
    "the third's part for us": lambda honest: replace(
        honest, preshared=TRIO.offer("cy", "ann").preshared
    ),
    "our own part back": lambda honest: replace(
        honest, preshared=TRIO.offer("ann", "ben").preshared
    ),
    "another WireGuard key": lambda honest: replace(honest, wireguard_key=wireguard_key()),
    "a tag of nothing": lambda honest: with_part(honest, tag="A" * 43),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_part_that_does_not_fit_is_found_before_wireguard_is_told(
    attack: Callable[[Offer], Offer],
) -> None:
    honest = TRIO.offer("ben", "ann")
    TRIO.pairs["ann"].key("ben", honest)
    with pytest.raises(NotConfirmed, match="post-quantum key"):
        TRIO.pairs["ann"].key("ben", attack(honest))


def test_a_part_of_another_session_between_the_same_keys_does_not_fit() -> None:
    ends = [End(rank, TRIO.keys[name].encapsulation_key) for rank, name in enumerate(NAMES[:2])]
    told = TRIO.wireguard["ben"]
    replayed = PairKeys(TRIO.keys["ben"], OTHER_SESSION, ends[1], {"ann": ends[0]}, told)
    offer = replace(TRIO.offer("ben", "ann"), preshared=replayed.sent_to("ann"))
    with pytest.raises(NotConfirmed):
        TRIO.pairs["ann"].key("ben", offer)


def test_another_rank_does_not_fit() -> None:
    ben, ann = TRIO.keys["ben"].encapsulation_key, TRIO.keys["ann"].encapsulation_key
    told = TRIO.wireguard["ben"]
    pairs = PairKeys(TRIO.keys["ben"], SESSION, End(2, ben), {"ann": End(0, ann)}, told)
    offer = replace(TRIO.offer("ben", "ann"), preshared=pairs.sent_to("ann"))
    with pytest.raises(NotConfirmed):
        TRIO.pairs["ann"].key("ben", offer)


@settings(deadline=None)
@given(st.integers(0, 1087), st.integers(1, 255))
def test_a_ciphertext_with_any_byte_changed_does_not_fit(position: int, change: int) -> None:
    honest = TRIO.offer("ben", "ann")
    data = bytearray(b64url_decode(honest.preshared.ciphertext))
    data[position] ^= change
    with pytest.raises(NotConfirmed):
        TRIO.pairs["ann"].key("ben", with_part(honest, ciphertext=b64url_encode(data)))


@settings(deadline=None)
@given(st.binary(max_size=1300) | st.binary(min_size=1184, max_size=1184) | st.text())
def test_no_bytes_given_as_a_key_make_an_error_of_another_kind(data: bytes | str) -> None:
    text = data if isinstance(data, str) else b64url_encode(data)
    if not is_encapsulation_key(text):
        ends = {"ben": End(1, text)}
        with pytest.raises(NotConfirmed):
            PairKeys(TRIO.keys["ann"], SESSION, End(0, "a"), ends, TRIO.wireguard["ann"])


def test_a_key_with_a_number_too_large_is_none() -> None:
    """FIPS 203, 7.2: every 12-bit number must be below 3329."""
    assert not is_encapsulation_key(b64url_encode(b"\xff" * 1184))
    assert not is_encapsulation_key(b64url_encode(bytes(1183)))


def test_secrets_are_in_no_repr() -> None:
    pairs = TRIO.pairs["ann"]
    for thing in (pairs, *pairs._sealed.values(), TRIO.keys["ann"]):
        assert not re.search(r"secret=|\\x", repr(thing))


def test_a_published_vector_of_ml_kem_768() -> None:
    """C2SP's CCTV and Wycheproof, ML-KEM-768 "strcmp": a ciphertext to be rejected, implicitly."""
    key = Decapsulator(MLKEM768PrivateKey.from_seed_bytes(bytes.fromhex(VECTOR_SEED)))
    assert b64url_decode(key.encapsulation_key)[:16].hex() == "8b9a7354e8c1c17a9898f96caf99bba1"
    assert b64url_decode(key.encapsulation_key)[-16:].hex() == "3cabdd526e326a6832d3b36efc3102ef"
    assert key.open(b64url_encode(bytes.fromhex(VECTOR_CIPHERTEXT))).hex() == VECTOR_SECRET


# What the machine makes of it.

PARTIES = make_parties(3)


@pytest.mark.parametrize("key", [None, b64url_encode(b"\xff" * 1184)], ids=["none", "no key"])
def test_a_proposal_without_a_key_is_refused_where_one_is_agreed(key: str | None) -> None:
    found = Table(PARTIES, draft_of(PARTIES))
    for index in range(3):
        found.join(index)
    for position, (sender, to, message) in enumerate(found.mail):
        if sender == PARTIES[2].did and isinstance(message, Propose):
            found.mail[position] = sender, to, replace(message, encapsulation_key=key)
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    found.deliver_all()
    ended = found.ended(0)
    assert (ended.outcome, ended.party) == (Outcome.REFUSED, PARTIES[2].did)
    assert "key agreement: ours is x25519+ml-kem-768" in ended.reason
    said = [s.kind for machine in found.machines.values() for s in machine.statements()]
    assert Kind.AGREE not in said


def test_one_party_alone_cannot_go_back_to_classical_keys() -> None:
    found = Table(PARTIES, draft_of(PARTIES))
    found.join(0)
    found.join(1)
    found.join(2, replace(found.draft, key_agreement=KeyAgreement.CLASSICAL))
    found.deliver_all()
    found.wait(VERDICT_DELAY)
    assert "ours is x25519+ml-kem-768, theirs is x25519" in found.ended(0).reason


def test_all_parties_together_can_and_the_descriptor_says_so() -> None:
    draft = replace(draft_of(PARTIES), key_agreement=KeyAgreement.CLASSICAL)
    found = Table(PARTIES, draft)
    for index in range(3):
        found.join(index)
    found.deliver_all()
    assert found.states() == [State.OFFERING] * 3
    assert found.machine(0).descriptor.key_agreement == "x25519"


def with_part(honest: Offer, **change: str) -> Offer:
    assert isinstance(honest.preshared, Preshared)
    return replace(honest, preshared=replace(honest.preshared, **change))


VECTOR_SEED = (
    "cbfc4405d1b2a3a386c94c25e0f2d5f5ee92cb0388ff4d6aa04223086d51c3fd"
    "24752da14c9fc3b8ae0d9e4a8b1016b8d8fc69e229c03ea2ef08a4ae0cffc37f"
)
VECTOR_CIPHERTEXT = (
    "00e96c44eb5f5380d80b4cb05d608971a28fbe838b912b558bf9676c6c67c9692ed6ea063fc47b70d5d6"
    "004825c269b9cb8e68b5728d67f44844d97686a11154e3cbd4a6f9e47524d93d851bdce480d7762ded09"
    "be53d17cce3ee28dc5a06911c062b99b218355dd5822108c55e2c67f7ea0b74b6189b33b4589d8ff9d0c"
    "867d13edaaf1c5f724675320beda3e6acc673c048fa04a1b30f899227d5a555e08a412a47b7db75eb118"
    "a8844a71b186880426f6bb6e77186d18e753cbcce93c9fb76c729875b4d473eeca8dab9941969faef04d"
    "f9ce3178e7341eab416d28bb7aee12bfb8f4c3df814eff45a0187329079acfc41a8e8dba7b08d111f02e"
    "37a1d2b69e57eef808fcc6ae23385534a420a93dfb6a95c73e2f1016177c4fe9d3ced769e277293aaced"
    "ed6d07efc7890eaa885bd1e73f9e5da2b9cfda0d44cbc9090705ac2ce3e7bcd7775b593c706e45ddc97d"
    "3a65d9b7e73673f9473df5bfec689671f73e7f6ee77c730a8ebda1f0b2c112a71904d6f28a51d8d479f8"
    "323fb485e722f5c4d5857e95989a9cbaf273efd04fc3cbde98baa9969e095e88accecfbd12ef2155497a"
    "5b15fe91a70d1106b91a568363bfc2d6736cc8138cbc41ddf1e54fd40511e27d89e2c26c027b63c156e2"
    "bbb998faaed3d72186f0cc626dad39a782dcda2087fd13a9498e10b41b685646a227ea1166a5632c1959"
    "83f4aba2b718b4074030d57126d34c38349892007acbea9e393b967dc3146b270f080a1f0bee90d65a09"
    "5a6352a7718ed1717a8025a2bd38c66d120baf4247676a1fe044a57ce268c078f8ff46cc26fe4f9c7a03"
    "d6467adacb8418d26273662bce1f7bc00b906e0088e95dc0fb419e2232e85aac77b9e7cd563e604de5e1"
    "d3e9693dcd3b19865cf4250773691e7e0af9c2755cd31f49d1f96708f3ba2f0b98184525abb869e12d5c"
    "ea0ac1740181a875035300b05a54b8d42ee3b4ae92b06e43cd807e2b096c977f23c61ef8c989c52ed837"
    "54076dea1323f639250bef61bdf903bf7961cec89ba6942d9d0647ac9c8195d93ed8abcedf2575464403"
    "5719a5a0a1c8c0798912726a9a8258e4c10ae7485322ed9ba331f6f090c4b492a4fcf53d753cd34f28ec"
    "0443fce0724f43c89a3942169d5099a8f7430f38691ebce2e3fe4f600d82c7ccedf60673f8e5d4c1a9f8"
    "4b8b5b23f5ed63defb6a7205e0a8b105bdc6ff4568fc78cb4456b02fedb7f4c48f6fd6b69216a3319821"
    "039db40e19a31a0b0c9d471d5a7a73865d26f8be3595525b1ec4a8579efd07ea98e2602e2bffdfd8febc"
    "5c7b4c736d326b5030ccc6faf9420a9c156a8f4516b9fff675459dfdcd4ef85d7adbdffd60f4a39628e3"
    "99cc752c2e99ab2f431dc765e7c9d206bfe32649fbef4ef48b1d7936fc74766d724350ee2245a8d5f23f"
    "bc6c7ed8b57168ce1e864e49d7f8c475dcda140bd42473825b3c72eb8c54780188813011e1962a503f9b"
    "516e13226de6375b204733b0192183c8f55e870e61cf8947c3191790bc0b657bc43aebc9d86c"
)
VECTOR_SECRET = "76c10bb1d86d96d7eb18e298363e51f7728e113f455df7d15017940ed3541451"
