"""The DIDs a mediator answers to, their keys and their invitations.

One did:peer:2 per public URL, made once and kept: when the URL changes, a new one is
added and the old ones go on being answered, each under its own name. A URL that others
can check (https, and a name for its host) has a did:web beside it: short, and with keys
on P-256, which a did:peer:2 that all clients read cannot have.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from identity.did_peer import create_2, didcomm_service
from identity.document import DidDocument
from identity.errors import InvalidDid
from identity.keys import Curve, PrivateKey
from mediator.stores.interface import IdentityRecord
from messaging.protocols.out_of_band import REQUEST_MEDIATE, Invitation
from resolvers.resolver import Resolver
from resolvers.web import did_of, url_of

# Of a did:web: two keys to encrypt for, two that it signs with.
WEB_CURVES = (Curve.X25519, Curve.P256, Curve.ED25519, Curve.P256)


@dataclass(frozen=True)
class MediatorIdentity:
    did: str
    public_url: str
    invitation_id: str
    secrets: Mapping[str, PrivateKey] = field(repr=False)

    @property
    def web_did(self) -> str | None:
        return web_did(self.public_url)

    @property
    def dids(self) -> tuple[str, ...]:
        return (self.did,) if self.web_did is None else (self.did, self.web_did)

    @property
    def web_document(self) -> dict[str, Any] | None:
        """The document of the did:web, as it is served."""
        did = self.web_did
        return None if did is None else _web_document(did, self)

    @property
    def websocket_url(self) -> str:
        return websocket_url(self.public_url)

    @property
    def invitation(self) -> Invitation:
        return self.invitation_with(self.invitation_id)

    def invitation_with(self, id_: str) -> Invitation:
        """One of its own: the id is what whoever follows it shows."""
        return Invitation(
            id=id_,
            frm=self.did,
            goal_code=REQUEST_MEDIATE,
            goal="Request mediation",
        )

    @property
    def invitation_url(self) -> str:
        return self.invitation.to_url(self.public_url)

    def describe(self) -> dict[str, str]:
        facts = {
            "did": self.did,
            "invitation": self.invitation_url,
            "http": self.public_url,
            "ws": self.websocket_url,
        }
        return facts if self.web_did is None else {**facts, "did_web": self.web_did}

    def to_record(self) -> IdentityRecord:
        secrets = {kid: key.to_jwk() for kid, key in self.secrets.items()}
        return IdentityRecord(
            self.did, self.public_url, self.invitation_id, orjson.dumps(secrets).decode()
        )

    @classmethod
    def from_record(cls, record: IdentityRecord) -> MediatorIdentity:
        secrets = {
            kid: PrivateKey.from_jwk(jwk) for kid, jwk in orjson.loads(record.secrets).items()
        }
        return cls(record.did, record.public_url, record.invitation, secrets)

    def completed(self) -> MediatorIdentity:
        """With keys for its did:web: one that was made before there was any gets them now."""
        did = self.web_did
        if did is None or f"{did}#key-1" in self.secrets:
            return self
        keys = {f"{did}#key-{n}": PrivateKey.generate(c) for n, c in enumerate(WEB_CURVES, 1)}
        return dataclasses.replace(self, secrets={**self.secrets, **keys})


class OwnDocuments:
    """A Resolver that knows its own did:web without asking the network."""

    def __init__(self, identities: Iterable[MediatorIdentity], others: Resolver) -> None:
        self._others = others
        self._own = {
            did: DidDocument.from_json(document, did=did)
            for identity in identities
            if (did := identity.web_did) and (document := identity.web_document)
        }

    async def resolve(self, did: str) -> DidDocument:
        own = self._own.get(did)
        return await self._others.resolve(did) if own is None else own


def create_identity(public_url: str) -> MediatorIdentity:
    """The one form that every client reads: X25519, Ed25519, HTTP service, WebSocket service."""
    encryption = PrivateKey.generate(Curve.X25519)
    signing = PrivateKey.generate(Curve.ED25519)
    did = create_2(
        [encryption.public],
        [signing.public],
        [didcomm_service(public_url), didcomm_service(websocket_url(public_url))],
    )
    secrets = {f"{did}#key-1": encryption, f"{did}#key-2": signing}
    return MediatorIdentity(did, public_url, str(uuid.uuid4()), secrets).completed()


def web_did(public_url: str) -> str | None:
    """The did:web of a URL that can have one: https, and a name for its host."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if parts.scheme != "https" or not parts.path.replace("/", "").isascii():
        return None
    did = did_of(host, parts.port, parts.path)
    try:
        url_of(did)
    except InvalidDid:
        return None
    return did


def document_path(public_url: str) -> str:
    """Where below the URL the document of its did:web is served."""
    return "/did.json" if urlsplit(public_url).path.strip("/") else "/.well-known/did.json"


def _web_document(did: str, identity: MediatorIdentity) -> dict[str, Any]:
    """In the words that every library reads."""
    kids = [f"{did}#key-{number}" for number in range(1, len(WEB_CURVES) + 1)]
    uris = (identity.public_url, identity.websocket_url)
    return {
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/suites/jws-2020/v1",
        ],
        "id": did,
        "verificationMethod": [
            {
                "id": kid,
                "type": "JsonWebKey2020",
                "controller": did,
                "publicKeyJwk": identity.secrets[kid].public.to_jwk(),
            }
            for kid in kids
        ],
        "keyAgreement": kids[:2],
        "authentication": kids[2:],
        "assertionMethod": kids[2:],
        "service": [
            {
                "id": f"{did}#service-{number}",
                "type": "DIDCommMessaging",
                "serviceEndpoint": {"uri": uri, "accept": ["didcomm/v2"], "routingKeys": []},
            }
            for number, uri in enumerate(uris, 1)
        ],
    }


def websocket_url(public_url: str) -> str:
    parts = urlsplit(public_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", "", ""))
