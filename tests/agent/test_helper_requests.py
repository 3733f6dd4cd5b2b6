"""The border of privilege: what an ordinary user, perhaps a hostile one, can ask for."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.network_helper.__main__ import served_user
from agent.network_helper.order import TRANSITIONS, Order, State
from agent.network_helper.requests import (
    MAX_REQUEST,
    READERS,
    Apply,
    Checks,
    Create,
    Endpoints,
    Hold,
    Launch,
    Mtu,
    Remove,
    Request,
    RequestRefused,
    Socket,
    Status,
    parse,
)
from agent.wireguard.config import Endpoint, Peer, PeerMtu

KEY, OTHER_KEY, PRIVATE = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def test_a_create_is_read_with_addresses_in_one_way_of_writing() -> None:
    assert parse(create(addresses=["10.0.0.1", "FD00:0::0001/128"]), 0) == Create(
        ("10.0.0.1/32", "fd00::1/128"), 1280
    )


def test_an_apply_is_read_whole() -> None:
    assert parse(apply(), 0) == Apply(
        b"\3" * 32,
        50000,
        (Peer(b"\1" * 32, ("10.0.0.2/32",), b"\2" * 32),),
    )


def test_endpoints_are_read_whole() -> None:
    assert parse(endpoints(), 0) == Endpoints(
        (Endpoint(b"\1" * 32, ("198.51.100.7", 4500), 25, (("198.51.100.10", 5000),)),),
    )


def test_mtus_are_read_whole() -> None:
    assert parse(mtus(), 0) == Mtu((PeerMtu(b"\1" * 32, 1420),))


def test_a_source_port_is_read_and_a_socket_comes_with_a_hold() -> None:
    request = parse(endpoints(endpoints=[endpoint(source_port=40000, late=[])]), 0)
    assert request == Endpoints(
        (Endpoint(b"\1" * 32, ("198.51.100.7", 4500), 25, (), 40000),),
    )
    assert parse(hold(), 1) == Hold(("203.0.113.7", 4500))


def test_a_launch_is_read_with_its_three_descriptors() -> None:
    assert parse(launch(), 3) == Launch(("python3", "main.py"), {"LANG": "C"}, "/tmp")


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ({"request": "status"}, Status()),
        ({"request": "checks"}, Checks()),
        ({"request": "socket", "kind": "tcp"}, Socket("tcp")),
        ({"request": "socket", "kind": "udp"}, Socket("udp")),
        ({"request": "remove"}, Remove()),
    ],
)
def test_the_small_requests_are_read(words: dict[str, str], request_: Request) -> None:
    assert parse(json.dumps(words).encode(), 0) == request_


def create(**changes: Any) -> bytes:
    return encoded({"request": "create", "addresses": ["10.0.0.1"], "mtu": 1280}, changes)


def apply(**changes: Any) -> bytes:
    words = {
        "request": "apply",
        "private_key": PRIVATE,
        "listen_port": 50000,
        "peers": [peer()],
    }
    return encoded(words, changes)


def peer(**changes: Any) -> dict[str, Any]:
    return {
        "public_key": KEY,
        "preshared_key": OTHER_KEY,
        "allowed_ips": ["10.0.0.2/32"],
    } | changes


def hold(**changes: object) -> bytes:
    return json.dumps({"request": "hold", "address": ["203.0.113.7", 4500], **changes}).encode()


def endpoints(**changes: Any) -> bytes:
    return encoded({"request": "endpoints", "endpoints": [endpoint()]}, changes)


def endpoint(**changes: Any) -> dict[str, Any]:
    return {
        "public_key": KEY,
        "address": ["198.51.100.7", 4500],
        "keepalive": 25,
        "late": [["198.51.100.10", 5000]],
        "source_port": None,
    } | changes


def mtus(**changes: Any) -> bytes:
    return encoded({"request": "mtu", "mtus": [peer_mtu()]}, changes)


def peer_mtu(**changes: Any) -> dict[str, Any]:
    return {"public_key": KEY, "mtu": 1420} | changes


def launch(**changes: Any) -> bytes:
    words = {
        "request": "launch",
        "argv": ["python3", "main.py"],
        "env": {"LANG": "C"},
        "cwd": "/tmp",
    }
    return encoded(words, changes)


def encoded(words: dict[str, Any], changes: dict[str, Any]) -> bytes:
    return json.dumps(words | changes).encode()


HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 0),
    "not text": (b"\xff\xfe", 0),
    "not JSON": (b"{", 0),
    "not an object": (b"[]", 0),
    "a number beyond all numbers": (b"9" * 5000, 0),
    "not a number": (b'{"request": "create", "addresses": ["10.0.0.1"], "mtu": NaN}', 0),
    "deep": (b"[" * 30_000 + b"]" * 30_000, 0),
    "deep members": (b'{"a":' * 10_000, 0),
    "too long": (b'"' + b" " * MAX_REQUEST + b'"', 0),
    "a member twice": (b'{"request": "remove", "request": "status"}', 0),
    "unknown request": (b'{"request": "shutdown"}', 0),
    "request as a list": (b'{"request": ["create"]}', 0),
    "no request": (b"{}", 0),
    "an extra member": (create(dns="192.0.2.1"), 0),
    "a missing member": (b'{"request": "create", "mtu": 1280}', 0),
    "a member for status": (b'{"request": "status", "all": true}', 0),
    "descriptors without a launch": (create(), 1),
    "no address": (create(addresses=[]), 0),
    "three addresses": (create(addresses=["10.0.0.1", "fd00::1", "10.0.0.2"]), 0),
    "two of one family": (create(addresses=["10.0.0.1", "10.0.0.2"]), 0),
    "addresses as text": (create(addresses="10.0.0.1"), 0),
    "an address as a number": (create(addresses=[167772161]), 0),
    "a public address": (create(addresses=["198.51.100.1"]), 0),
    "a home's address": (create(addresses=["192.168.1.1"]), 0),
    "loopback": (create(addresses=["127.0.0.1"]), 0),
    "link local": (create(addresses=["fe80::1"]), 0),
    "a public IPv6 address": (create(addresses=["2001:db8::1"]), 0),
    "an unassigned ULA": (create(addresses=["fc00::1"]), 0),
    "an IPv4 address in IPv6": (create(addresses=["::ffff:10.0.0.1"]), 0),
    "a network": (create(addresses=["10.0.0.0/8"]), 0),
    "a network mask": (create(addresses=["10.0.0.1/255.255.255.255"]), 0),
    "everything": (create(addresses=["0.0.0.0/0"]), 0),
    "a command in an address": (create(addresses=["10.0.0.1\nlink set eth0 down"]), 0),
    "a command in a zone": (create(addresses=["fd00::1%x\nlink set eth0 down"]), 0),
    "foreign digits": (create(addresses=["१०.0.0.1"]), 0),
    "an option": (create(addresses=["-force"]), 0),
    "small MTU": (create(mtu=575), 0),
    "MTU too small for IPv6": (create(addresses=["fd00::1"], mtu=1279), 0),
    "large MTU": (create(mtu=9001), 0),
    "MTU as text": (create(mtu="1280"), 0),
    "MTU as truth": (create(mtu=True), 0),
    "MTU with a fraction": (create(mtu=1280.0), 0),
    "a short key": (apply(private_key="AAAA"), 0),
    "a key with a line": (apply(private_key=PRIVATE[:20] + "\n" + PRIVATE[20:]), 0),
    "a key as a number": (apply(private_key=1), 0),
    "a key of other letters": (apply(private_key="é" * 44), 0),
    "a privileged port": (apply(listen_port=1023), 0),
    "no port at all": (apply(listen_port=65536), 0),
    "no peers": (apply(peers=[]), 0),
    "too many peers": (apply(peers=[peer()] * 64), 0),
    "a peer twice": (apply(peers=[peer(), peer(allowed_ips=["10.0.0.3"])]), 0),
    "an address twice": (apply(peers=[peer(), peer(public_key=OTHER_KEY)]), 0),
    "an address twice in other words": (
        apply(
            peers=[
                peer(allowed_ips=["fd00::0:1"]),
                peer(public_key=OTHER_KEY, allowed_ips=["fd00::1/128"]),
            ]
        ),
        0,
    ),
    "a peer that takes all": (apply(peers=[peer(allowed_ips=["0.0.0.0/0"])]), 0),
    "a peer that takes a network": (apply(peers=[peer(allowed_ips=["10.0.0.2/31"])]), 0),
    "a peer without addresses": (apply(peers=[peer(allowed_ips=[])]), 0),
    "a peer of text": (apply(peers=["peer"]), 0),
    "a peer with a setting": (apply(peers=[peer(fwmark=1)]), 0),
    "an endpoint by name": (endpoints(endpoints=[endpoint(address=["example.org", 1])]), 0),
    "an endpoint for all": (endpoints(endpoints=[endpoint(address=["224.0.0.1", 1])]), 0),
    "an endpoint nowhere": (endpoints(endpoints=[endpoint(address=["0.0.0.0", 1])]), 0),
    "an endpoint in a zone": (endpoints(endpoints=[endpoint(address=["fe80::1%eth0 x", 1])]), 0),
    "an endpoint with port 0": (endpoints(endpoints=[endpoint(address=["192.0.2.1", 0])]), 0),
    "an endpoint of one": (endpoints(endpoints=[endpoint(address=["192.0.2.1"])]), 0),
    "a negative keepalive": (endpoints(endpoints=[endpoint(keepalive=-1)]), 0),
    "a source port of the system": (endpoints(endpoints=[endpoint(source_port=53)]), 0),
    "a source port with a rule": (endpoints(endpoints=[endpoint(source_port="1 accept")]), 0),
    "a relay by name": (endpoints(endpoints=[endpoint(late=[["example.org", 1]])]), 0),
    "a relay with a rule": (endpoints(endpoints=[endpoint(late=[["192.0.2.1 accept", 1]])]), 0),
    "a relay's port with a rule": (endpoints(endpoints=[endpoint(late=[["192.0.2.1", "1;"]])]), 0),
    "every relay": (endpoints(endpoints=[endpoint(late=[["0.0.0.0", 1]])]), 0),
    "too many relays": (endpoints(endpoints=[endpoint(late=[["192.0.2.1", 1]] * 9)]), 0),
    "a relay alone": (endpoints(endpoints=[endpoint(late=["192.0.2.1", 1])]), 0),
    "a peer with an endpoint": (apply(peers=[peer(endpoint=["198.51.100.7", 1])]), 0),
    "no endpoints": (endpoints(endpoints=[]), 0),
    "too many endpoints": (endpoints(endpoints=[endpoint()] * 64), 0),
    "an endpoint twice": (endpoints(endpoints=[endpoint(), endpoint(keepalive=1)]), 0),
    "an endpoint for everybody": (endpoints(endpoints=[endpoint(allowed_ips=["::/0"])]), 0),
    "no MTUs": (mtus(mtus=[]), 0),
    "one MTU for all": (mtus(mtus=1420), 0),
    "too many MTUs": (mtus(mtus=[peer_mtu()] * 64), 0),
    "a peer's MTU twice": (mtus(mtus=[peer_mtu(), peer_mtu(mtu=1280)]), 0),
    "a peer's MTU too small": (mtus(mtus=[peer_mtu(mtu=1279)]), 0),
    "a peer's MTU too large": (mtus(mtus=[peer_mtu(mtu=1421)]), 0),
    "a peer's MTU as text": (mtus(mtus=[peer_mtu(mtu="1420")]), 0),
    "a peer's MTU with a command": (mtus(mtus=[peer_mtu(mtu="1420\nlink set lo down")]), 0),
    "a peer's MTU as truth": (mtus(mtus=[peer_mtu(mtu=True)]), 0),
    "a peer's MTU with a fraction": (mtus(mtus=[peer_mtu(mtu=1280.0)]), 0),
    "an MTU of nobody": (mtus(mtus=[{"mtu": 1420}]), 0),
    "an MTU of an address": (mtus(mtus=[{"address": "10.0.0.2", "mtu": 1420}]), 0),
    "an MTU by a short key": (mtus(mtus=[peer_mtu(public_key="AAAA")]), 0),
    "an MTU with a setting": (mtus(mtus=[peer_mtu(advmss=1)]), 0),
    "an MTU in other words": (mtus(mtu=1420), 0),
    "checks on another port": (b'{"request": "checks", "port": 53}', 0),
    "a port without its socket": (hold(), 0),
    "a port with two sockets": (hold(), 2),
    "a port by number": (hold(port=5000), 1),
    "a port for nobody": (b'{"request": "hold"}', 1),
    "a port for a name": (hold(address=["example.org", 1]), 1),
    "a port with a rule": (hold(address=["203.0.113.7 accept", 4500]), 1),
    "a raw socket": (b'{"request": "socket", "kind": "raw"}', 0),
    "a socket of many kinds": (b'{"request": "socket", "kind": ["tcp"]}', 0),
    "two descriptors": (launch(), 2),
    "four descriptors": (launch(), 4),
    "no program": (launch(argv=[]), 3),
    "a nameless program": (launch(argv=[""]), 3),
    "a program as text": (launch(argv="sh"), 3),
    "too many arguments": (launch(argv=["a"] * 1001), 3),
    "a number among arguments": (launch(argv=["sh", 1]), 3),
    "an end inside an argument": (launch(argv=["sh", "a\0b"]), 3),
    "half a character": (launch(argv=["sh", "\ud800"]), 3),
    "environment as a list": (launch(env=["A=b"]), 3),
    "a variable with a sign": (launch(env={"A=B": "c"}), 3),
    "a nameless variable": (launch(env={"": "c"}), 3),
    "a number in the environment": (launch(env={"A": 1}), 3),
    "too many variables": (launch(env={f"A{n}": "" for n in range(201)}), 3),
    "no folder": (launch(cwd=""), 3),
    "a folder somewhere": (launch(cwd="tmp"), 3),
    "a folder as a number": (launch(cwd=1), 3),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_request_is_refused(attack: str) -> None:
    with pytest.raises(RequestRefused):
        parse(*HOSTILE[attack])


def test_a_refusal_never_repeats_what_was_sent() -> None:
    secret = base64.b64encode(b"a private key of thirty-one byte").decode()[:-4]
    with pytest.raises(RequestRefused) as refused:
        parse(apply(private_key=secret), 0)
    assert secret not in repr(refused.value)


def test_secrets_are_not_shown() -> None:
    assert repr(b"\3" * 32) not in repr(parse(apply(), 0))
    assert "main.py" not in repr(parse(launch(), 3))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
MEMBERS = [
    *("addresses", "mtu", "private_key", "listen_port", "peers"),
    *("endpoints", "mtus", "kind", "argv", "env", "cwd"),
]
NAMES = st.sampled_from(sorted(READERS))


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 4))
def test_no_bytes_crash_the_reader(data: bytes, descriptors: int) -> None:
    assert_read_or_refused(data, descriptors)


@settings(deadline=None)
@given(NAMES, st.dictionaries(st.sampled_from(MEMBERS), JSON), st.integers(0, 4))
def test_no_members_crash_the_reader(name: str, words: dict[str, Any], descriptors: int) -> None:
    assert_read_or_refused(json.dumps({"request": name} | words).encode(), descriptors)


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(peer(), JSON)))
def test_no_peer_crashes_the_reader(words: dict[str, Any]) -> None:
    assert_read_or_refused(apply(peers=[words]), 0)


@settings(deadline=None)
@given(st.sampled_from(sorted(peer())), JSON)
def test_no_member_of_a_peer_crashes_the_reader(name: str, value: Any) -> None:
    assert_read_or_refused(apply(peers=[peer(**{name: value})]), 0)


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(endpoint(), JSON)))
def test_no_endpoint_crashes_the_reader(words: dict[str, Any]) -> None:
    assert_read_or_refused(endpoints(endpoints=[words]), 0)


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(peer_mtu(), JSON)))
def test_no_mtu_crashes_the_reader(words: dict[str, Any]) -> None:
    assert_read_or_refused(mtus(mtus=[words]), 0)


@settings(deadline=None)
@given(st.text(alphabet="0123456789abcdefABCDEF:./% \n-", max_size=50))
def test_every_address_that_is_let_through_is_one_private_host(text: str) -> None:
    try:
        request = parse(create(addresses=[text]), 0)
    except RequestRefused:
        return
    assert isinstance(request, Create)
    (address,) = request.addresses
    host, length = address.split("/")
    assert length == ("128" if ":" in host else "32")
    assert host.startswith(("10.", "100.", "fd"))
    assert set(host) <= set("0123456789abcdef:.")


def assert_read_or_refused(data: bytes, descriptors: int) -> None:
    with contextlib.suppress(RequestRefused):
        parse(data, descriptors)


# The order of requests

CREATE, APPLY, LAUNCH = parse(create(), 0), parse(apply(), 0), parse(launch(), 3)
ENDPOINTS, CHECKS, HOLD = parse(endpoints(), 0), Checks(), Hold(("203.0.113.7", 4500))
MTU = parse(mtus(mtus=[peer_mtu(mtu=1280)]), 0)
STATUS, SOCKET, REMOVE = Status(), Socket("tcp"), Remove()


def test_a_session_goes_from_create_to_remove() -> None:
    order = after(CREATE, SOCKET, STATUS, APPLY, CHECKS, HOLD, ENDPOINTS, STATUS, LAUNCH, LAUNCH)
    for request in (ENDPOINTS, MTU, SOCKET, REMOVE):
        order.admit(request)
    assert order.state is State.REMOVED


@pytest.mark.parametrize(
    ("done", "refused"),
    [
        ((), (APPLY, ENDPOINTS, MTU, HOLD, CHECKS, LAUNCH, STATUS, SOCKET)),
        ((CREATE,), (CREATE, ENDPOINTS, MTU, HOLD, CHECKS, LAUNCH)),
        ((CREATE, APPLY), (CREATE, APPLY)),
        ((CREATE, APPLY, CHECKS), (CHECKS,)),
        ((REMOVE,), (APPLY, ENDPOINTS, CHECKS, LAUNCH, STATUS, SOCKET)),
        ((CREATE, APPLY, REMOVE), (APPLY, ENDPOINTS, MTU, CHECKS, LAUNCH, STATUS, SOCKET)),
        ((CREATE, APPLY, CHECKS, REMOVE, CREATE), (CREATE, ENDPOINTS, CHECKS, LAUNCH)),
    ],
)
def test_a_request_out_of_order_is_refused(
    done: tuple[Request, ...], refused: tuple[Request, ...]
) -> None:
    for request in refused:
        order = after(*done)
        before = order.state
        with pytest.raises(RequestRefused):
            order.admit(request)
        assert order.state is before


def test_after_a_removal_everything_may_begin_anew() -> None:
    order = after(CREATE, APPLY, CHECKS, REMOVE, CREATE, APPLY, CHECKS, REMOVE)
    assert order.state is State.REMOVED


def test_a_removal_can_be_asked_for_at_any_time() -> None:
    assert all((state, Remove) in TRANSITIONS for state in State)


def test_nobody_becomes_a_peer_by_an_endpoint() -> None:
    stranger = endpoints(endpoints=[endpoint(public_key=OTHER_KEY)])
    with pytest.raises(RequestRefused):
        after(CREATE, APPLY).admit(parse(stranger, 0))


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(peer_mtu(public_key=OTHER_KEY, mtu=1280), id="of a stranger"),
        pytest.param(peer_mtu(mtu=1281), id="more than the interface takes"),
    ],
)
def test_an_mtu_fits_a_peer_and_the_interface(hostile: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused):
        after(CREATE, APPLY).admit(parse(mtus(mtus=[hostile]), 0))


def test_a_peer_cannot_have_our_own_address() -> None:
    with pytest.raises(RequestRefused):
        after(CREATE).admit(parse(apply(peers=[peer(allowed_ips=["10.0.0.1/32"])]), 0))


def after(*requests: Request) -> Order:
    order = Order()
    for request in requests:
        order.admit(request)
    return order


# Who is served: own uid, uid at the other end of the socket, --uid, sudo's word


@pytest.mark.parametrize(
    ("peer_", "given_", "environment", "uid"),
    [
        (1000, None, {}, 1000),
        (1000, 1000, {}, 1000),
        (1000, None, {"SUDO_UID": "1000"}, 1000),
        (0, 1000, {}, 1000),
        (0, 1000, {"SUDO_UID": "0"}, 1000),
    ],
)
def test_the_user_at_the_other_end_is_served_or_whom_root_names(
    peer_: int, given_: int | None, environment: dict[str, str], uid: int
) -> None:
    assert served_user(0, peer_, given_, environment) == uid


@pytest.mark.parametrize(
    ("own", "peer_", "given_", "environment"),
    [
        pytest.param(1000, 1000, None, {}, id="no root"),
        pytest.param(0, 0, None, {}, id="root for nobody"),
        pytest.param(0, 0, 0, {}, id="root for root"),
        pytest.param(0, 0, -1, {}, id="a negative user"),
        pytest.param(0, 0, 2**32 - 1, {}, id="the number that means no change"),
        pytest.param(0, 1000, 1001, {}, id="a user for another"),
        pytest.param(0, 1000, 0, {}, id="a user for root"),
        pytest.param(0, 0, 1001, {"SUDO_UID": "1000"}, id="root's socket in a user's hands"),
        pytest.param(0, 1001, None, {"SUDO_UID": "1000"}, id="another user's socket"),
    ],
)
def test_nobody_else_is_served(
    own: int, peer_: int, given_: int | None, environment: dict[str, str]
) -> None:
    with pytest.raises(RequestRefused):
        served_user(own, peer_, given_, environment)
