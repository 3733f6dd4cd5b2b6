"""SPAKE2 as others do it: equal words give equal keys, and nobody else learns anything."""

import pytest

from agent.lobby.pake import ORDER, BadElement, Exchange, Side, proof, proves


def test_the_published_vector_of_the_spake2_package_holds() -> None:
    """Asymmetric, from its tests; what it sends has the side's letter in front."""
    scalar_a = 2611694063369306139794446498317402240796898290761098242657700742213257926693
    scalar_b = 7002393159576182977806091886122272758628412261510164356026361256515836884383
    one = Exchange(Side.A, "password", "", "", scalar_a)
    other = Exchange(Side.B, "password", "", "", scalar_b)
    assert one.element.hex() == "6fc960df73c9cf8ed7198b0c9534e2e96a5984bfc5edc023fd24dacf371f2af9"
    assert other.element.hex() == "354e97b88406922b1df4bea1d7870f17aed3dba7c720b313edae315b00959309"
    key = "a480bca13fa04464bb644f10e340125e96c9494f7399fef7c2bda67eb0fdf06d"
    assert one.key(other.element).hex() == key
    assert other.key(one.element).hex() == key


def test_names_go_into_the_key_as_they_do_in_the_spake2_package() -> None:
    """Made with spake2 0.9: SPAKE2_A(words, b"did:a", b"did:b", entropy_f) and its other side."""
    scalar_a = 5174720523391998498271873796904406945675284295055089174253189986592262645363
    one = Exchange(Side.A, "lemon-river-stone", "did:a", "did:b", scalar_a)
    assert one.element.hex() == "6e67a9b1122d9f1e398299d863da785b9267ae08e932334dedd18101b9e540cd"
    other = bytes.fromhex("90c4cb5be58dd507c92f8f98e8a7d7d4e89f424306949dbbb06bc9b7d93acce6")
    assert (
        one.key(other).hex() == "b1586f32966332442cf2acaf901b4137ff23007b189fdca7709c44f848c14692"
    )


@pytest.mark.parametrize(
    ("words", "id_a", "id_b"),
    [
        ("lemon-river-stove", "did:a", "did:b"),
        ("lemon-river-stone", "did:m", "did:b"),
        ("lemon-river-stone", "did:a", "did:m"),
    ],
    ids=["other words", "another who asks", "another who answers"],
)
def test_who_differs_in_anything_gets_another_key(words: str, id_a: str, id_b: str) -> None:
    one = Exchange.begin(Side.A, "lemon-river-stone", "did:a", "did:b")
    other = Exchange.begin(Side.B, words, id_a, id_b)
    key = one.key(other.element)
    assert key != other.key(one.element)
    assert not proves(proof(other.key(one.element), Side.B), key, Side.B)


def test_a_proof_of_one_side_is_none_of_the_other() -> None:
    assert proves(proof(b"k" * 32, Side.A), b"k" * 32, Side.A)
    assert not proves(proof(b"k" * 32, Side.A), b"k" * 32, Side.B)


@pytest.mark.parametrize(
    "element",
    [
        b"",
        bytes(31),
        bytes(33),
        bytes(32),
        (1).to_bytes(32, "little"),
        (2**255 - 20).to_bytes(32, "little"),
        b"\xff" * 32,
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ],
    ids=["empty", "short", "long", "zero", "identity", "order 2", "not canonical", "order 8"],
)
def test_what_is_no_element_of_the_group_is_refused(element: bytes) -> None:
    exchange = Exchange.begin(Side.A, "lemon-river-stone", "did:a", "did:b")
    with pytest.raises(BadElement):
        exchange.key(element)


def test_a_secret_is_fresh_and_in_no_repr() -> None:
    one = Exchange.begin(Side.A, "lemon-river-stone", "did:a", "did:b")
    assert one.scalar != Exchange.begin(Side.A, "lemon-river-stone", "did:a", "did:b").scalar
    assert 0 < one.scalar < ORDER
    assert str(one.scalar) not in repr(one)
    assert "lemon" not in repr(one)
