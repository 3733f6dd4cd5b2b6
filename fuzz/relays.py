"""Entrances of the relay and of those who use it; see `targets` for what a target is."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import struct
from collections.abc import Callable

Target = Callable[[bytes], None]
UTC = 1_800_000_000.0


def relay_tickets() -> Target:
    """What another party's offer says of relays."""
    from traversal.relay import BadTicket, RelayTicket, tickets_from_json

    def feed(data: bytes) -> None:
        try:
            tickets = tickets_from_json(json.loads(data))
        except (BadTicket, ValueError, RecursionError):
            return
        for ticket in tickets:
            assert RelayTicket.from_json(ticket.to_json()) == ticket
            for host, port in ticket.servers():
                ip = ipaddress.ip_address(host)
                assert not ip.is_unspecified
                assert not ip.is_multicast
                assert 0 < port < 65536

    return feed


def relay_binds() -> Target:
    """A stranger's bytes, and binds of an insider who holds the ticket of both sides."""
    from traversal import stun
    from traversal.candidate import Address
    from traversal.relay_server import Channel, RelayServer, Rules, Source
    from traversal.stun import BIND, Class, MalformedStun, Message

    step = struct.Struct("!BBI")
    rules = Rules(range(41000, 41004), ("192.0.2.1",), lambda _: True, 8_000, pairs=3)

    def feed(data: bytes) -> None:
        server = RelayServer(bytes(32), rules, UTC, lambda size: bytes(size))
        [pair] = server.reserve("did:example:a", "ab" * 32, 1, UTC)
        server.handle_bind(data, Address("192.0.2.9", 9), pair.port, UTC)
        nonce, now = "", UTC
        for offset in range(0, min(len(data), 16 * step.size) - step.size + 1, step.size):
            side, who, lifetime = step.unpack_from(data, offset)
            source: Source = Channel(f"{who}") if who & 1 else Address("192.0.2.3", 1 + who)
            attributes = {"USERNAME": f"{pair.id}:{side & 1}", "LIFETIME": lifetime, "NONCE": nonce}
            request = Message(Class.REQUEST, bytes(12), {**attributes, "PADDING": bytes(200)}, BIND)
            asked = stun.serialize(request, pair.secrets[side >> 1 & 1].encode())
            answer = server.handle_bind(asked, source, None if who & 1 else pair.port, now)
            assert answer is None or len(answer) <= len(asked), "an answer that amplifies"
            try:
                nonce = stun.parse(answer or b"").attributes.get("NONCE", nonce)
            except MalformedStun:
                assert answer is None, "an answer that nobody can read"
            now += side >> 2
            server.handle_timer(now)
            assert len(server.pairs) <= rules.pairs
            while (event := server.next_event()) is not None:
                sides = getattr(event, "sides", (1, 2))
                assert sides[0] != sides[1], "a pair of one and the same"

    return feed


def relay_answers() -> Target:
    """What seems to come from a relay, and what a false relay proves to be its own."""
    from traversal import stun
    from traversal.candidate import Address
    from traversal.relay import RelayBinding, RelayTicket
    from traversal.stun import BIND, Class, Message

    relay = Address("192.0.2.1", 41000)
    ticket = RelayTicket((relay.host,), relay.port, "t" * 20, 0, "s" * 20, 1, 2)

    def feed(data: bytes) -> None:
        binding = RelayBinding(ticket, relay, 0.0, lambda size: bytes(size))
        now = 0.0
        for number in data[:32]:
            now += 0.1 * (number >> 4)
            binding.datagrams_to_send(now)
            binding.handle_datagram(data, relay, now)
            attributes = {"NONCE": f"{number}", "LIFETIME": number}
            cls = Class.SUCCESS
            if number & 1:
                cls, code = Class.ERROR, 300 + 5 * number % 300
                attributes["ERROR-CODE"] = (code, "")  # type: ignore[assignment]
            answer = Message(cls, bytes(12), attributes, BIND)
            binding.handle_datagram(stun.serialize(answer, b"s" * 20), relay, now)
            timer = binding.next_timer()
            assert timer is None or timer <= now + 60, "it falls asleep"

    return feed


def relay_frames() -> Target:
    """The bytes of a stream to or from a relay, and what its frames hold."""
    from traversal.relay_filter import sorted_out
    from traversal.relay_frames import Frames, MalformedBatch, MalformedFrame, batch, runs_of

    def feed(data: bytes) -> None:
        contents, masked = [bytearray(data)], bool(data[:1] and data[0] & 1)
        frames, step = Frames(masked=masked), data[0] or 1 if data else 1
        with contextlib.suppress(MalformedFrame):
            for start in range(1, len(data), step):
                for _, content in frames.feed(data[start : start + step]):
                    contents.append(bytearray(content))
        for content in contents:
            try:
                runs = list(runs_of(content))
            except MalformedBatch:
                continue
            sent = [data for run in runs for data in run.datagrams()]
            again = runs_of(b"".join(batch(runs)))
            assert [data for run in again for data in run.datagrams()] == sent
            for run in runs:
                passing, binds = sorted_out(run)
                assert sum(one.number for one in passing) + len(binds) <= run.number

    return feed


def relay_helper_requests() -> Target:
    """What a mediator may ask of the process that writes the kernel's table: one a line."""
    from mediator.relay_helper.requests import Change, Order, RequestRefused, parse

    def feed(data: bytes) -> None:
        order = Order()
        for line in data.splitlines()[:8]:
            try:
                request = parse(line)
                order.admit(request)
            except RequestRefused:
                continue
            if isinstance(request, Change):
                assert len(set(request.ports)) == len(request.ports)
                for flow in (flow for pair in request.opened for flow in pair.flows):
                    for host in (flow.source, flow.destination, flow.own):
                        assert str(ipaddress.ip_address(host)) == host, "words for nft"

    return feed


def turn() -> Target:
    """A TURN server, which may be anybody's: its bytes, and whatever it answers and proves."""
    from traversal import stun
    from traversal.candidate import Address
    from traversal.stun import Class, Message
    from traversal.turn import Credentials, TurnClient

    server, peer = Address("192.0.2.1", 3478), Address("198.51.100.2", 5000)
    credentials = Credentials("alice", "s3cret")

    def feed(data: bytes) -> None:
        client, now, last = TurnClient(server, credentials, 0.0), 0.0, b""
        client.connect(peer, now)
        for number in data[:32]:
            now += 0.1 * (number >> 4)
            for datagram in client.datagrams_to_send(now):
                last = datagram.data
            client.handle_datagram(data, now)
            request = stun.parse(last)
            attributes = {"REALM": "r", "NONCE": f"n{number >> 3}", "LIFETIME": number}
            cls = Class.SUCCESS if number & 1 else Class.ERROR
            if number & 1:
                attributes["XOR-RELAYED-ADDRESS"] = Address("192.0.2.1", 4000 + number)
            else:
                attributes["ERROR-CODE"] = ((401, 438, 437, 403)[number >> 1 & 3], "")
            answer = Message(cls, request.transaction, attributes, request.method)
            key = credentials.key("r", 1) if "NONCE" in request.attributes else None
            came = stun.serialize(answer, key, integrity="MESSAGE-INTEGRITY")
            client.handle_datagram(came, now)
            client.wrap(peer, data)
            timer = client.next_timer()
            assert timer is None or timer <= now + 300, "it falls asleep"

    return feed


TARGETS = (
    relay_tickets,
    relay_binds,
    relay_answers,
    relay_frames,
    relay_helper_requests,
    turn,
)
