"""Sockets that a mediator listens on, and how it stops: no new ones, the rest within a set time."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from mediator.entrance.connections import GuardedServer
from mediator.entrance.stun_server import StunServer
from mediator.entrance.web import Web, limited_request
from mediator.errors import CannotListen
from mediator.settings.config import Config, Tls
from resolvers.guarded import IPAddress

BACKLOG = 1024
CUT = 0.5  # seconds for who is not done when the time is over


def listen(host: str, port: int, flag: str = "--listen") -> socket.socket:
    """`::` is every address of both families. Raises: CannotListen."""
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=host == "::",
        )
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {_words(error)}", f"choose another with {flag}"
        ) from error


def url_of(listener: socket.socket, *, secure: bool) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if secure else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_own(listener: socket.socket) -> Callable[[IPAddress, int], bool]:
    """Whether an address is the one we listen on; of a wildcard, any that this host has."""
    host, port = listener.getsockname()[:2]
    ours = ipaddress.ip_address(host)

    def check(address: IPAddress, at: int) -> bool:
        if at != port:
            return False
        return address == ours or (ours.is_unspecified and _is_of_this_host(address))

    return check


class Certificate:
    """The mediator's own certificate; renewed ones are taken up without a restart."""

    def __init__(self, files: Tls) -> None:
        """Raises: CannotListen."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._files = files
        self.read()

    def read(self) -> None:
        """Read both files; connections made from here on get what they say.

        Raises: CannotListen; what was read before goes on being used.
        """
        certificate, key = self._files.certificate, self._files.key
        try:
            # First into a context of its own: a key that does not fit must not spoil this one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                certificate, key, _no_passphrase
            )
            self.context.load_cert_chain(certificate, key, _no_passphrase)
        except OSError as error:  # ssl.SSLError among them
            raise CannotListen(
                f"cannot use the certificate {certificate} with the key {key}: {_words(error)}",
                "both are PEM files that this user may read, the key without a passphrase",
            ) from error


@contextlib.asynccontextmanager
async def serving(
    door: Web, listener: socket.socket, config: Config, certificate: Certificate | None
) -> AsyncIterator[None]:
    """Serves until the block is left; then finishes what is under way, `config.drain` at most."""
    server = GuardedServer(
        door.handle, door.guard, request_factory=limited_request(config.limits.envelope)
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=CUT)
    await runner.setup()
    context = None if certificate is None else certificate.context
    site = web.SockSite(runner, listener, backlog=BACKLOG, ssl_context=context)
    try:
        await site.start()
        async with server.sweeping():
            yield
    finally:
        await site.stop()
        await door.drain(config.drain)  # before the runner ends: it would read no more bodies
        await runner.cleanup()


@contextlib.asynccontextmanager
async def stun_serving(
    hosts: tuple[str, ...], ports: tuple[int, ...]
) -> AsyncIterator[tuple[int, ...]]:
    """Yields the ports as bound. Raises: CannotListen."""
    server = StunServer()
    try:
        await server.start(hosts, ports)
    except OSError as error:
        words = " and ".join(map(str, ports))
        raise CannotListen(
            f"cannot listen on UDP {', '.join(hosts)}, ports {words}: {_words(error)}",
            "choose others with --stun-port",
        ) from error
    try:
        yield server.ports
    finally:
        server.close()


def _no_passphrase() -> str:
    """Or OpenSSL asks for one on a terminal that nobody watches."""
    return ""


def _words(error: OSError) -> str:
    """The system's, without what the library that asked adds."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    words = error.strerror or str(error)  # of a name that does not resolve
    return words.partition(" (while")[0].lower()


def _is_of_this_host(address: IPAddress) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
