"""What a browser or a monitor gets from a mediator: the page at `/`, and a few facts as JSON.

The page is one file without anything of third parties: style and script stand in it, and
the policy sent with it names their hashes, so that nothing else runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import shlex
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import urlsplit

import orjson
import segno
from aiohttp import hdrs, web

from mediator.guard.admission import Gate
from mediator.identities import MediatorIdentity
from mediator.operation.health import Health
from messaging.errors import MalformedMessage
from messaging.protocols.out_of_band import Invitation

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MAX_QUERY = 8 * 1024  # characters of an invitation that is shown


def facts(look: Callable[[], Mapping[str, Any]]) -> Page:
    """A page of JSON."""

    async def page(_: web.BaseRequest) -> web.StreamResponse:
        return _json(look())

    return page


def health_pages(health: Health) -> dict[str, Page]:
    async def alive(_: web.BaseRequest) -> web.StreamResponse:
        return _json({"status": "alive"})

    async def ready(_: web.BaseRequest) -> web.StreamResponse:
        fault = await health.fault()
        return _json({"status": fault or "ready"}, 200 if fault is None else 503)

    return {"/livez": alive, "/readyz": ready}


class InvitationPage:
    """What a person sees who opens the mediator's address or an invitation link."""

    def __init__(
        self,
        identity: MediatorIdentity,
        ours: Collection[str],
        protocols: Collection[str],
        gate: Gate,
    ) -> None:
        self._identity = identity
        self._ours = ours
        self._protocols = protocols
        self._gate = gate
        self._style, self._script = page_file("style.css"), page_file("script.js")
        self._policy = "; ".join(
            [
                "default-src 'none'",
                f"style-src {style_hash(self._style)}",
                f"script-src {style_hash(self._script)}",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        )

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await self._body(self._followed(request))
        return web.Response(
            text=body,
            content_type="text/html",
            headers={
                "Content-Security-Policy": self._policy,
                "X-Content-Type-Options": "nosniff",
                # The link of an invitation is a secret of whoever was invited.
                "Referrer-Policy": "no-referrer",
                hdrs.CACHE_CONTROL: "no-store",
            },
        )

    def _followed(self, request: web.BaseRequest) -> str | None:
        """The link that was opened, if it is an invitation to this mediator."""
        query = request.rel_url.raw_query_string
        if "_oob=" not in query or len(query) > MAX_QUERY:
            return None
        url = f"{self._identity.public_url}?{query}"
        try:
            invitation = Invitation.from_url(url)
        except MalformedMessage:
            return None
        if invitation.frm not in self._ours:
            return None
        return invitation.to_url(self._identity.public_url)

    async def _body(self, followed: str | None) -> str:
        identity = self._identity
        is_open = self._gate.is_open
        card = self._card(followed) if followed or is_open else page_file("closed.html")
        host = urlsplit(identity.public_url).netloc
        return Template(page_file("index.html")).substitute(
            title=html.escape(f"{host} – DIDComm mediator"),
            host=html.escape(host),
            lead="It takes messages for your wallet while you are away.",
            style=self._style,
            script=self._script,
            invitation=card,
            dids="".join(f"<dd><code>{html.escape(did)}</code></dd>" for did in identity.dids),
            http=html.escape(identity.public_url),
            ws=html.escape(identity.websocket_url),
            base=html.escape(urlsplit(identity.public_url).path.rstrip("/")),
            protocols=html.escape(", ".join(map(_protocol_words, self._protocols))),
        )

    def _card(self, followed: str | None) -> str:
        url = followed or self._identity.invitation_url
        mediator = html.escape(shlex.quote(followed or self._identity.public_url))
        command = f"<pre><code>agent create-did --mediator {mediator}</code></pre>"
        return Template(page_file("invitation.html")).substitute(
            qr=_qr(url),
            heading="You are invited" if followed else "Use this mediator",
            url=html.escape(url),
            hint=f'<div class="hint">With didmesh:{command}</div>',
        )


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def _protocol_words(protocol: str) -> str:
    name, _, version = protocol.rpartition("/")
    return f"{name.rpartition('/')[2]} {version}"


@cache
def page_file(name: str) -> str:
    """A file of the folder `page`."""
    return files("mediator.entrance").joinpath("page", name).read_text(encoding="utf-8")


def style_hash(text: str) -> str:
    """How a content policy names a style or script that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _qr(text: str) -> str:
    """As a drawing that stands in the page; black on white in the dark, too, or phones fail."""
    out = io.BytesIO()
    segno.make_qr(text, error="l").save(
        out, kind="svg", xmldecl=False, svgns=False, border=4, omitsize=True, title="QR code"
    )
    return out.getvalue().decode()
