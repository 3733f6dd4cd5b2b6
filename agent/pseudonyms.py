"""Pseudonyms: what tells who and where somebody is, replaced by words that tell it apart.

One original has one pseudonym throughout, so that a reader sees that two lines speak of the same
party. What is left says no more than the kind: `did-1`, `public-ipv4-2`, `host-1`, `hash-3`,
`name-1`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._:%#?=;/+-]+[A-Za-z0-9]…?[A-Za-z0-9]*")
_URL_HOST = re.compile(r"(?<=://)[^/\s\"'<>]+")
_IPV6 = re.compile(r"(?<![\w:.])\[?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:%\w+)?\]?(?![\w.])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_HASH = re.compile(r"(?<![\w-])(?:[0-9a-f]{16,}|[A-Za-z0-9+/_-]{43}=?)(?![\w-])")
_HOST = re.compile(r"(?<![\w.@-])(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w-])")
KEPT_HOSTS = frozenset({"localhost"})
FILE_ENDINGS = ("age", "json", "py", "sock", "toml", "txt", "builtin", "dep")


class Pseudonyms:
    """`names` are words that are known to tell: of the user, the machine, contacts, folders."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._known: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        words = sorted({name for name in names if len(name) > 1}, key=len, reverse=True)
        pattern = "|".join(map(re.escape, words))
        self._names = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)") if pattern else None

    def hide(self, value: Any) -> Any:
        """The same JSON with every text replaced, names of members too."""
        if isinstance(value, dict):
            return {self.text(name): self.hide(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(each) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        text = _DID.sub(lambda m: self._word("did", m[0]), text)
        text = _URL_HOST.sub(lambda m: self._authority(m[0]), text)
        text = _IPV6.sub(lambda m: self._address(m[0]), text)
        text = _IPV4.sub(lambda m: self._address(m[0]), text)
        text = _HOST.sub(lambda m: self._host(m[0]), text)
        text = _HASH.sub(lambda m: self._word("hash", m[0]), text)
        if self._names is not None:
            text = self._names.sub(lambda m: self._word("name", m[0]), text)
        return text

    def _authority(self, text: str) -> str:
        """Of a URL: host and port; whatever stands before the host may be a password."""
        host, colon, port = text.rpartition("@")[2].rpartition(":")
        if not colon or not port.isdecimal():
            host, port = text.rpartition("@")[2], ""
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return self._host(host) + (f":{port}" if port else "")
        return self._address(host) + (f":{port}" if port else "")

    def _host(self, text: str) -> str:
        kept = text in KEPT_HOSTS or text.rpartition(".")[2].lower() in FILE_ENDINGS
        return text if kept else self._word("host", text.lower())

    def _address(self, text: str) -> str:
        """Loopback and unspecified addresses tell nothing and stay."""
        try:
            address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
        except ValueError:
            return text
        if address.is_loopback or address.is_unspecified:
            return text
        kind = "public" if address.is_global else "private"
        word = self._word(f"{kind}-ipv{address.version}", str(address))
        return f"[{word}]" if text.startswith("[") else word

    def _word(self, kind: str, original: str) -> str:
        if original not in self._known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[original] = f"{kind}-{self._counts[kind]}"
        return self._known[original]
