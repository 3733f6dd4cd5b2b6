import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from identity.codec import b64url_encode, base58_encode
from identity.errors import InvalidKey, UnknownCurve
from identity.keys import Curve, PrivateKey, PublicKey, x25519_of_ed25519

SIGNING = [curve for curve in Curve if curve is not Curve.X25519]
AGREEING = [curve for curve in Curve if curve is not Curve.ED25519]
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize("curve", Curve)
def test_a_key_is_the_same_in_every_text_form(curve: Curve) -> None:
    private = PrivateKey.generate(curve)
    public = private.public
    assert PublicKey.from_jwk(public.to_jwk()) == public
    assert PublicKey.from_multikey(public.to_multikey()) == public
    assert PublicKey.from_native(public.native) == public
    assert PrivateKey.from_jwk(private.to_jwk()) == private
    assert PrivateKey.from_jwk(private.to_jwk()).to_jwk() == private.to_jwk()
    assert hash(PublicKey(curve, public.raw)) == hash(public)


@pytest.mark.parametrize("curve", SIGNING)
def test_only_the_signer_and_the_signed_bytes_verify(curve: Curve) -> None:
    private, other = PrivateKey.generate(curve), PrivateKey.generate(curve)
    signature = private.sign(b"message")
    assert private.public.verify(signature, b"message")
    assert not private.public.verify(signature, b"massage")
    assert not other.public.verify(signature, b"message")
    assert not private.public.verify(signature[:-1], b"message")
    assert not private.public.verify(signature + b"\x00", b"message")
    assert not private.public.verify(bytes(len(signature)), b"message")
    assert not private.public.verify(b"", b"message")


@pytest.mark.parametrize("curve", [c for c in SIGNING if c is not Curve.ED25519])
def test_a_signature_has_one_length(curve: Curve) -> None:
    private = PrivateKey.generate(curve)
    signature = private.sign(b"message")
    r, s = signature[: len(signature) // 2], signature[len(signature) // 2 :]
    assert not private.public.verify(b"\x00" + r + s, b"message")
    assert not private.public.verify(r + b"\x00" + s, b"message")
    assert not private.public.verify(b"\x00" + r + b"\x00" + s, b"message")


@given(st.sampled_from(Curve), st.binary(max_size=140))
def test_no_signature_makes_verifying_crash(curve: Curve, signature: bytes) -> None:
    assert not KEYS[curve].verify(signature, b"message")


def test_an_x25519_key_neither_signs_nor_verifies() -> None:
    key = PrivateKey.generate(Curve.X25519)
    with pytest.raises(InvalidKey):
        key.sign(b"message")
    assert not key.public.verify(bytes(64), b"message")


def test_es256k_signatures_have_the_low_s_of_the_two() -> None:
    key = PrivateKey.generate(Curve.SECP256K1)
    for number in range(200):
        signature = key.sign(number.to_bytes(2, "big"))
        assert int.from_bytes(signature[32:], "big") <= SECP256K1_ORDER // 2
        assert key.public.verify(signature, number.to_bytes(2, "big"))


@pytest.mark.parametrize("curve", AGREEING)
def test_two_parties_agree_on_one_secret(curve: Curve) -> None:
    ours, theirs = PrivateKey.generate(curve), PrivateKey.generate(curve)
    assert ours.exchange(theirs.public) == theirs.exchange(ours.public)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Curve.X25519, Curve.ED25519),
        (Curve.ED25519, Curve.ED25519),
        (Curve.P256, Curve.SECP256K1),
        (Curve.P256, Curve.X25519),
        (Curve.X25519, Curve.P256),
    ],
)
def test_there_is_no_agreement_across_curves(ours: Curve, theirs: Curve) -> None:
    with pytest.raises(InvalidKey):
        PrivateKey.generate(ours).exchange(PrivateKey.generate(theirs).public)


def test_jwk_coordinates_are_written_in_full_and_read_without_their_zeros() -> None:
    # P-521 needs 521 bits of its 528: about every second coordinate starts with a zero byte.
    key = next(k for k in _p521_keys() if _x(k)[0] == 0)
    assert len(_x(key)) == 66
    short = {**key.to_jwk(), "x": b64url_encode(_x(key).lstrip(b"\x00"))}
    assert PublicKey.from_jwk(short) == key


def test_rfc8037_known_answer() -> None:
    # RFC 8037, appendix A
    key = PrivateKey.from_jwk(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    )
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert b64url_encode(key.sign(signed)) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


def test_a_secret_never_shows() -> None:
    key = PrivateKey.generate(Curve.P256)
    shown = f"{key!r} {key} {[key]}"
    assert key.to_jwk()["d"] not in shown
    assert key.public.to_multikey() in shown


SMALL_ORDER = {
    # https://cr.yp.to/ecdh.html#validate
    "x25519 order 4": (Curve.X25519, "00" * 32),
    "x25519 order 1": (Curve.X25519, "01" + "00" * 31),
    "x25519 order 8": (
        Curve.X25519,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    ),
    "x25519 other order 8": (
        Curve.X25519,
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ),
    "x25519 p-1": (Curve.X25519, "ec" + "ff" * 30 + "7f"),
    "x25519 p": (Curve.X25519, "ed" + "ff" * 30 + "7f"),
    "x25519 p+1": (Curve.X25519, "ee" + "ff" * 30 + "7f"),
    "x25519 order 4, ignored bit": (Curve.X25519, "00" * 31 + "80"),
    "x25519 p-1, ignored bit": (Curve.X25519, "ec" + "ff" * 31),
    "ed25519 order 1": (Curve.ED25519, "01" + "00" * 31),
    "ed25519 order 2": (Curve.ED25519, "ec" + "ff" * 30 + "7f"),
    "ed25519 order 4": (Curve.ED25519, "00" * 32),
    "ed25519 order 4, negative": (Curve.ED25519, "00" * 31 + "80"),
    "ed25519 order 8": (
        Curve.ED25519,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ),
    "ed25519 other order 8, negative": (
        Curve.ED25519,
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ),
}


@pytest.mark.parametrize("name", SMALL_ORDER)
def test_points_of_small_order_are_refused_in_every_text_form(name: str) -> None:
    curve, raw = SMALL_ORDER[name]
    point = bytes.fromhex(raw)
    prefix = b"\xec\x01" if curve is Curve.X25519 else b"\xed\x01"
    with pytest.raises(InvalidKey, match="small order"):
        PublicKey(curve, point)
    with pytest.raises(InvalidKey, match="small order"):
        PublicKey.from_multikey("z" + base58_encode(prefix + point))
    with pytest.raises(InvalidKey, match="small order"):
        PublicKey.from_jwk({"kty": "OKP", "crv": curve.value, "x": b64url_encode(point)})


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("change", [-1, 1])
def test_keys_of_the_wrong_length_are_refused(curve: Curve, change: int) -> None:
    raw = KEYS[curve].raw
    wrong = raw[:-1] if change < 0 else raw + b"\x00"
    with pytest.raises(InvalidKey, match="bytes"):
        PublicKey(curve, wrong)


def test_a_curve_under_the_prefix_of_another_is_refused() -> None:
    p256 = KEYS[Curve.P256].raw
    for prefix in (b"\xed\x01", b"\xec\x01", b"\x81\x24", b"\x82\x24"):
        with pytest.raises(InvalidKey):
            PublicKey.from_multikey("z" + base58_encode(prefix + p256))


def test_unknown_kinds_of_keys_are_told_from_broken_ones() -> None:
    with pytest.raises(UnknownCurve):
        PublicKey.from_multikey("z" + base58_encode(b"\x85\x24" + bytes(32)))  # RSA
    with pytest.raises(UnknownCurve):
        PublicKey.from_jwk({"kty": "RSA", "n": "AQ", "e": "AQAB"})
    with pytest.raises(UnknownCurve):
        PublicKey.from_native(ec.generate_private_key(ec.SECP224R1()).public_key())


@pytest.mark.parametrize("curve", [c for c in AGREEING if c is not Curve.X25519])
def test_points_off_the_curve_are_refused(curve: Curve) -> None:
    jwk = KEYS[curve].to_jwk()
    with pytest.raises(InvalidKey, match="off its curve"):
        PublicKey.from_jwk({**jwk, "y": jwk["x"]})
    with pytest.raises(InvalidKey, match="off its curve"):
        PublicKey.from_jwk({**jwk, "x": b64url_encode(b"\xff" * (len(_x(KEYS[curve]))))})
    with pytest.raises(InvalidKey):
        PublicKey(curve, b"\x02" + b"\xff" * (len(KEYS[curve].raw) - 1))
    with pytest.raises(InvalidKey):
        PublicKey(curve, bytes(len(KEYS[curve].raw)))


@pytest.mark.parametrize(
    "change",
    [
        {"x": None},
        {"x": 1},
        {"x": ""},
        {"x": "a+b/"},
        {"x": "A" * 100_000},
        {"y": ["AQ"]},
        {"kty": "OKP"},
        {"kty": None},
        {"crv": "Ed25519"},
        {"crv": ["P-256"]},
        {"crv": {}},
    ],
)
def test_a_malformed_jwk_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidKey):
        PublicKey.from_jwk({**KEYS[Curve.P256].to_jwk(), **change})


@pytest.mark.parametrize("curve", [c for c in AGREEING if c is not Curve.X25519])
def test_a_secret_out_of_range_is_refused(curve: Curve) -> None:
    size = len(_x(KEYS[curve]))
    for secret in (bytes(size), b"\xff" * size):
        with pytest.raises(InvalidKey):
            PrivateKey.from_jwk({**KEYS[curve].to_jwk(), "d": b64url_encode(secret)})


@pytest.mark.parametrize("curve", Curve)
def test_a_secret_under_the_public_half_of_another_is_refused(curve: Curve) -> None:
    jwk = {**PrivateKey.generate(curve).to_jwk(), **KEYS[curve].to_jwk()}
    with pytest.raises(InvalidKey, match="another key"):
        PrivateKey.from_jwk(jwk)


@given(st.text(alphabet="z123ABCxyz", max_size=120) | st.text())
@example("z" + "1" * 100_000)
@example("z")
def test_no_text_makes_multikey_parsing_crash(text: str) -> None:
    with contextlib.suppress(InvalidKey):
        PublicKey.from_multikey(text)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "d", "use"]),
        st.sampled_from(["OKP", "EC", *Curve]) | st.text() | st.none() | st.integers(),
    )
)
def test_no_jwk_makes_parsing_crash(jwk: dict[str, object]) -> None:
    for parse in (PublicKey.from_jwk, PrivateKey.from_jwk):
        with contextlib.suppress(InvalidKey):
            parse(jwk)


def test_an_ed25519_key_gives_the_x25519_key_that_others_derive() -> None:
    # did:key specification, example of an Ed25519 key with its key agreement key
    key = PublicKey.from_multikey("z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp")
    derived = x25519_of_ed25519(key)
    assert derived.to_multikey() == "z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW"


KEYS = {curve: PrivateKey.generate(curve).public for curve in Curve}


def _p521_keys() -> list[PublicKey]:
    return [PrivateKey.generate(Curve.P521).public for _ in range(64)]


def _x(key: PublicKey) -> bytes:
    return key.raw[1:]
