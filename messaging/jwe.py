"""JSON Web Encryption as DIDComm v2.1 uses it: keys and bytes, no DIDs.

Two key agreements: ECDH-ES (anoncrypt) and ECDH-1PU draft 4 (authcrypt), both with A256KW. One
content key for all recipients, one ephemeral key in the protected header, general JSON
serialization.

Reading is done in two steps, so that nothing expensive happens before the cheap checks:

    envelope = Jwe.from_json(value)      # structure, algorithms, limits, `apv`
    envelope.decrypt(kid, key, sender)   # one key agreement, one content key, the plaintext

Sources: RFC 7516, RFC 7518 (4.6, 5.2.5, 5.3), draft-madden-jose-ecdh-1pu-04,
draft-amringer-jose-chacha-02, DIDComm Messaging v2.1 "DIDComm Encrypted Messages".
"""

import hashlib
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)
from nacl.exceptions import CryptoError

from identity.did import MAX_DID, MAX_FRAGMENT
from identity.errors import InvalidKey
from identity.keys import PrivateKey, PublicKey
from messaging.compat import STRICT, Leniency
from messaging.content_encryption import Encryption, Sealed, seal, unseal
from messaging.encoding import b64decode, b64encode, load_object
from messaging.errors import DecryptionFailed, MalformedMessage, UnsupportedAlgorithm
from messaging.key_agreement import (
    Agreement,
    Ephemeral,
    Recipients,
    agree,
    derive,
    static_secret,
)

TYP = "application/didcomm-encrypted+json"
MAX_RECIPIENTS = 100
MAX_KID = MAX_DID + 1 + MAX_FRAGMENT
MAX_PROTECTED = 16 * 1024  # characters: `skid` and `apu` of the longest DID fit
MAX_ENCRYPTED_KEY = 128  # characters; 64 bytes of content key wrap to 96


class Dialect(NamedTuple):
    """How somebody's authcrypt is made; who speaks another than DIDComm's reads only that."""

    encryption: Encryption
    binds_tag: bool  # as ECDH-1PU draft 4 does; draft 3 does not
    names: tuple[str, str] | None = None  # of the recipient's key and the sender's, if they are old


DIDCOMM = Dialect(Encryption.A256CBC_HS512, binds_tag=True)


def encrypt_anonymously(
    plaintext: bytes, recipients: Recipients, encryption: Encryption = Encryption.A256GCM
) -> bytes:
    """Seal for all of `recipients`; nobody learns, or can prove, who did."""
    # By kid, as `apv` has them: one reader takes the order of the list instead.
    recipients = sorted(recipients, key=itemgetter(0))
    ephemeral = Ephemeral(recipients)
    apv = _party_v([kid for kid, _ in recipients])
    protected = _protected(Agreement.ANONYMOUS, encryption, ephemeral, apv, None)
    content_key, sealed = seal(encryption, plaintext, protected)
    keys = []
    for kid, key in recipients:
        secret = ephemeral.exchange(key)
        wrapping = derive(Agreement.ANONYMOUS, secret, b"", apv, b"")
        keys.append((kid, aes_key_wrap(wrapping, content_key)))
    return _serialize(protected, keys, sealed)


def encrypt_authenticated(
    plaintext: bytes,
    recipients: Recipients,
    sender_kid: str,
    sender: PrivateKey,
    dialect: Dialect = DIDCOMM,
) -> bytes:
    """Seal so that the recipients, and nobody else, can tell that `sender` did."""
    encryption = dialect.encryption
    # By kid, as `apv` has them: one reader takes the order of the list instead.
    recipients = sorted(recipients, key=itemgetter(0))
    ephemeral = Ephemeral(recipients)
    apv = _party_v([kid for kid, _ in recipients])
    protected = _protected(Agreement.AUTHENTICATED, encryption, ephemeral, apv, sender_kid)
    content_key, sealed = seal(encryption, plaintext, protected)
    apu, tag = sender_kid.encode(), sealed.tag if dialect.binds_tag else b""
    keys = []
    for kid, key in recipients:
        secret = ephemeral.exchange(key) + static_secret(sender, key)
        wrapping = derive(Agreement.AUTHENTICATED, secret, apu, apv, tag)
        keys.append((kid, aes_key_wrap(wrapping, content_key)))
    return _serialize(protected, keys, sealed)


class Jwe(NamedTuple):
    """An envelope whose structure is in order; nothing of it is proven yet."""

    agreement: Agreement
    encryption: Encryption
    sender_kid: str | None  # of authcrypt
    recipients: Mapping[str, str]  # kid: encrypted key, still base64url
    tag: bytes  # of the content: says which envelope this is, whatever is done to the rest
    protected: str
    epk: Mapping[str, Any]
    apu: bytes
    apv: bytes
    iv: str
    ciphertext: str
    binds_tag: bool = True  # False: authcrypt of ECDH-1PU draft 3
    recipient_epks: Mapping[str, Mapping[str, Any]] | None = None  # by kid, instead of `epk`

    @classmethod
    def from_json(cls, value: Mapping[str, Any], leniency: Leniency = STRICT) -> Self:
        """Check the structure, with no operation on a curve.

        Raises: MalformedMessage, UnsupportedAlgorithm.
        """
        encoded = value.get("protected")
        if type(encoded) is not str or len(encoded) > MAX_PROTECTED:
            raise MalformedMessage("an envelope has a protected header of moderate size")
        header = load_object(b64decode(encoded))
        if "zip" in header or "crit" in header or "unprotected" in value:
            raise MalformedMessage("an envelope has no `zip`, no `crit` and no `unprotected`")
        entries = value.get("recipients")
        draft_3 = leniency.is_draft_3(header, entries)
        agreement, encryption = _algorithms(header, draft_3)
        recipients = _recipients(entries)
        epks = leniency.recipient_epks(header, value["recipients"])
        epk = header.get("epk", {} if epks else None)
        if type(epk) is not dict:
            raise MalformedMessage("an envelope has a protected `epk`")
        apv = b""
        if not draft_3 and not leniency.lacks_apv(header):
            apv = b64decode(header.get("apv"))
            if apv != _party_v(recipients):
                raise MalformedMessage("`apv` does not stand for the recipients")
        sender_kid, apu = _sender(header, agreement, draft_3)
        return cls(
            agreement,
            encryption,
            sender_kid,
            recipients,
            b64decode(value.get("tag")),
            encoded,
            epk,
            apu,
            apv,
            value.get("iv"),  # type: ignore[arg-type]  # `b64decode` refuses anything but text
            value.get("ciphertext"),  # type: ignore[arg-type]
            not draft_3,
            epks,
        )

    @property
    def dialect(self) -> Dialect:
        return Dialect(self.encryption, self.binds_tag)

    def decrypt(self, kid: str, key: PrivateKey, sender: PublicKey | None) -> bytes:
        """The plaintext, with our `key` that the envelope calls `kid`; `sender` for authcrypt.

        Raises: DecryptionFailed, MalformedMessage.
        """
        try:
            epk = self.epk if self.recipient_epks is None else self.recipient_epks[kid]
            secret, tag = agree(key, epk), b""
            if self.agreement is Agreement.AUTHENTICATED:
                if sender is None:
                    raise DecryptionFailed
                secret += static_secret(key, sender)
                tag = self.tag if self.binds_tag else b""
            wrapping = derive(self.agreement, secret, self.apu, self.apv, tag)
            content_key = aes_key_unwrap(wrapping, b64decode(self.recipients[kid]))
            iv, ciphertext = b64decode(self.iv), b64decode(self.ciphertext)
            aad = self.protected.encode()
            return unseal(self.encryption, content_key, iv, ciphertext, self.tag, aad)
        except (InvalidKey, InvalidUnwrap, InvalidTag, CryptoError, ValueError) as error:
            raise DecryptionFailed from error


def _algorithms(header: Mapping[str, Any], draft_3: bool) -> tuple[Agreement, Encryption]:
    agreement = _AGREEMENTS.get(_name(header, "alg"))
    encryption = _ENCRYPTIONS.get(_name(header, "enc"))
    if agreement is None or encryption is None:
        raise UnsupportedAlgorithm(f"{header['alg']} with {header['enc']}")
    spec_authcrypt = agreement is Agreement.AUTHENTICATED and not draft_3
    if spec_authcrypt and encryption is not DIDCOMM.encryption:
        raise UnsupportedAlgorithm(f"{agreement} with {encryption}")
    return agreement, encryption


_AGREEMENTS = {member.value: member for member in Agreement}
_ENCRYPTIONS = {member.value: member for member in Encryption}


def _name(header: Mapping[str, Any], name: str) -> str:
    text = header.get(name)
    if type(text) is not str:
        raise MalformedMessage(f"`{name}` is not a string")
    return text


def _recipients(value: object) -> dict[str, str]:
    if type(value) is not list or not 0 < len(value) <= MAX_RECIPIENTS:
        raise MalformedMessage(f"an envelope has 1 to {MAX_RECIPIENTS} recipients")
    recipients: dict[str, str] = {}
    for entry in value:
        header = entry.get("header") if type(entry) is dict else None
        kid = header.get("kid") if type(header) is dict else None
        key = entry.get("encrypted_key") if type(entry) is dict else None
        if type(kid) is not str or type(key) is not str:
            raise MalformedMessage("a recipient has a `kid` and an encrypted key")
        if len(kid) > MAX_KID or len(key) > MAX_ENCRYPTED_KEY:
            raise MalformedMessage("a recipient's `kid` or encrypted key is too long")
        recipients[kid] = key
    if len(recipients) != len(value):
        raise MalformedMessage("a recipient is listed twice")
    return recipients


def _sender(
    header: Mapping[str, Any], agreement: Agreement, draft_3: bool
) -> tuple[str | None, bytes]:
    """`skid` and `apu`, which say the same thing twice; anoncrypt has neither."""
    apu = b64decode(header["apu"]) if "apu" in header else b""
    if agreement is Agreement.ANONYMOUS:
        return None, apu
    if draft_3:
        return _skid(header), b""
    skid = header.get("skid", apu.decode(errors="replace"))
    if type(skid) is not str or not skid or len(skid) > MAX_KID or skid.encode() != apu:
        raise MalformedMessage("`skid` and `apu` do not name one key")
    return skid, apu


def _skid(header: Mapping[str, Any]) -> str:
    skid = _name(header, "skid")
    if not skid or len(skid) > MAX_KID:
        raise MalformedMessage("`skid` names no key")
    return skid


def _party_v(kids: Sequence[str] | Mapping[str, str]) -> bytes:
    return hashlib.sha256(".".join(sorted(kids)).encode()).digest()


def _protected(
    agreement: Agreement,
    encryption: Encryption,
    ephemeral: Ephemeral,
    apv: bytes,
    skid: str | None,
) -> bytes:
    header = {
        "typ": TYP,
        "alg": agreement.value,
        "enc": encryption.value,
        "epk": ephemeral.jwk,
        "apv": b64encode(apv).decode(),
    }
    if skid is not None:
        header["skid"] = skid
        header["apu"] = b64encode(skid.encode()).decode()
    return b64encode(orjson.dumps(header))


def _serialize(protected: bytes, keys: Sequence[tuple[str, bytes]], sealed: Sealed) -> bytes:
    recipients = [
        {"header": {"kid": kid}, "encrypted_key": b64encode(key).decode()} for kid, key in keys
    ]
    # base64url needs no escapes: joining is all the JSON writing that 64 KiB of ciphertext need.
    return b"".join(
        (
            b'{"protected":"',
            protected,
            b'","recipients":',
            orjson.dumps(recipients),
            b',"iv":"',
            b64encode(sealed.iv),
            b'","ciphertext":"',
            b64encode(sealed.ciphertext),
            b'","tag":"',
            b64encode(sealed.tag),
            b'"}',
        )
    )
