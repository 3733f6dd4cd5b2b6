"""Who may speak to the local page: only the browser that its owner opened.

Any page of the web, and any user of this machine, can send requests to a port on loopback. So every
request must name our own address as its host (a name that somebody points at 127.0.0.1 is another),
must not come from another page, and must carry the token, except for the page's own files, in which
there is nothing to know.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Forbidden(Exception):
    """Not from our page; the words are for a log and for whoever tried."""


@dataclass(frozen=True)
class Guard:
    port: int
    token: str = field(repr=False)

    def check_file(self, headers: Mapping[str, str]) -> None:
        """A request for a file of the page. Raises: Forbidden."""
        if headers.get("Host") not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            raise Forbidden("this is not the page's address")

    def check(self, headers: Mapping[str, str]) -> None:
        """A request for anything else. Raises: Forbidden."""
        self.check_file(headers)
        origin = headers.get("Origin")
        if origin is not None and origin != f"http://{headers['Host']}":
            raise Forbidden("the request comes from another page")
        if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Forbidden("the request comes from another page")
        given = headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise Forbidden("the token is missing or wrong: open the page with `agent ui`")
