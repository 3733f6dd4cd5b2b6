"""Parties for tests: a DID, its secrets, and the document as foreign libraries want it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from identity import did_peer
from identity.keys import Curve, PrivateKey
from resolvers.registry import default_registry

NOW = 1_800_000_000  # UTC seconds
RESOLVER = default_registry()
AGREEMENT = (Curve.X25519, Curve.P256, Curve.P384, Curve.P521)
SIGNING = (Curve.ED25519, Curve.P256, Curve.SECP256K1)


@dataclass(frozen=True)
class Party:
    """`#key-1` is for key agreement, `#key-2` for authentication."""

    did: str
    encryption: PrivateKey
    authentication: PrivateKey

    @property
    def kid(self) -> str:
        return f"{self.did}#key-1"

    @property
    def signing_kid(self) -> str:
        return f"{self.did}#key-2"

    @property
    def secrets(self) -> Mapping[str, PrivateKey]:
        return {self.kid: self.encryption, self.signing_kid: self.authentication}

    def foreign_document(self) -> dict[str, Any]:
        """In the oldest words, that every library reads: referenced JsonWebKey2020."""
        return {
            "id": self.did,
            "verificationMethod": [
                {
                    "id": kid,
                    "type": "JsonWebKey2020",
                    "controller": self.did,
                    "publicKeyJwk": key.public.to_jwk(),
                }
                for kid, key in self.secrets.items()
            ],
            "keyAgreement": [self.kid],
            "authentication": [self.signing_kid],
            "service": [],
        }

    def foreign_secrets(self) -> list[dict[str, Any]]:
        return [{"kid": kid, "jwk": key.to_jwk()} for kid, key in self.secrets.items()]


def make_party(
    curve: Curve = Curve.X25519,
    signing: Curve = Curve.ED25519,
    uri: str = "https://party.example/",
    routing_keys: tuple[str, ...] = (),
) -> Party:
    encryption, authentication = PrivateKey.generate(curve), PrivateKey.generate(signing)
    service = did_peer.didcomm_service(uri, routing_keys)
    did = did_peer.create_2([encryption.public], [authentication.public], [service])
    return Party(did, encryption, authentication)
