"""Tickets of a pair, as JSON: `python -m tests.support.relay_tickets URL DID` of a mediator."""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import urlsplit

import aiohttp

from messaging.protocols.relay import Request, Tickets
from tests.support.mediator_client import Party


async def main(url: str, did: str) -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as http:
        alice = Party(http, did, url)
        await alice.register()
        answer = await alice.ask(Request("ab" * 32, 1).to_message())
    [pair] = Tickets.from_message(answer).pairs
    host = urlsplit(url).hostname or ""
    print(json.dumps([pair.side(number, [host]).to_json() for number in (0, 1)]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
