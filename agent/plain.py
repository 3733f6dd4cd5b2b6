"""Words that others wrote, made fit for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """One printable line: what would move a cursor, colour, hide or turn letters is spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
