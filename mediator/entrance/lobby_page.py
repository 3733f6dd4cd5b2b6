"""The page of a lobby's link, for people who have no agent yet: what this is, and how to join.

One file without scripts and without anything of third parties. What the invitation says is
shown as its host's words. The part of the link that lets its owner knock never comes here.
"""

from __future__ import annotations

import html
from string import Template

from aiohttp import hdrs, web

from identity.did import shorten
from mediator.entrance.pages import MAX_QUERY, page_file, style_hash
from messaging.errors import MalformedMessage
from messaging.protocols.out_of_band import JOIN_LOBBY, Invitation

PATH = "/i/"
MAX_GOAL = 200  # characters


class LobbyPage:
    """Answers whatever was asked for: without an invitation it explains lobbies in general."""

    def __init__(self) -> None:
        style = page_file("style.css")
        self._style = style
        self._policy = (
            f"default-src 'none'; style-src {style_hash(style)}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        )

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            text=self._body(_invitation(request.rel_url.raw_query_string)),
            content_type="text/html",
            headers={
                "Content-Security-Policy": self._policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                hdrs.CACHE_CONTROL: "no-store",
            },
        )

    def _body(self, invitation: Invitation | None) -> str:
        lead, facts = "This link leads to a lobby where people meet for a computation.", ""
        if invitation is not None:
            goal = _plain(invitation.goal or "a computation")
            lead = f"Its host says: {goal}"
            facts = (
                "<details><summary>For developers</summary><dl><dt>Host</dt><dd><code>"
                f"{html.escape(shorten(invitation.frm))}</code></dd><dt>Lobby</dt><dd><code>"
                f"{html.escape(shorten(invitation.id))}</code></dd></dl></details>"
            )
        return Template(page_file("lobby.html")).substitute(
            style=self._style,
            lead=html.escape(lead),
            facts=facts,
        )


def _invitation(query: str) -> Invitation | None:
    """The lobby's invitation in a query, if there is a readable one."""
    if "_oob=" not in query or len(query) > MAX_QUERY:
        return None
    try:
        invitation = Invitation.from_url(f"https://lobby/?{query}")
    except MalformedMessage:
        return None
    return invitation if invitation.goal_code == JOIN_LOBBY else None


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:MAX_GOAL])
