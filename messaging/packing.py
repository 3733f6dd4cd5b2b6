"""Messages between DIDs: `pack` and `route` on the way out, `unpack` on the way in.

`unpack` is the one entrance for strangers' bytes, and its order is its security: size, structure,
our key by its `kid`, one key agreement a layer, then whether the header says what the envelope
proved, then age and replay. The rest of the program sees `Opened` and decides on `Opened.sender`,
never on the plaintext.

Source: DIDComm Messaging v2.1.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from identity.document import DidDocument, Endpoint
from identity.errors import KeyNotFound
from identity.keys import PrivateKey, PublicKey
from messaging import jws
from messaging.compat import STRICT, Leniency
from messaging.encoding import MAX_BYTES
from messaging.envelope import Evidence, check_addressing, check_times, read, read_inside
from messaging.errors import (
    MalformedMessage,
    NotAddressedToUs,
    UnprovenSender,
    Unreachable,
    UnresolvedSender,
)
from messaging.jwe import DIDCOMM, Dialect, Jwe, encrypt_anonymously, encrypt_authenticated
from messaging.jws import Jws
from messaging.key_agreement import AGREEMENT_CURVES
from messaging.message import Attachment, Message
from messaging.protocols.routing import Forward
from messaging.replay import ReplayGuard
from messaging.rotation import PriorDid, read_prior
from resolvers.resolver import ErrorType, ResolutionError, Resolver

Secrets = Mapping[str, PrivateKey]  # absolute kid: key

_DIRECT = ("https://", "http://", "wss://", "ws://")


@dataclass(frozen=True, slots=True)
class Opened:
    """A message and what its envelope proved."""

    message: Message
    sender: str | None  # the DID that sealed it, or signed it where nobody sealed it
    signer: str | None  # the DID that signed it
    recipient: str | None  # our DID whose key opened it
    recipient_kid: str | None  # that key, as our secrets call it
    prior: PriorDid | None  # verified: `sender` was known by another DID
    dialect: Dialect = DIDCOMM  # what the sender reads


@dataclass(frozen=True, slots=True)
class Outgoing:
    uri: str  # http(s) or ws(s)
    envelope: bytes


# -- in


async def unpack(
    envelope: bytes,
    *,
    secrets: Secrets,
    resolver: Resolver,
    now: int,
    replay: ReplayGuard | None = None,
    leniency: Leniency = STRICT,
) -> Opened:
    """Open an envelope from anybody; `now` in UTC seconds.

    Messages of a proven sender pass `replay` once. Anonymous ones are not remembered: anybody can
    make as many as they like, so acting on one twice must do no harm.

    Raises: MessagingError, and nothing else.
    """
    layer = read(envelope, leniency)
    evidence = Evidence()
    recipient_kid, proof = None, b""
    if isinstance(layer, Message):
        raise MalformedMessage("a message without an envelope")
    while not isinstance(layer, Message):
        if isinstance(layer, Jwe):
            plaintext, recipient_kid = await _decrypt(layer, evidence, secrets, resolver, leniency)
            proof = layer.tag
        else:
            await _verify(layer, evidence, resolver)
            plaintext = layer.payload
            proof = hashlib.sha256(plaintext).digest()
        layer = read_inside(layer, plaintext, leniency)
    ours = {kid.partition("#")[0] for kid in secrets} if recipient_kid is None else set()
    check_addressing(layer, evidence, ours)
    prior = None
    if layer.from_prior is not None:
        prior = await _verify_prior(layer.from_prior, evidence, resolver)
    check_times(layer, now)
    sender = evidence.author
    if replay is not None and sender is not None:
        replay.admit(sender, proof, now)
    signer = next(iter(evidence.signers), None)
    return Opened(layer, sender, signer, evidence.recipient, recipient_kid, prior, evidence.dialect)


async def _decrypt(
    layer: Jwe, evidence: Evidence, secrets: Secrets, resolver: Resolver, leniency: Leniency
) -> tuple[bytes, str]:
    for kid in layer.recipients:
        if kid in secrets:
            ours = kid
            break
    else:
        kid, ours = await _our_key(layer.recipients, secrets, resolver)
    sender = None
    if layer.sender_kid is not None:
        evidence.sender = layer.sender_kid.partition("#")[0]
        id_, sender = await _proven_key(layer.sender_kid, "key_agreement", resolver)
        names = leniency.old_names((kid, ours), (layer.sender_kid, id_))
        evidence.dialect = layer.dialect._replace(names=names)
    evidence.recipient = ours.partition("#")[0]
    return layer.decrypt(kid, secrets[ours], sender), ours


async def _our_key(
    kids: Mapping[str, str], secrets: Secrets, resolver: Resolver
) -> tuple[str, str]:
    """A kid that means a key of ours by another name, and the name that our secrets have for it.

    Older libraries name the keys of a did:peer:2 differently: our own document knows how.
    """
    our_dids = {kid.partition("#")[0] for kid in secrets}
    for kid in kids:
        did = kid.partition("#")[0]
        if did in our_dids:
            try:
                method = (await resolver.resolve(did)).method(kid)
            except (ResolutionError, KeyNotFound):
                continue
            if method.id in secrets:
                return kid, method.id
    raise NotAddressedToUs(tuple(kids))


async def _verify(layer: Jws, evidence: Evidence, resolver: Resolver) -> None:
    kids = [signature.kid for signature in layer.signatures]
    evidence.signers = {kid.partition("#")[0] for kid in kids}
    if len(evidence.signers) != 1:
        raise UnprovenSender("signed by several DIDs")
    keys = {kid: await _proven_key(kid, "authentication", resolver) for kid in kids}
    layer.verify(lambda kid: keys[kid][1])


async def _proven_key(kid: str, relationship: str, resolver: Resolver) -> tuple[str, PublicKey]:
    """The key `kid` and its id, if its DID's document has it for this use."""
    did = kid.partition("#")[0]
    try:
        document = await resolver.resolve(did)
        method = document.method(kid)
    except ResolutionError as error:
        if error.type in (ErrorType.NOT_FOUND, ErrorType.INTERNAL_ERROR):
            raise UnresolvedSender(did) from error
        raise UnprovenSender("the sender's DID does not resolve") from error
    except KeyNotFound as error:
        raise UnprovenSender("the sender's DID has no such key") from error
    if method.key is None or method.id not in getattr(document, relationship):
        raise UnprovenSender(f"the sender's key is not one for {relationship}")
    return method.id, method.key


async def _verify_prior(token: str, evidence: Evidence, resolver: Resolver) -> PriorDid:
    prior, kid = read_prior(token)
    if kid.partition("#")[0] != prior.old:
        raise UnprovenSender("`from_prior` is signed by another DID than it speaks for")
    if evidence.author is None or prior.new != evidence.author:
        raise UnprovenSender("`from_prior` speaks for another DID than the sender's")
    _, key = await _proven_key(kid, "authentication", resolver)
    jws.verify_compact(token, lambda _: key)
    return prior


# -- out


async def pack(
    message: Message,
    *,
    to: str,
    sender: str | None,
    secrets: Secrets,
    resolver: Resolver,
    sign_by: str | None = None,
    protect_sender: bool = False,
    dialect: Dialect = DIDCOMM,
) -> bytes:
    """Seal a message for the DID `to`: authcrypt as the DID `sender`, anoncrypt if there is none.

    `sign_by` (a DID, or one of its kids) signs inside; `protect_sender` hides the sender from
    everybody but the recipient, in a second layer. `from` and `to` are filled in where missing.
    `dialect` is for answers: what the recipient's own envelope was sealed in.

    Raises: Unreachable, MalformedMessage, ResolutionError.
    """
    author = sender if sender is not None or sign_by is None else sign_by.partition("#")[0]
    message = _addressed(message, author, to)
    plaintext = message.serialize()
    if sign_by is not None:
        plaintext = await _signed(plaintext, sign_by, secrets, resolver)
    theirs = await _recipients(to, resolver)
    if sender is None:
        return _limited(encrypt_anonymously(plaintext, _same_curve(theirs, theirs[0])))
    if dialect.names is None:
        kid, key, theirs = await _sender_key(sender, theirs, secrets, resolver)
    else:
        kid, key, theirs = await _named_keys(dialect.names, sender, to, secrets, resolver)
    envelope = encrypt_authenticated(plaintext, theirs, kid, key, dialect)
    return _limited(encrypt_anonymously(envelope, theirs) if protect_sender else envelope)


async def sign(message: Message, *, by: str, secrets: Secrets, resolver: Resolver) -> bytes:
    """A message everybody can read and nobody can alter, as the DID (or kid) `by`.

    Raises: Unreachable, MalformedMessage, ResolutionError.
    """
    message = _addressed(message, by.partition("#")[0], None)
    return _limited(await _signed(message.serialize(), by, secrets, resolver))


def _addressed(message: Message, author: str | None, to: str | None) -> Message:
    if author is not None and message.frm != author:
        if message.frm is not None:
            raise MalformedMessage("`from` is not the sender's DID")
        message = replace(message, frm=author)
    if to is not None:
        recipient = to.partition("#")[0]
        if not message.to:
            message = replace(message, to=(recipient,))
        elif recipient not in message.to:
            raise MalformedMessage("`to` does not name the recipient")
    return message


def _limited(envelope: bytes) -> bytes:
    if len(envelope) > MAX_BYTES:
        raise MalformedMessage(f"longer than {MAX_BYTES} bytes once it is sealed")
    return envelope


_Keys = list[tuple[str, PublicKey]]


async def _recipients(to: str, resolver: Resolver) -> _Keys:
    """The keys of `to` that seal for it: all of a DID, or the one that a DID URL names."""
    did, _, fragment = to.partition("#")
    document = await resolver.resolve(did)
    try:
        methods = (document.method(to),) if fragment else document.keys("keyAgreement")
    except KeyNotFound as error:
        raise Unreachable(str(error)) from error
    keys = [
        (method.id, method.key)
        for method in methods
        if method.id in document.key_agreement
        and method.key is not None
        and method.key.curve in AGREEMENT_CURVES
    ]
    if not keys:
        raise Unreachable("the recipient's DID has no key for encryption that we know")
    return keys


def _same_curve(keys: _Keys, chosen: tuple[str, PublicKey]) -> _Keys:
    """One envelope has one ephemeral key, so one curve."""
    return [(kid, key) for kid, key in keys if key.curve is chosen[1].curve]


async def _sender_key(
    sender: str, theirs: _Keys, secrets: Secrets, resolver: Resolver
) -> tuple[str, PrivateKey, _Keys]:
    """Our key and theirs on the first curve that they have and we have too."""
    document = await resolver.resolve(sender)
    for candidate in theirs:
        for kid in document.key_agreement:
            key = secrets.get(kid)
            if key is not None and key.public.curve is candidate[1].curve:
                return kid, key, _same_curve(theirs, candidate)
    raise Unreachable("we have no key for encryption on a curve of the recipient's")


async def _named_keys(
    names: tuple[str, str], sender: str, to: str, secrets: Secrets, resolver: Resolver
) -> tuple[str, PrivateKey, _Keys]:
    """Our key and theirs that a question was between, under the names that it had for them."""
    our_name, their_name = names
    if [name.partition("#")[0] for name in names] != [sender, to]:
        raise Unreachable("the question was between other DIDs")
    ((_, theirs),) = await _recipients(their_name, resolver)
    ours = (await resolver.resolve(sender)).method(our_name).id
    return our_name, secrets[ours], [(their_name, theirs)]


async def _signed(payload: bytes, by: str, secrets: Secrets, resolver: Resolver) -> bytes:
    did, _, fragment = by.partition("#")
    document = await resolver.resolve(did)
    for kid in document.authentication:
        if kid in secrets and (not fragment or kid == by) and secrets[kid].curve in jws.ALGORITHMS:
            return jws.sign(payload, secrets[kid], kid)
    raise Unreachable("we have no key to sign with as this DID")


# -- on the way


async def route(
    envelope: bytes, *, to: str, resolver: Resolver, expires_time: int | None = None
) -> list[Outgoing]:
    """Where to bring an envelope for the DID `to`, wrapped for everybody who passes it on.

    The results are alternatives, best first, as the services of the recipient and its mediator
    list them.

    Raises: Unreachable, ResolutionError.
    """
    wrapped: dict[tuple[str, ...], bytes] = {}
    results = []
    for uri, hops in await _ways(await resolver.resolve(to), resolver):
        if hops not in wrapped:
            wrapped[hops] = await _wrap(envelope, to, hops, resolver, expires_time)
        results.append(Outgoing(uri, wrapped[hops]))
    if not results:
        raise Unreachable("the recipient's DID names no DIDComm v2 service that we can reach")
    return results


async def _ways(document: DidDocument, resolver: Resolver) -> list[tuple[str, tuple[str, ...]]]:
    """Pairs of URI and hops: the parties, outermost first, that get a forward each."""
    ways = []
    for endpoint in _endpoints(document):
        if endpoint.uri.startswith(_DIRECT):
            ways.append((endpoint.uri, endpoint.routing_keys))
        elif endpoint.uri.startswith("did:"):
            mediator = endpoint.uri.partition("#")[0]
            # The mediator's own endpoint has to be an address: no mediator of a mediator by DID.
            for entrance in _endpoints(await resolver.resolve(mediator)):
                if entrance.uri.startswith(_DIRECT):
                    ways.append(
                        (entrance.uri, (*entrance.routing_keys, mediator, *endpoint.routing_keys))
                    )
    return ways


def _endpoints(document: DidDocument) -> list[Endpoint]:
    return [
        endpoint
        for service in document.didcomm_services()
        for endpoint in service.endpoints
        if not endpoint.accept or "didcomm/v2" in endpoint.accept
    ]


async def _wrap(
    envelope: bytes, to: str, hops: Sequence[str], resolver: Resolver, expires_time: int | None
) -> bytes:
    following = to
    for hop in reversed(hops):
        forward = Forward(following, (Attachment(json=orjson.Fragment(envelope)),))
        message = forward.to_message(to=(hop.partition("#")[0],), expires_time=expires_time)
        keys = await _recipients(hop, resolver)
        envelope = encrypt_anonymously(message.serialize(), _same_curve(keys, keys[0]))
        following = hop
    return _limited(envelope)
