"""`agent netcheck`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import click

from agent.connection.measuring import Family
from agent.errors import MailboxError, UsageMistake
from agent.mail.account import Account
from agent.mail.transport import Transport, proxy_for
from agent.netcheck import NEEDED_MTU, Http, Netcheck, netcheck
from agent.output import json_option, print_json, remark
from agent.plain import plain
from agent.profile import Choice, profile_options
from identity.errors import IdentityError
from identity.keystore import Profile
from messaging.errors import MessagingError
from resolvers.registry import default_registry
from resolvers.resolver import ResolutionError
from traversal.candidate import Address

STUN_PORT = 3478


@click.command(
    "netcheck",
    epilog="""\b
Examples:
  agent netcheck
  agent netcheck --json
  agent netcheck --stun stun.example --stun 198.51.100.7:3479

The first asks your mediator which STUN servers it has; with --stun no profile is needed. For all
of it a server needs two addresses with two ports each (RFC 5780); what cannot be told is said so.
Exit code 1: neither the mediator nor any STUN server answered.""",
)
@click.option("--stun", "named", multiple=True, metavar="HOST[:PORT]", help="Ask this one instead.")
@json_option
@profile_options
@click.pass_context
def command(context: click.Context, choice: Choice, named: tuple[str, ...], as_json: bool) -> None:
    """Say what this network lets through: UDP, NAT, port mapping, relays, MTU.

    The NAT before you is named by its mapping and filtering (RFC 4787), and a verdict says to whom
    direct paths are to be expected.
    """
    servers = [server for text in named for server in _looked_up(text)]
    profile = None if named else choice.load()
    found = asyncio.run(check_with(profile, servers))
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    if not (found.ipv4 or found.ipv6 or (found.http and found.http.reachable)):
        context.exit(1)


async def check_with(profile: Profile | None, servers: Sequence[Address] = ()) -> Netcheck:
    """With the STUN servers of the profile's mediator, if it has one, else with these."""
    http = None
    if profile is not None and profile.mediator is not None:
        remark("asking the mediator which STUN servers it has")
        http, servers = await _mediator(profile)
    remark(f"measuring with {len(servers)} STUN servers; this takes a few seconds")
    return await netcheck(servers, http)


async def _mediator(profile: Profile) -> tuple[Http, Sequence[Address]]:
    """How it is reached by HTTP, and its STUN servers."""
    async with Transport() as transport:
        account = Account(profile, default_registry(), transport)
        url = ""
        try:
            url = (await account.endpoints()).http
            began = time.monotonic()
            servers = await account.stun_servers()
        except (MailboxError, MessagingError, ResolutionError, IdentityError) as error:
            return Http(url, False, None, _proxy(url), str(error)), ()
        ms = round((time.monotonic() - began) * 1000, 1)
        return Http(url, True, ms, _proxy(url), None), servers


def _proxy(url: str) -> str | None:
    """Without the password that may stand in it."""
    proxy = proxy_for(url) if url else None
    return None if proxy is None else proxy.rpartition("@")[2].removeprefix("http://")


def _looked_up(text: str) -> list[Address]:
    host, colon, port = text.rpartition(":")
    if not colon or (text.count(":") > 1 and not host.endswith("]")):
        host, port = text, str(STUN_PORT)
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageMistake(f"{plain(text)} is no HOST or HOST:PORT")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UsageMistake(f"there is no host {plain(host)}") from error
    return [Address(str(entry[4][0]), int(port)) for entry in found]


def _print(found: Netcheck) -> None:
    udp = {True: "works", False: "blocked", None: "not measured"}[found.to_json()["udp"]]
    _row("UDP", udp)
    for version, family in ((4, found.ipv4), (6, found.ipv6)):
        _print_family(version, family)
    _row("router", _router(found))
    for family in (found.ipv4, found.ipv6):
        for server, seen in family.servers.items() if family else ():
            _row("relay", f"{server}, {seen.rtt * 1000:.1f} ms")
    _row("HTTP", _http(found.http))
    _row("verdict", found.words)


def _print_family(version: int, family: Family | None) -> None:
    name = f"IPv{version}"
    if family is None:
        _row(name, "no answer")
        return
    behaviour = family.behaviour
    _row(name, f"{behaviour.name}; others see {family.address}")
    _row("  mapping", str(behaviour.mapping))
    _row("  filtering", str(behaviour.filtering))
    if behaviour.translated:
        back = "sent back in" if behaviour.hairpin else "not sent back in (no hairpin)"
        _row("  ports", f"{behaviour.ports}; datagrams to its own public address are {back}")
    _row("  MTU", _mtu(version, family))


def _mtu(version: int, family: Family) -> str:
    mtu = family.mtu
    if mtu.probed is None:
        return f"{mtu.route} by the route, but long datagrams are not answered"
    enough = mtu.route is None or mtu.route >= NEEDED_MTU[version]
    words = "" if enough else f"; the mesh's packets need {NEEDED_MTU[version]}: they go in pieces"
    return f"{mtu.route} by the route, {mtu.probed} bytes arrive{words}"


def _router(found: Netcheck) -> str:
    if found.gateway is None:
        return "none that could be asked for a port"
    if found.mapped is None:
        return f"{found.gateway} maps no ports on request (asked by PCP, NAT-PMP, UPnP-IGD)"
    after = ", but another NAT follows" if found.mapped.double_nat else ""
    return f"{found.gateway} maps ports by {found.mapped.protocol}{after}"


def _http(http: Http | None) -> str:
    if http is None:
        return "not asked"
    way = f" through the proxy {http.proxy}" if http.proxy else ""
    if not http.reachable:
        return f"mediator not reachable{way}: {http.problem}"
    return f"mediator answers{way}, {http.ms} ms"


def _row(name: str, text: str) -> None:
    click.echo(plain(f"{name:<12}{text}"))
