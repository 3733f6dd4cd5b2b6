"""The DIDs a mediator answers to, their keys and their invitations.

One did:peer:2 per public URL, made once and kept: when the URL changes, a new one is
added and the old ones go on being answered, each under its own name.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import orjson

from identity.did_peer import create_2, didcomm_service
from identity.keys import Curve, PrivateKey
from mediator.stores.interface import IdentityRecord
from messaging.protocols.out_of_band import REQUEST_MEDIATE, Invitation


@dataclass(frozen=True)
class MediatorIdentity:
    did: str
    public_url: str
    invitation_id: str
    secrets: Mapping[str, PrivateKey] = field(repr=False)

    @property
    def websocket_url(self) -> str:
        return websocket_url(self.public_url)

    @property
    def invitation(self) -> Invitation:
        return Invitation(
            id=self.invitation_id,
            frm=self.did,
            goal_code=REQUEST_MEDIATE,
            goal="Request mediation",
        )

    @property
    def invitation_url(self) -> str:
        return self.invitation.to_url(self.public_url)

    def describe(self) -> dict[str, str]:
        return {
            "did": self.did,
            "invitation": self.invitation_url,
            "http": self.public_url,
            "ws": self.websocket_url,
        }

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
    return MediatorIdentity(did, public_url, str(uuid.uuid4()), secrets)


def websocket_url(public_url: str) -> str:
    parts = urlsplit(public_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", "", ""))
