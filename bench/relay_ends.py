"""What `bench.relay` runs on the hosts of its lab: ends of relayed paths that are no WireGuard.

python -m bench.relay_ends bind TICKET PORT            binds from that port, and leaves it bound
python -m bench.relay_ends websocket TICKET PORT       a WebSocket for WireGuard on PORT
python -m bench.relay_ends turn SERVER PORT PEER       a TURN allocation for WireGuard on PORT
python -m bench.relay_ends flood PORT TARGET SECONDS   as many datagrams as go, in runs of 32
python -m bench.relay_ends count PORT SECONDS          how many come a second
python -m bench.relay_ends allocate SERVER PEER SECONDS   how many come through a TURN server
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import socket
import ssl
import statistics
import struct
import sys
import time
import zlib

import uvloop

from agent.connection.websocket_relay import WebSocketRelay
from traversal.candidate import Address
from traversal.relay import RelayBinding, RelayTicket
from traversal.segments import SOL_UDP, UDP_SEGMENT

SIZE = 1400  # bytes of a datagram
PACKET = b"\x04\0\0\0".ljust(SIZE, b"x")
USER, PASSWORD = "bench", "bench"
CHANNEL = 0x4000
COOKIE = 0x2112A442
SO_RCVBUFFORCE = 33
UDP_GRO = 104
RUN = 32  # datagrams in one call, as a wireguard-go of today sends them
LARGEST = 65535


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "bind":
        bind(RelayTicket.from_json(json.loads(words[0])), int(words[1]))
    elif verb == "websocket":
        uvloop.run(websocket(RelayTicket.from_json(json.loads(words[0])), int(words[1])))
    elif verb == "turn":
        uvloop.run(turn(_address(words[0]), int(words[1]), _address(words[2])))
    elif verb == "flood":
        flood(int(words[0]), _address(words[1]), float(words[2]))
    elif verb == "allocate":
        print(allocate(_address(words[0]), _address(words[1]), float(words[2])), flush=True)
    elif verb == "ping":
        print(ping(words[0], int(words[1])), flush=True)
    else:
        print(count(int(words[0]), float(words[1])), flush=True)


def bind(ticket: RelayTicket, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("", port))
        own.settimeout(0.05)
        binding = RelayBinding(ticket, ticket.servers()[0], time.monotonic())
        while not binding.bound:
            for datagram in binding.datagrams_to_send(time.monotonic()):
                own.sendto(datagram.data, tuple(datagram.destination))
            try:
                data, source = own.recvfrom(2048)
            except TimeoutError:
                continue
            binding.handle_datagram(data, Address(*source), time.monotonic())


async def websocket(ticket: RelayTicket, port: int) -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the bench's own certificate
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with WebSocketRelay(ticket, port, trusting) as relay:
        while not relay.bound:  # noqa: ASYNC110  it has no event for that
            await asyncio.sleep(0.01)
        print(relay.local.port, flush=True)
        await asyncio.Event().wait()


def flood(port: int, target: Address, seconds: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("", port))
        own.connect(tuple(target))
        own.setsockopt(SOL_UDP, UDP_SEGMENT, SIZE)
        many, send, end = PACKET * RUN, own.send, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(10):
                try:
                    send(many)
                except OSError:
                    continue


def count(port: int, seconds: float) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("", port))
        print("ready", flush=True)
        return _count(own, seconds)


def allocate(server: Address, peer: Address, seconds: float) -> float:
    """The way back of `turn`, without a process of ours in it: what the peer sends, in channels."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect(tuple(server))
        own.settimeout(2)
        ask = _Turn(own)
        relayed = ask.allocate()
        ask.channel(peer)
        print(f"{relayed.host}:{relayed.port}", flush=True)
        return _count(own, seconds)


def _count(own: socket.socket, seconds: float) -> float:
    """From the first that comes."""
    own.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    own.setsockopt(SOL_UDP, UDP_GRO, 1)  # or what is counted waits for who counts
    room = bytearray(LARGEST)
    own.settimeout(10)
    own.recv_into(room)
    own.settimeout(0.5)
    began, number, receive = time.monotonic(), 0, own.recv_into
    while (now := time.monotonic()) < began + seconds:
        for _ in range(20):
            try:
                number += max(1, receive(room) // SIZE)
            except TimeoutError:
                break
    return number / (now - began)


def ping(address: str, number: int) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.settimeout(1)
        icmp.connect((address, 0))
        for _ in range(10):
            with contextlib.suppress(TimeoutError):
                _echo(icmp, 0)
                break
        return statistics.median(_echo(icmp, n) for n in range(1, number + 1))


def _echo(icmp: socket.socket, number: int) -> float:
    """Milliseconds."""
    words = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, number).ljust(64, b"x")
    total = sum(struct.unpack("!32H", words))
    total = (total & 0xFFFF) + (total >> 16)
    words = words[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + words[4:]
    time.sleep(0.002)
    began = time.perf_counter()
    icmp.send(words)
    while icmp.recv(2048)[24:28] != words[4:8]:
        pass
    return (time.perf_counter() - began) * 1000


# A TURN client as small as it can be; Source: RFC 8656, RFC 8489 (long-term credentials)


async def turn(server: Address, port: int, peer: Address) -> None:
    """Prints the relayed address and the local port, and carries datagrams until it is ended."""
    loop = asyncio.get_running_loop()
    upstream, local = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (upstream, local):
        each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    upstream.connect(tuple(server))
    local.bind(("127.0.0.1", 0))
    upstream.settimeout(2)
    ask = _Turn(upstream)
    relayed = ask.allocate()
    ask.channel(peer)
    print(f"{relayed.host}:{relayed.port} {local.getsockname()[1]}", flush=True)
    wireguard, header = ("127.0.0.1", port), struct.pack("!H", CHANNEL)
    for each in (upstream, local):
        each.setblocking(False)

    def outward() -> None:
        for _ in range(64):
            try:
                data = local.recv(2048)
                upstream.send(header + len(data).to_bytes(2) + data)
            except OSError:
                return

    def inward() -> None:
        for _ in range(64):
            try:
                data = upstream.recv(2048)
                if data[:2] == header:
                    local.sendto(data[4 : 4 + int.from_bytes(data[2:4])], wireguard)
            except OSError:
                return

    loop.add_reader(local, outward)
    loop.add_reader(upstream, inward)
    await asyncio.Event().wait()


class _Turn:
    def __init__(self, upstream: socket.socket) -> None:
        self._socket = upstream
        self._realm = self._nonce = b""

    def allocate(self) -> Address:
        transport = _tlv(0x0019, b"\x11\0\0\0")  # UDP
        challenge = self._exchange(0x003, transport)
        self._realm, self._nonce = challenge[0x0014], challenge[0x0015]
        answer = self._exchange(0x003, transport)[0x0016]
        host = int.from_bytes(answer[4:8]) ^ COOKIE
        port = int.from_bytes(answer[2:4]) ^ COOKIE >> 16
        return Address(socket.inet_ntoa(host.to_bytes(4)), port)

    def channel(self, peer: Address) -> None:
        host = int.from_bytes(socket.inet_aton(peer.host)) ^ COOKIE
        place = struct.pack("!xBHI", 1, peer.port ^ COOKIE >> 16, host)
        self._exchange(0x009, _tlv(0x000C, struct.pack("!HH", CHANNEL, 0)) + _tlv(0x0012, place))

    def _exchange(self, method: int, body: bytes) -> dict[int, bytes]:
        transaction = os.urandom(12)
        if self._nonce:
            body += _tlv(0x0006, USER.encode()) + _tlv(0x0014, self._realm)
            body += _tlv(0x0015, self._nonce)
            key = hashlib.md5(b":".join([USER.encode(), self._realm, PASSWORD.encode()])).digest()
            head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + transaction
            body += _tlv(0x0008, hmac.digest(key, head + body, "sha1"))
        head = struct.pack("!HHI", method, len(body) + 8, COOKIE) + transaction
        crc = (zlib.crc32(head + body) ^ 0x5354554E).to_bytes(4)
        self._socket.send(head + body + _tlv(0x8028, crc))
        answer = self._socket.recv(2048)
        attributes, offset = {}, 20
        while offset < len(answer):
            number, size = struct.unpack_from("!HH", answer, offset)
            attributes[number] = answer[offset + 4 : offset + 4 + size]
            offset += 4 + size + -size % 4
        return attributes


def _tlv(number: int, value: bytes) -> bytes:
    return struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)


def _address(words: str) -> Address:
    host, _, port = words.rpartition(":")
    return Address(host, int(port))


if __name__ == "__main__":
    main()
