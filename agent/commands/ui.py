"""`agent ui`: the local page."""

from __future__ import annotations

import asyncio
import os
import signal

import click

from agent.browser import open_browser, way_in
from agent.output import print_json, remark
from agent.page.helpers import Helpers
from agent.page.server import PageServer
from agent.privileges import acting_as, ordinary_user
from agent.profile import PASSPHRASE_VARIABLE, Choice, profile_options


@click.command(
    "ui",
    epilog="""\b
Examples:
  agent ui
  agent ui --no-open
  agent ui --profile work

The page is for you alone: it is served on this machine's loopback, to whoever has the token in its
address, and nothing in it comes from anywhere else. It runs the same commands that you could type.
Without a profile it begins with making one. Ctrl-C ends it, and the session that it runs.""",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Instead of a free one.")
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as a JSON object.")
@profile_options
def command(choice: Choice, port: int, no_open: bool, as_json: bool) -> None:
    """Host, join, run and verify on a page in your browser."""
    user = ordinary_user(os.environ) if os.geteuid() == 0 else None
    with acting_as(user):
        passphrase = choice.passphrase() if choice.exists() else None
    helpers = Helpers.apart(user)
    if passphrase is not None:
        os.environ[PASSPHRASE_VARIABLE] = passphrase  # for the commands that the page starts
        choice.load()  # a wrong one is told now
    server = PageServer(choice, (f"--profile={choice.name}",), helpers)
    asyncio.run(_serve(server, port, opens=not no_open, as_json=as_json))


async def _serve(server: PageServer, port: int, *, opens: bool, as_json: bool) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with server.open(port):
        if as_json:
            print_json({"url": server.url})
        else:
            click.echo(server.url)
            remark("this address is as good as your password while the page runs; Ctrl-C ends it")
        with way_in(server.url) as way:
            if opens:
                open_browser(way)
            await ended.wait()
