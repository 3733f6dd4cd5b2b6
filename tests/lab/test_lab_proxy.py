"""The lab's proxy passes on what was asked, one request a connection."""

import pytest

from lab.proxy import Request, read_request


def test_connect_names_a_place_and_sends_nothing_there() -> None:
    assert read_request(b"CONNECT a.lab:443 HTTP/1.1\r\n\r\n") == Request("a.lab", 443, None)
    assert read_request(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n").host == "2001:db8::1"


def test_a_plain_request_is_passed_on_with_its_path_alone_and_closes_after_it() -> None:
    asked = b"GET http://a.lab:443/b?c=d HTTP/1.1\r\nHost: a.lab\r\nConnection: keep-alive\r\n\r\n"
    passed = b"GET /b?c=d HTTP/1.1\r\nConnection: close\r\nHost: a.lab\r\n\r\n"
    assert read_request(asked) == Request("a.lab", 443, passed)


def test_an_upgrade_stays_one() -> None:
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    asked = b"GET http://a.lab/ HTTP/1.1\r\n" + fields
    assert read_request(asked) == Request("a.lab", 80, b"GET / HTTP/1.1\r\n" + fields)


@pytest.mark.parametrize(
    "head",
    [
        *(b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"),
        *(b"CONNECT a HTTP/1.1\r\n\r\n", b"GET https://a/ HTTP/1.1\r\n\r\n"),
        b"\xff \xff \xff\r\n\r\n",
    ],
)
def test_what_no_proxy_serves_is_refused(head: bytes) -> None:
    with pytest.raises(ValueError):
        read_request(head)
