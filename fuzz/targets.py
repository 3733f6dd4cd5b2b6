"""Every entrance that takes a stranger's bytes, as a function that may raise nothing.

A factory is called once in the fuzzing process and gives the function that is fed; what an
entrance promises to raise is caught here, so that whatever comes out is a finding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from fuzz import agreements, relays

Target = Callable[[bytes], None]
NOW = 1_900_000_000


def did() -> Target:
    from identity.errors import IdentityError
    from resolvers.local import LocalResolver
    from resolvers.resolver import ResolutionError

    resolver = LocalResolver()

    def feed(data: bytes) -> None:
        text = data.decode(errors="replace")
        try:
            document = _now(resolver.resolve(text))
        except (IdentityError, ResolutionError):
            return
        document.to_json()
        document.didcomm_services()

    return feed


def document() -> Target:
    from identity.document import DidDocument
    from identity.errors import IdentityError, InvalidDocument

    def feed(data: bytes) -> None:
        try:
            read = DidDocument.parse(data, "did:web:example.com")
        except InvalidDocument:
            return
        again = DidDocument.from_json(read.to_json(), did=read.id)
        assert again.key_agreement == read.key_agreement
        for method in read.verification_methods:
            try:
                read.method(method.id)
            except IdentityError:
                continue

    return feed


def stun() -> Target:
    from mediator.entrance.stun_answer import answer
    from traversal.candidate import Address
    from traversal.stun import MalformedStun, parse, serialize, verify_integrity

    def feed(data: bytes) -> None:
        reply = answer(data, Address("192.0.2.1", 4711))
        assert reply is None or len(reply.data) <= len(data) + 96, "an answer that amplifies"
        try:
            message = parse(data)
        except MalformedStun:
            return
        verify_integrity(data, b"key")
        serialize(message)

    return feed


def port_mapping() -> Target:
    """A home router, which may be anybody's."""
    from traversal import upnp
    from traversal.port_mapping import Gateway, PortRequest
    from traversal.upnp import BadRouter

    gateway = Gateway("192.168.1.1", "192.168.1.11")
    location = f"http://{gateway.address}:5000/rootDesc.xml"

    def feed(data: bytes) -> None:
        request = PortRequest(gateway, 51820, bytes(range(12)), 0.0)
        request.datagrams_to_send(0.0)
        request.handle_datagram(data, 0.1)
        for read in (
            lambda: upnp.parse_search_answer(data, gateway.address),
            lambda: upnp.parse_description(data, location, gateway.address).url,
            lambda: upnp.parse_external_address(200, data),
        ):
            try:
                found = read()
            except BadRouter:
                continue
            leads_home = found.startswith(f"http://{gateway.address}:")
            assert leads_home or "/" not in found, "somebody else's address"

    return feed


def paths() -> Target:
    """An insider, who knows the credentials, says and answers what the bytes make it say."""
    import struct

    from traversal import stun
    from traversal.candidate import Address, Kind, LocalSide, RemoteSide, candidate
    from traversal.paths import PathFinder
    from traversal.stun import Class, Message

    step = struct.Struct("!BBHIB")
    ours = LocalSide("us-ufrag", "p" * 24, (candidate(Kind.HOST, Address("192.0.2.1", 1000)),))
    theirs = RemoteSide("they-ufrag", "q" * 24, ())

    def address(number: int) -> Address:
        return Address(f"192.0.2.{2 + number % 4}", 1 + number // 4 % 65535)

    def check(role: str, number: int, said: int, transaction: bytes) -> bytes:
        words = {"NOMINATION": said & 1, "DISTRESS": said & 2}
        attributes = {name: number for name, present in words.items() if present}
        attributes |= {"USERNAME": "us-ufrag:they-ufrag", role: 1}
        return stun.serialize(Message(Class.REQUEST, transaction, attributes), b"p" * 24)

    def answer(request: bytes, seen: Address) -> bytes:
        attributes = {"XOR-MAPPED-ADDRESS": seen}
        return stun.serialize(Message(Class.SUCCESS, request[8:20], attributes), b"q" * 24)

    def feed(data: bytes) -> None:
        controlling = bool(data[:1] and data[0] & 1)
        role = "ICE-CONTROLLED" if controlling else "ICE-CONTROLLING"
        finder = PathFinder(ours, theirs, controlling=controlling, now=0.0)
        now, sent = 0.0, []
        for at in range(1, len(data) - step.size + 1, step.size):
            what, said, where, number, wait = step.unpack_from(data, at)
            now += wait**2 / 100
            if what % 8 < 3:
                made = check(role, number, said, at.to_bytes(12, "big"))
                finder.handle_datagram(made, address(where), now)
            elif what % 8 < 5 and sent:
                made, to = sent[number % len(sent)]
                finder.handle_datagram(answer(made, address(where)), to, now)
            elif what % 8 == 5:
                kind = (Kind.HOST, Kind.RELAY)[said & 1]
                finder.add_remote([candidate(kind, address(where))], now)
            elif what % 8 == 6:
                finder.set_local([candidate(Kind.HOST, address(where))], now)
            else:
                finder.distress(now)
            out = finder.datagrams_to_send(now)
            sent = [(d.data, d.destination) for d in out][-8:] or sent
            timer = finder.next_timer()
            assert timer is None or timer > now, "it would never sleep"
            assert len(out) <= 8, "one event makes it send too much"
            assert len(finder.tried()) <= 64 + 8, "it remembers too many addresses"
            while finder.next_event() is not None:
                pass
            finder.explain()

    return feed


def configuration() -> Target:
    from mediator.errors import ConfigError
    from mediator.settings.loading import load

    file = Path(tempfile.mkdtemp(prefix="didmesh-fuzz-")) / "mediator.toml"

    def feed(data: bytes) -> None:
        file.write_bytes(data)
        try:
            load(file, {}, {})
        except ConfigError:
            return

    return feed


def manifest() -> Target:
    from agent.launch.manifest import ManifestError, parse

    def feed(data: bytes) -> None:
        try:
            parse(data)
        except ManifestError:
            return

    return feed


def invitation() -> Target:
    from messaging.errors import MalformedMessage
    from messaging.protocols.out_of_band import Invitation

    def feed(data: bytes) -> None:
        try:
            read = Invitation.from_url(data.decode(errors="replace"))
        except MalformedMessage:
            return
        assert Invitation.from_url(read.to_url("https://mediator.example")).frm == read.frm

    return feed


def message() -> Target:
    """Plaintexts, and what every protocol makes of them, ours and the agents' alike."""
    from messaging import protocols
    from messaging.errors import MessagingError
    from messaging.message import Message

    readers = _readers(protocols)

    def feed(data: bytes) -> None:
        try:
            read = Message.parse(data)
        except MessagingError:
            return
        Message.parse(read.serialize())
        for reader in readers:
            try:
                reader(read)
            except MessagingError:
                continue

    return feed


def envelope() -> Target:
    """Sealed and signed forms, up to the place where a key would be needed."""
    from messaging.errors import MessagingError
    from messaging.packing import unpack
    from tests.support.parties import RESOLVER, make_party

    bob = make_party()

    def feed(data: bytes) -> None:
        try:
            _now(unpack(data, secrets=bob.secrets, resolver=RESOLVER, now=NOW))
        except MessagingError:
            return

    return feed


def helper_requests() -> Target:
    """What an agent may ask of the privileged process: one request a line."""
    from agent.network_helper.order import Order
    from agent.network_helper.requests import RequestRefused, parse

    def feed(data: bytes) -> None:
        order = Order()
        for line in data.splitlines()[:8]:
            for descriptors in (0, 3):
                try:
                    order.admit(parse(line, descriptors))
                except RequestRefused:
                    continue

    return feed


def mediator_post() -> Target:
    """The body of a POST, through the whole mediator."""
    from fuzz.mediators import LoopbackMediator

    mediator = LoopbackMediator()
    return mediator.post


def mediator_sealed() -> Target:
    """A plaintext, sealed by a registered party, a stranger or nobody: the first byte says whom."""
    from fuzz.mediators import LoopbackMediator

    mediator = LoopbackMediator()
    return mediator.sealed


def mediator_http() -> Target:
    """All bytes of an HTTP connection."""
    from fuzz.mediators import LoopbackMediator

    mediator = LoopbackMediator()
    return mediator.raw


def mediator_websocket() -> Target:
    """All bytes of a WebSocket after its handshake."""
    from fuzz.mediators import LoopbackMediator

    mediator = LoopbackMediator()
    return mediator.websocket


TARGETS: dict[str, Callable[[], Target]] = {
    factory.__name__: factory
    for factory in (
        mediator_post,
        mediator_sealed,
        mediator_http,
        mediator_websocket,
        envelope,
        message,
        did,
        document,
        invitation,
        stun,
        port_mapping,
        paths,
        configuration,
        manifest,
        helper_requests,
        *agreements.TARGETS,
        *relays.TARGETS,
    )
}


def _readers(package: object) -> list[Callable[..., object]]:
    """`from_message` of every message that the protocols know."""
    import importlib
    import pkgutil

    readers = []
    for module_info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):  # type: ignore[attr-defined]
        module = importlib.import_module(module_info.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and hasattr(kind, "from_message"):
                readers.append(kind.from_message)
        if module_info.name.endswith((".session", ".lobby")):
            readers.append(module.from_message)
    return readers


def _now(waiting: object) -> object:
    """The result of a coroutine that has nothing to wait for."""
    try:
        waiting.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited for something")
