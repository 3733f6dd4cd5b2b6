"""What a relay may do, made of the mediator's settings and its identity."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from identity.keys import PrivateKey
from mediator.settings.config import Config, Network
from traversal.candidate import Address
from traversal.relay_server import Rules

MEGABIT = 1_000_000
PATH = "/relay/1.0"  # of its WebSockets, behind the public URL
EVERY_IPV4, EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104  every interface is meant


def listen_addresses(config: Config) -> tuple[str, ...]:
    """Where to relay UDP; none where nobody could reach it.

    `::` is every address of both families, as for HTTP, and becomes one for each: of a socket for
    both, IPv4 addresses would look like IPv6, to the kernel's table as well.
    """
    settings = config.relay
    if not settings.enabled:
        return ()
    listen = _of_one_family_each(settings.listen or (config.host,))
    out_of_reach = config.public_url is not None and not _is_local(config.public_url)
    return () if out_of_reach and all(map(_is_loopback, listen)) else listen


def rules_of(config: Config, public_url: str, listen: Sequence[str]) -> Rules:
    settings = config.relay
    hosts = settings.hosts or (urlsplit(public_url).hostname or "",)
    at_home = all(map(_is_loopback, listen))
    return Rules(
        settings.ports,
        hosts,
        lambda source: _may_bind(source, config.private_networks, at_home),
        settings.rate * MEGABIT,
        settings.idle,
        settings.pairs,
        settings.account_pairs,
        f"ws{public_url.removeprefix('http')}{PATH}",
    )


def relay_key(secrets: Sequence[PrivateKey], hosts: Sequence[str]) -> bytes:
    """The same after a restart, and another for each relay of a cluster."""
    seed = b"".join(str(key.to_jwk()["d"]).encode() for key in secrets)
    return hmac.digest(seed, b"didmesh relay tickets\0" + "\0".join(hosts).encode(), "sha256")


def _may_bind(source: Address, private: Sequence[Network], at_home: bool) -> bool:
    """A relay must not become a way into the networks that its host stands in."""
    ip = ipaddress.ip_address(source.host.partition("%")[0])
    if any(ip in network for network in private) or (at_home and ip.is_loopback):
        return True
    special = ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local
    mapped = ip.version == 6 and ip.ipv4_mapped is not None
    if special or mapped or source.private or source.host == "255.255.255.255":
        return False
    return not is_of_this_host(ip)


def is_of_this_host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True


def _of_one_family_each(listen: Sequence[str]) -> tuple[str, ...]:
    if EVERY_IPV6 not in listen:
        return tuple(listen)
    return tuple(dict.fromkeys((*listen, EVERY_IPV4)))


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
