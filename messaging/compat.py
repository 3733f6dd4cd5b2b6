"""The one room for clients that deviate from DIDComm v2.1: what each deviation looks like.

Nothing here is done unless somebody who opens envelopes asks for it: `unpack` is strict, and a
mediator passes the leniency that its configuration allows. Each switch serves clients in use;
what it could weaken, and why it does not for anybody else, is in docs/decisions/compatibility.md.

A deviation is told by the shape of the header alone, never by trying: one envelope can be read in
one way only, so being lenient to one sender leaves all others as they were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from messaging.errors import MalformedMessage

_AUTHCRYPT, _ANONCRYPT = "ECDH-1PU+A256KW", "ECDH-ES+A256KW"


@dataclass(frozen=True, slots=True)
class Leniency:
    """Which deviations are let in; by default none."""

    draft_3_authcrypt: bool = False
    missing_apv: bool = False
    recipient_epk: bool = False
    legacy_key_ids: bool = False  # they are read by everybody; this answers under them

    def is_draft_3(self, header: Mapping[str, Any], entries: object) -> bool:
        """Whether this is authcrypt of ECDH-1PU draft 3, as Veramo seals it.

        It names the sender by `skid` alone and leaves out both `apu` and `apv`. As draft 3 does
        not bind the content to the wrapped key, each recipient of an envelope could write another
        content for the others: so it must be for one recipient.

        Raises: MalformedMessage.
        """
        if not self.draft_3_authcrypt or header.get("alg") != _AUTHCRYPT:
            return False
        if "apu" in header or "apv" in header:
            return False
        if type(entries) is not list or len(entries) != 1:
            raise MalformedMessage("authcrypt of ECDH-1PU draft 3 is for one recipient here")
        return True

    def lacks_apv(self, header: Mapping[str, Any]) -> bool:
        """Whether this is anoncrypt without `apv`, as Veramo seals it."""
        return self.missing_apv and header.get("alg") == _ANONCRYPT and "apv" not in header

    def recipient_epks(
        self, header: Mapping[str, Any], entries: Sequence[Any]
    ) -> Mapping[str, Mapping[str, Any]] | None:
        """The ephemeral key for each `kid` of anoncrypt as didcomm-messaging seals it.

        None if there is one for all in the protected header, where it belongs. `entries` are
        checked to be recipients.

        Raises: MalformedMessage.
        """
        if not self.recipient_epk or header.get("alg") != _ANONCRYPT or "epk" in header:
            return None
        epks = {entry["header"]["kid"]: entry["header"].get("epk") for entry in entries}
        if not all(type(epk) is dict for epk in epks.values()):
            raise MalformedMessage("an envelope has an `epk`")
        return epks

    def old_names(
        self, recipient: tuple[str, str], sender: tuple[str, str]
    ) -> tuple[str, str] | None:
        """The names of two keys as their envelope spells them, unless both are today's.

        Each is given as spelled and as its document has it. did:peer:2 named its keys otherwise
        once, and who still does finds neither its own key nor ours by another name.
        """
        if not self.legacy_key_ids or (recipient[0] == recipient[1] and sender[0] == sender[1]):
            return None
        return recipient[0], sender[0]


STRICT = Leniency()
