"""Envelopes: ours beside SICPA didcomm 0.3.2, npm didcomm-node 0.4.1 and the bare primitives.

    .venv/bin/python -m bench.envelopes [--rounds 15] [--json]

One run, interleaved rounds, CPU time per operation, X25519 keys and did:peer:2 DIDs. The floor
does the same cryptography on preloaded keys and bytes: no JSON, no base64, no DIDs, no checks. Ours
is `pack` and `unpack` as the program calls them, with every check, between two parties that have
exchanged messages before: documents and the static half of ECDH-1PU are remembered, which the floor
computes each time. Ratios are medians of the ratios of the rounds.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from rich.console import Console
from rich.table import Table

from messaging.message import Message
from messaging.packing import pack, unpack
from messaging.replay import ReplayGuard
from tests.support.parties import NOW, RESOLVER, Party, make_party
from tests.support.peers import process

SIZES = {"1 KiB": 1024, "64 KiB": 64 * 1024}
SECONDS_PER_ROUND = 0.04
AIMS = {  # what `times floor` may be
    ("1 KiB", "seal"): 1.3,
    ("1 KiB", "open"): 1.5,
    ("64 KiB", "seal"): 2.0,
    ("64 KiB", "open"): 2.0,
}

Measure = Callable[[int], Awaitable[float]]  # CPU seconds of each of so many operations


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    with ExitStack() as stack:
        peers = {
            name: stack.enter_context(process.start(name))
            for name in ("sicpa", "node")
            if not process.missing(name)
        }
        rows = [
            {"size": size, "kind": kind, "operation": operation, **results}
            for size, length in SIZES.items()
            for kind in ("authcrypt", "anoncrypt")
            for operation, results in (await compare(peers, kind, length, options.rounds)).items()
        ]
    print(json.dumps(rows, indent=2)) if options.json else show(rows, set(peers))


async def compare(
    peers: dict[str, process.Peer], kind: str, length: int, rounds: int
) -> dict[str, dict[str, float]]:
    """By operation: microseconds by contender and ratios, medians over the rounds."""
    alice, bob = make_party(), make_party()
    text = os.urandom(length // 2).hex()
    message = Message("https://example.org/bench/1.0/text", {"text": text}, to=(bob.did,))
    sender = alice.did if kind == "authcrypt" else None
    envelope = await pack(
        message, to=bob.did, sender=sender, secrets=alice.secrets, resolver=RESOLVER
    )
    contenders: dict[str, dict[str, Measure]] = {
        "floor": floor(kind, len(message.serialize())),
        "ours": ours(alice, bob, message, sender, envelope),
    }
    for name, peer in peers.items():
        contenders[name] = foreign(peer, alice, bob, message, sender, envelope)
    results = {}
    for operation in ("seal", "open"):
        measures = {name: operations[operation] for name, operations in contenders.items()}
        results[operation] = summarize(await interleave(measures, rounds))
    return results


async def interleave(measures: dict[str, Measure], rounds: int) -> list[dict[str, float]]:
    counts = {}
    for name, measure in measures.items():
        await measure(20)  # warm up
        counts[name] = max(3, int(SECONDS_PER_ROUND / await measure(20)))
    return [
        {name: await measure(counts[name]) for name, measure in measures.items()}
        for _ in range(rounds)
    ]


def summarize(rounds: list[dict[str, float]]) -> dict[str, float]:
    names = rounds[0].keys()
    result = {name: 1e6 * statistics.median(r[name] for r in rounds) for name in names}
    result["times floor"] = statistics.median(r["ours"] / r["floor"] for r in rounds)
    for name in names - {"ours", "floor"}:
        result[f"faster than {name}"] = statistics.median(r[name] / r["ours"] for r in rounds)
    return result


def show(rows: list[dict[str, Any]], peers: set[str]) -> None:
    table = Table(title="CPU time per envelope in µs, median of interleaved rounds")
    for _ in range(3):
        table.add_column()
    for heading in ("floor", "ours", "sicpa", "node", "x floor", "aim", "x sicpa", "x node"):
        table.add_column(heading, justify="right")
    for row in rows:
        aim = AIMS[row["size"], row["operation"]]
        cells = [row["size"], row["kind"], row["operation"]]
        for name in ("floor", "ours", "sicpa", "node"):
            cells.append(f"{row[name]:.0f}" if name in row else "-")
        colour = "green" if row["times floor"] <= aim else "red"
        cells += [f"[{colour}]{row['times floor']:.2f}[/]", f"{aim:.1f}"]
        for name in ("sicpa", "node"):
            ratio = row.get(f"faster than {name}")
            cells.append(f"{ratio:.1f}" if ratio else "-")
        table.add_row(*cells)
    console = Console()
    console.print(table)
    for name in {"sicpa", "node"} - peers:
        console.print(f"{name} left out: {process.missing(name)}")


# -- contenders


def ours(
    alice: Party, bob: Party, message: Message, sender: str | None, envelope: bytes
) -> dict[str, Measure]:
    ours, theirs = alice.secrets, bob.secrets

    async def seal(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            await pack(message, to=bob.did, sender=sender, secrets=ours, resolver=RESOLVER)
        return (time.process_time() - start) / count

    async def open_(count: int) -> float:
        guards = [ReplayGuard() for _ in range(count)]
        start = time.process_time()
        for guard in guards:
            await unpack(envelope, secrets=theirs, resolver=RESOLVER, now=NOW, replay=guard)
        return (time.process_time() - start) / count

    return {"seal": seal, "open": open_}


def foreign(
    peer: process.Peer,
    alice: Party,
    bob: Party,
    message: Message,
    sender: str | None,
    envelope: bytes,
) -> dict[str, Measure]:
    documents = [alice.foreign_document(), bob.foreign_document()]
    secrets = alice.foreign_secrets() + bob.foreign_secrets()
    plain = {**message.to_json(), "to": [bob.did]} | ({"from": sender} if sender else {})
    requests = {
        "seal": {"op": "pack", "message": plain, "to": bob.did, "sender": sender},
        "open": {"op": "unpack", "envelope": envelope.decode()},
    }

    def measure(request: dict[str, Any]) -> Measure:
        async def run(count: int) -> float:
            peer.ask("know", documents=documents, secrets=secrets)
            return float(peer.ask("measure", request=request, count=count))

        return run

    return {operation: measure(request) for operation, request in requests.items()}


def floor(kind: str, length: int) -> dict[str, Measure]:
    """The cryptography of one envelope, and nothing else."""
    recipient, sender = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    recipient_public, sender_public = recipient.public_key(), sender.public_key()
    plaintext, protected, info = os.urandom(length), os.urandom(900), os.urandom(400)
    authenticated = kind == "authcrypt"

    def seal_once() -> tuple[bytes, bytes, bytes, bytes, bytes]:
        ephemeral = X25519PrivateKey.generate()
        epk = ephemeral.public_key().public_bytes_raw()
        if not authenticated:
            key, iv = os.urandom(32), os.urandom(12)
            sealed, tag = AESGCM(key).encrypt(iv, plaintext, protected), b""
            secret = ephemeral.exchange(recipient_public)
        else:
            key, iv = os.urandom(64), os.urandom(16)
            encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).encryptor()
            padding = 16 - length % 16
            sealed = encryptor.update(plaintext + bytes(padding)) + encryptor.finalize()
            tag = hmac.digest(key[:32], protected + iv + sealed, "sha512")[:32]
            secret = ephemeral.exchange(recipient_public) + sender.exchange(recipient_public)
        wrapping = hashlib.sha256(secret + info + tag).digest()
        return epk, iv, sealed, tag, aes_key_wrap(wrapping, key)

    made = seal_once()

    def open_once() -> bytes:
        epk, iv, sealed, tag, wrapped = made
        secret = recipient.exchange(X25519PublicKey.from_public_bytes(epk))
        if authenticated:
            secret += recipient.exchange(sender_public)
        key = aes_key_unwrap(hashlib.sha256(secret + info + tag).digest(), wrapped)
        if not authenticated:
            return AESGCM(key).decrypt(iv, sealed, protected)
        mac = hmac.digest(key[:32], protected + iv + sealed, "sha512")[:32]
        assert hmac.compare_digest(mac, tag)
        decryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(iv)).decryptor()
        return decryptor.update(sealed) + decryptor.finalize()

    def measure(operation: Callable[[], object]) -> Measure:
        async def run(count: int) -> float:
            start = time.process_time()
            for _ in range(count):
                operation()
            return (time.process_time() - start) / count

        return run

    return {"seal": measure(seal_once), "open": measure(open_once)}


if __name__ == "__main__":
    asyncio.run(main())
