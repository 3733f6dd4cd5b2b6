"""Batches in WebSocket frames: literal bytes, the RFC's among them, and streams cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal.relay_frames import (
    BINARY,
    MAX_FRAME,
    PING,
    Frames,
    MalformedBatch,
    MalformedFrame,
    OversizedFrame,
    accepted,
    batch,
    frame,
    masked_frame,
    runs_of,
)
from traversal.segments import Run, single

RUNS = st.lists(
    st.tuples(st.integers(1, 1500), st.binary(min_size=1, max_size=4000)).map(
        lambda given: Run(min(given[0], len(given[1])), given[1])
    ),
    max_size=5,
)


def content_of(*runs: Run) -> bytes:
    return b"".join(batch(runs))


def read(data: bytes, *, masked: bool, pieces: int | None = None) -> list[tuple[int, bytes]]:
    frames, found = Frames(masked=masked), []
    step = pieces or len(data) or 1
    for start in range(0, len(data), step):
        for opcode, content in frames.feed(data[start : start + step]):
            found.append((opcode, bytes(content)))
    return found


def test_a_key_is_answered_as_the_rfc_says() -> None:
    """Section 1.3."""
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_run_stands_behind_its_size_and_its_length() -> None:
    assert content_of(Run(3, b"aaabbbc")) == b"\0\3\0\0\0\7aaabbbc"
    two = content_of(single(b"one"), single(b"longer"))
    assert two == b"\0\3\0\0\0\3one\0\6\0\0\0\6longer"


def test_neighbours_that_make_one_run_have_one_head() -> None:
    four = content_of(*map(single, (b"aaa", b"bbb", b"c", b"ddd")))
    assert four == b"\0\3\0\0\0\7aaabbbc\0\3\0\0\0\3ddd"


def test_what_several_calls_of_the_kernel_gave_is_one_run() -> None:
    """With runs of 64 KiB each end would do again for every one what it can do for all."""
    content = content_of(*[Run(1312, bytes(49 * 1312))] * 3)
    assert content[:6] == b"\5\x20\0\2\xf1\x60"
    assert [run.number for run in runs_of(content)] == [3 * 49]


@given(RUNS)
def test_datagrams_come_out_as_they_went_in(runs: list[Run]) -> None:
    sent = [data for run in runs for data in run.datagrams()]
    assert [data for run in runs_of(content_of(*runs)) for data in run.datagrams()] == sent


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\0\1\0\0\0",
        b"\0\0\0\0\0\1x",
        b"\0\1\0\0\0\0",
        b"\0\2\0\0\0\1x",
        b"\0\1\0\0\0\2x",
        b"\0\1\0\0\0\1xy",
        b"\0\1\xff\xff\xff\xffx",
    ],
)
def test_a_batch_that_does_not_fit_its_frame_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedBatch):
        list(runs_of(content))


# Frames


def test_the_examples_of_the_rfc_are_read() -> None:
    """Section 5.7: an unmasked and a masked ping, and 256 bytes and 64 KiB of binary."""
    assert read(b"\x89\x05Hello", masked=False) == [(PING, b"Hello")]
    assert read(bytes.fromhex("898537fa213d7f9f4d5158"), masked=True) == [(PING, b"Hello")]
    assert read(b"\x82\x7e\x01\0" + bytes(256), masked=False) == [(BINARY, bytes(256))]
    large = b"\x82\x7f\0\0\0\0\0\1\0\0" + bytes(65536)
    assert read(large, masked=False) == [(BINARY, bytes(65536))]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, MAX_FRAME])
def test_what_one_end_makes_the_other_reads(size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    assert read(frame([content[:5], content[5:]]), masked=False) == [(BINARY, content)]
    assert read(bytes(masked_frame([content[:5], content[5:]])), masked=True) == [(BINARY, content)]


def test_every_mask_is_another_and_hides_the_content() -> None:
    content = bytes(100)
    one, two = (bytes(masked_frame([content])) for _ in range(2))
    assert one[:2] == two[:2] == b"\x82\xe4"
    assert one[2:6] != two[2:6]
    assert one[6:] == one[2:6] * 25


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400), st.booleans())
def test_a_stream_may_be_cut_anywhere(contents: list[bytes], pieces: int, masked: bool) -> None:
    make = masked_frame if masked else frame
    stream = b"".join(bytes(make([content])) for content in contents)
    assert read(stream, masked=masked, pieces=pieces) == [(BINARY, each) for each in contents]


def test_a_frame_that_comes_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    """What waits is added to, not copied for each byte."""
    frames, whole = Frames(masked=False), frame([bytes(MAX_FRAME)])
    list(frames.feed(whole[:100_000]))
    begun = frames._begun
    for at in range(100_000, 100_500):
        assert not list(frames.feed(whole[at : at + 1]))
    assert frames._begun is begun
    assert frames.pending == 100_500


MALFORMED = {
    "the first of several parts": (b"\x02\x01x", False),
    "a continuation": (b"\x00\x01x", False),
    "the last of several parts": (b"\x80\x01x", False),
    "an extension": (b"\xc2\x01x", False),
    "a client's without a mask": (b"\x82\x01x", True),
    "a server's with a mask": (b"\x82\x81maskx", False),
    "a ping of 126 bytes": (b"\x89\x7e\0\x7e" + bytes(126), False),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_frames_that_no_end_of_ours_sends_are_malformed(name: str) -> None:
    data, masked = MALFORMED[name]
    with pytest.raises(MalformedFrame):
        read(data, masked=masked)


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 1 << 62])
def test_a_frame_that_is_too_long_is_refused_by_its_head(size: int) -> None:
    with pytest.raises(OversizedFrame):
        read(b"\x82\x7f" + size.to_bytes(8), masked=False)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_frames_or_malformed(data: bytes, masked: bool) -> None:
    try:
        read(data, masked=masked)
    except MalformedFrame:
        return
