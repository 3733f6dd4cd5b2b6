"""Short English words that people can read aloud and type: phrases to compare, codes to speak.

The list has 1,024 words (10 bits each), no two of which differ in one letter only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from functools import cache
from importlib.resources import files

BITS = 10  # of one word
PHRASE_WORDS = 4
CODE_WORDS = 3
_SCRYPT = {
    "n": 2**14,
    "r": 8,
    "p": 1,
}  # 16 MiB and some 50 ms: for us once, for a forger 2^40 times


@cache
def word_list() -> tuple[str, ...]:
    return tuple(files("agent").joinpath("words.txt").read_text(encoding="ascii").split())


@cache
def phrase(descriptor_id: str) -> str:
    """Four words that follow from the session's name, for all parties the same.

    Whoever wants two sessions with equal phrases has to try some 2^40 descriptors while people
    wait, and scrypt makes each of them cost a core some 50 ms: about a thousand years.
    """
    salt = b"didmesh phrase 1"
    key = hashlib.scrypt(descriptor_id.encode(), salt=salt, dklen=8, **_SCRYPT)
    number = int.from_bytes(key)
    words = word_list()
    return " ".join(words[number >> BITS * i & (1 << BITS) - 1] for i in range(PHRASE_WORDS))


def new_code(first_words_taken: Collection[str] = ()) -> str:
    """Three words with dashes: 10 bits to find the lobby by, 20 bits that are a secret.

    Its first word is none of those taken.
    """
    first = secrets.choice([word for word in word_list() if word not in first_words_taken])
    return "-".join([first, *(secrets.choice(word_list()) for _ in range(CODE_WORDS - 1))])


def parse_code(text: str) -> str:
    """A code as a person typed it, in small letters with dashes.

    Raises: ValueError, with a sentence for a person.
    """
    words = text.lower().replace("-", " ").split()
    if len(words) != CODE_WORDS:
        raise ValueError(f"a spoken code has {CODE_WORDS} words")
    known = set(word_list())
    for word in words:
        if word not in known:
            raise ValueError(f"{word[:20]!r} is not a word of spoken codes")
    return "-".join(words)
