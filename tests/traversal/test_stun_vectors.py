"""The published samples: RFC 5769, section 2, and RFC 8489, appendix B.1, byte for byte."""

import hashlib

import pytest

from traversal import stun
from traversal.candidate import Address

SHORT_TERM_KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae"
    "80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b1 51263b36"
    "00060009 6576746a 3a683676 59202020"
    "00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2"
    "80280004 e57a3bcf"
)
IPV4_RESPONSE = bytes.fromhex(
    "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200008 0001a147 e112a643"
    "00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7"
    "80280004 c07d4c96"
)
IPV6_RESPONSE = bytes.fromhex(
    "01010048 2112a442 b7e7a701 bc34d686 fa87dfae"
    "8022000b 74657374 20766563 746f7220"
    "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9"
    "00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41"
    "80280004 c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(
    "00010060 2112a442 78ad3433 c6ad72c0 29da412e"
    "00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000"
    "0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341"
    "0014000b 6578616d 706c652e 6f726700"
    "00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666"
)
SHA256_REQUEST = bytes.fromhex(  # as corrected by erratum 6268
    "00010090 2112a442 78ad3433 c6ad72c0 29da412e"
    "001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704"
    "00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39"
    "46535476 79363473 41000000"
    "0014000b 6578616d 706c652e 6f726700"
    "001d0004 00020000"
    "001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65"
)


def test_the_sample_request_reads_as_printed() -> None:
    message = stun.parse(REQUEST)
    assert message.cls is stun.Class.REQUEST
    assert message.transaction == TRANSACTION
    assert message.attributes["SOFTWARE"] == "STUN test client"
    assert message.attributes["PRIORITY"] == 0x6E0001FF
    assert message.attributes["ICE-CONTROLLED"] == 0x932FF9B151263B36
    assert message.attributes["USERNAME"] == "evtj:h6vY"


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (IPV4_RESPONSE, Address("192.0.2.1", 32853)),
        (IPV6_RESPONSE, Address("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
    ids=["ipv4", "ipv6"],
)
def test_the_sample_responses_read_as_printed(data: bytes, address: Address) -> None:
    message = stun.parse(data)
    assert message.cls is stun.Class.SUCCESS
    assert message.attributes["SOFTWARE"] == "test vector"
    assert message.attributes["XOR-MAPPED-ADDRESS"] == address


@pytest.mark.parametrize("data", [REQUEST, IPV4_RESPONSE, IPV6_RESPONSE])
def test_the_samples_prove_their_short_term_password(data: bytes) -> None:
    assert stun.verify_integrity(data, SHORT_TERM_KEY, "MESSAGE-INTEGRITY")
    assert not stun.verify_integrity(data, b"another password", "MESSAGE-INTEGRITY")


def test_the_weaker_algorithm_does_not_pass_for_the_stronger() -> None:
    assert not stun.verify_integrity(REQUEST, SHORT_TERM_KEY)


def test_the_long_term_sample_proves_its_password() -> None:
    message = stun.parse(LONG_TERM_REQUEST)
    user = message.attributes["USERNAME"]
    assert user == "マトリックス"
    assert message.attributes["REALM"] == "example.org"
    key = hashlib.md5(f"{user}:example.org:TheMatrIX".encode()).digest()
    assert stun.verify_integrity(LONG_TERM_REQUEST, key, "MESSAGE-INTEGRITY")


def test_the_sha256_sample_proves_its_password() -> None:
    message = stun.parse(SHA256_REQUEST)
    assert message.unknown == (0x001E,)
    assert message.attributes["PASSWORD-ALGORITHM"] == (2,)
    assert message.attributes["NONCE"] == "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"
    key = hashlib.sha256("マトリックス:example.org:TheMatrIX".encode()).digest()
    assert stun.verify_integrity(SHA256_REQUEST, key)
    assert not stun.verify_integrity(SHA256_REQUEST, b"another password")
