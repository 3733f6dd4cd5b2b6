"""Claims about people in a lobby: what is required, what is shown for it, and whether it holds.

Everybody verifies everybody's claims by itself, with keys that it fetched from the issuers: neither
the host nor who shows a claim is believed. `proving` decides; `vouch` knows its kind of claim. A
claim is bound to the DID of its party, so that nobody can show another's.
"""
