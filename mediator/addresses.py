"""One spelling for each DID, so that a forward finds its recipient however it was written."""

from __future__ import annotations

from functools import lru_cache

from identity.did import parse_did


@lru_cache(maxsize=1024)
def canonical(text: str) -> str:
    """The DID in a DID or DID URL; did:peer:4 in its short form.

    Raises: InvalidDid.
    """
    did = text.partition("#")[0].partition("?")[0]
    method, specific = parse_did(did)
    if method == "peer" and specific.startswith("4"):
        return f"did:peer:{specific.partition(':')[0]}"
    return did


def shorten(did: str) -> str:
    """A DID as it may stand in a log: enough to tell two apart, not to write to it."""
    return did if len(did) <= 24 else f"{did[:12]}…{did[-6:]}"
