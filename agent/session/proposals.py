"""A proposal as it travels and as it is judged: fit for our session, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from agent.session.descriptor import KeyAgreement, Proposal, differences, short
from agent.session.preshared import is_encapsulation_key
from messaging.protocols.session import Propose


def to_message(own: Proposal) -> Propose:
    return Propose(
        own.draft, own.nonce, own.created, own.encapsulation_key, own.epoch, own.previous
    )


def from_message(message: Propose) -> Proposal:
    return Proposal(
        message.draft,
        message.nonce,
        message.created,
        message.encapsulation_key,
        message.epoch,
        message.previous,
    )


def objections(own: Proposal, other: Proposal) -> list[str]:
    """Why we do not begin a session with this one, in words; empty if we do.

    Its epoch may be another: a party that comes back knows less than those who stayed.
    """
    return differences(own.draft, other.draft) or _downgrade(own, other)


def wants_another(party: str, words: Sequence[str]) -> str:
    """The objections as a reason to end."""
    return f"{short(party)} wants another session: " + "; ".join(words)


def _downgrade(own: Proposal, other: Proposal) -> list[str]:
    """A draft that names ML-KEM wants a key for it, from everybody."""
    key, agreement = other.encapsulation_key, own.draft["key_agreement"]
    if agreement == KeyAgreement.CLASSICAL or (key is not None and is_encapsulation_key(key)):
        return []
    return [f"key agreement: ours is {agreement}, theirs comes without its key"]
