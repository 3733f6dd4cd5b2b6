"""How parties of a lobby are called to a person: by our own names, or as the strangers they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.claims.evidence import Proof
from agent.contacts import Contacts
from messaging.protocols.lobby import (
    LoginRequired,
    Requirement,
    Roster,
    Seat,
    VouchRequired,
    to_jsons,
)


def shown(did: str) -> str:
    """As much of a DID as tells it from others; for people only, never for comparing."""
    return did if len(did) <= 32 else f"{did[:31]}…"


def called(contacts: Contacts, did: str, name: str) -> str:
    contact = contacts.of(did)
    if contact is not None:
        return contact.name if contact.verified else f"{contact.name} (not verified)"
    says = f', calls itself "{name}"' if name else ""
    return f"unknown {shown(did)}{says}"


def proven(contacts: Contacts, proof: Proof) -> str:
    if proof.by.startswith("did:"):
        return f'"{proof.who}" by {called(contacts, proof.by, "")}'
    return f"{proof.who} by {proof.by}"


def required(contacts: Contacts, requires: Sequence[Requirement]) -> str:
    """What everybody has to show, and who will see it; one line."""
    return "; ".join(_required(contacts, one) for one in requires)


def _required(contacts: Contacts, one: Requirement) -> str:
    match one:
        case VouchRequired(issuers):
            who = " or ".join(called(contacts, did, "") for did in issuers)
            return f"a vouch by {who} (everybody in the lobby sees who vouches, and the name given)"
        case LoginRequired(issuer, _, email):
            address = f" with an address {email}" if email else ""
            return (
                f"a login at {issuer}{address} (everybody in the lobby gets the issuer's token: "
                "your e-mail address, and what it calls you)"
            )


def seat_facts(contacts: Contacts, seat: Seat, proofs: Sequence[Proof]) -> dict[str, object]:
    contact = contacts.of(seat.did)
    return {
        "did": seat.did,
        "role": seat.role,
        "stage": seat.stage,
        "calls_itself": seat.name,
        "contact": contact and contact.name,
        "verified": contact is not None and contact.verified,
        "claims": [{**proof.to_json(), "text": proven(contacts, proof)} for proof in proofs],
    }


def roster_facts(
    contacts: Contacts, roster: Roster, me: str, proofs: Mapping[str, Sequence[Proof]]
) -> dict[str, object]:
    """The roster for a report: `text` for a person, the rest for a program.

    `proofs` are what we have verified ourselves, by DID.
    """
    lines = []
    for rank, seat in enumerate(roster.entries):
        who = "you" if seat.did == me else called(contacts, seat.did, seat.name)
        role = "" if seat.role in ("", "party") else f" as {seat.role}"
        claims = "".join(f", {proven(contacts, proof)}" for proof in proofs.get(seat.did, ()))
        lines.append(f"party{rank} {who}{claims}{role}: {seat.stage}")
    free = roster.seats - len(roster.entries)
    return {
        "text": "; ".join(lines) + (f"; {free} seats free" if free else ""),
        "seats": roster.seats,
        "free": free,
        "locked": roster.locked,
        "expires": roster.expires,
        "program": roster.program.to_json(),
        "requires": to_jsons(roster.requires),
        "roster": [seat_facts(contacts, seat, proofs.get(seat.did, ())) for seat in roster.entries],
    }
