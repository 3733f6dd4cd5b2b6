"""The protocols of mediation as they stand on the wire, for tests that trust no class of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from messaging.message import Attachment, Message
from messaging.packing import Opened, pack, unpack
from tests.support.mediator_client import Party, Reply


@dataclass(frozen=True)
class Coordination:
    protocol: str
    update: str
    query: str
    listing: str
    entries: str  # the member of the listing that holds the DIDs

    def __str__(self) -> str:
        return self.protocol.removeprefix("https://didcomm.org/")


@dataclass(frozen=True)
class Pickup:
    protocol: str
    limit: str

    def __str__(self) -> str:
        return self.protocol.removeprefix("https://didcomm.org/")


COORDINATIONS = (
    Coordination(
        "https://didcomm.org/coordinate-mediation/2.0",
        *("keylist-update", "keylist-query", "keylist", "keys"),
    ),
    Coordination(
        "https://didcomm.org/coordinate-mediation/3.0",
        *("recipient-update", "recipient-query", "recipient", "dids"),
    ),
)
PICKUPS = (
    Pickup("https://didcomm.org/messagepickup/3.0", "limit"),
    Pickup("https://didcomm.org/message-pickup/4.0", "message_count_limit"),
)


def message(type_: str, body: dict[str, Any] | None = None, **headers: Any) -> Message:
    """With `return_route: all`, as a client sends it that waits for the answer."""
    return Message(type_, body or {}, **{"return_route": "all", **headers})


async def enrol(party: Party, words: Coordination) -> None:
    grant = await party.ask(message(f"{words.protocol}/mediate-request"))
    assert grant.type == f"{words.protocol}/mediate-grant"
    # 2.0 binds who asks, as one client knows no keylist.
    assert (await update(party, words, party.did, "add"))["result"] in {"success", "no_change"}


async def update(party: Party, words: Coordination, did: str, action: str) -> dict[str, Any]:
    """The one entry of the response."""
    body = {"updates": [{"recipient_did": did, "action": action}]}
    answer = await party.ask(message(f"{words.protocol}/{words.update}", body))
    assert answer.type == f"{words.protocol}/{words.update}-response"
    [entry] = answer.body["updated"]
    assert isinstance(entry, dict)
    return entry


async def status(party: Party, words: Pickup, **body: Any) -> Message:
    answer = await party.ask(message(f"{words.protocol}/status-request", body))
    assert answer.type == f"{words.protocol}/status"
    return answer


async def delivery(party: Party, words: Pickup, limit: int) -> Message:
    """Whatever answers a delivery-request."""
    return await party.ask(message(f"{words.protocol}/delivery-request", {words.limit: limit}))


async def letter(sender: Party, to: Party, text: str = "hello") -> tuple[Message, bytes]:
    """A message of one party for another, and its envelope."""
    written = Message(
        "https://didcomm.org/basicmessage/2.0/message",
        {"content": text},
        frm=sender.did,
        to=(to.did,),
    )
    envelope = await pack(
        written, to=to.did, sender=sender.did, secrets=sender.secrets, resolver=sender.resolver
    )
    return written, envelope


async def forward(
    sender: Party, to: str, envelope: bytes, *, as_json: bool = True, **headers: Any
) -> Reply:
    """Anonymously, as anybody may."""
    import json

    from identity.codec import b64url_encode

    attached = (
        Attachment(id="a", json=json.loads(envelope))
        if as_json
        else Attachment(id="a", base64=b64url_encode(envelope))
    )
    forwarded = Message(
        "https://didcomm.org/routing/2.0/forward",
        {"next": to},
        to=(sender.mediator,),
        attachments=(attached,),
        **headers,
    )
    return await sender.post(await sender.seal(forwarded, anonymous=True))


async def opened(party: Party, attachment: Attachment, now: int) -> Opened:
    """What was delivered, opened with the keys of who it is for."""
    return await unpack(
        attachment.content(), secrets=party.secrets, resolver=party.resolver, now=now
    )


async def seal_raw(party: Party, headers: dict[str, Any], *, anonymous: bool = False) -> bytes:
    """Seal a plaintext exactly as given, which no library of ours would write."""
    import json

    from messaging.jwe import encrypt_anonymously, encrypt_authenticated

    plaintext = json.dumps(headers).encode()
    document = await party.resolver.resolve(party.mediator)
    keys = [(m.id, m.key) for m in document.keys("keyAgreement") if m.key is not None]
    if anonymous:
        return encrypt_anonymously(plaintext, keys)
    kid = f"{party.did}#key-1"
    return encrypt_authenticated(plaintext, keys, kid, party.secrets[kid])
