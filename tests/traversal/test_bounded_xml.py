"""XML of strangers is read within limits, and its entities are never expanded."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traversal.bounded_xml import MAX_DEPTH, MAX_ELEMENTS, MAX_SIZE, BadXml, Element, elements

BILLION_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><r>&c;</r>"""
HOSTILE = {
    "nothing": b"",
    "no XML": b"hello",
    "half of it": b"<a><b></b>",
    "a second root": b"<a/><b/>",
    "entities in entities": BILLION_LAUGHS,
    "an entity from a file": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    "a document type alone": b"<!DOCTYPE a><a/>",
    "a document type elsewhere": b'<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>',
    "an entity that nobody declared": b"<a>&x;</a>",
    "an unknown encoding": b'<?xml version="1.0" encoding="utf-99"?><a/>',
    "another encoding than it says": b'<?xml version="1.0" encoding="utf-16"?><a/>',
    "too deep": b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
    "too many elements": b"<r>" + b"<a/>" * MAX_ELEMENTS + b"</r>",
    "too long": b"<a>" + b" " * MAX_SIZE + b"</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml_is_refused(name: str) -> None:
    with pytest.raises(BadXml):
        elements(HOSTILE[name])


def test_elements_come_with_their_local_names_and_texts() -> None:
    assert elements(b'<r xmlns="urn:x" xmlns:y="urn:y"> <y:a>1&amp;2</y:a><b> t </b></r>') == [
        Element(("r", "a"), "1&2"),
        Element(("r", "b"), "t"),
        Element(("r",), ""),
    ]


def test_the_limits_themselves_are_allowed() -> None:
    assert len(elements(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)) == MAX_DEPTH
    assert len(elements(b"<r>" + b"<a/>" * (MAX_ELEMENTS - 1) + b"</r>")) == MAX_ELEMENTS


@given(st.binary(max_size=300) | st.text("<>/&;!ab '\"=[]", max_size=80).map(str.encode))
def test_no_input_crashes_it(data: bytes) -> None:
    for document in (data, b"<a>" + data + b"</a>"):
        with contextlib.suppress(BadXml):
            elements(document)
