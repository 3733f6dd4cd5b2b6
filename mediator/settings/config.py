"""What a mediator is run with; read once by `loading.load`, below that arguments."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from mediator.errors import ConfigError
from mediator.settings.places import Place
from messaging.compat import Leniency

MIB = 1024 * 1024
DEFAULT_STUN_PORTS = (3478, 3479, 3480)
DEFAULT_DRAIN = 10.0
DEFAULT_RELAY_PORTS = range(41_000, 41_256)
RELAY_HELPER_SOCKET = Path("/run/didmesh/relay-helper.sock")  # where systemd may listen for us

Network = IPv4Network | IPv6Network


def limit(default: int, meaning: str) -> int:
    """A field of Limits or RelaySettings; `meaning` is what operators read of it, unit included."""
    value: int = field(default=default, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Limits:
    """Where the mediator stops; everything over a limit is refused with an error."""

    envelope: int = limit(1 * MIB, "bytes of a request, and of what is sent in answer")
    lifetime: int = limit(7 * 24 * 3600, "seconds a message is kept at most")
    inbox_messages: int = limit(1_000, "messages that wait for one recipient")
    inbox_bytes: int = limit(64 * MIB, "bytes that wait for one recipient")
    sender_messages: int = limit(100, "messages of one known sender that wait for one recipient")
    delivery_messages: int = limit(100, "messages in one delivery")
    recipients: int = limit(1_000, "DIDs bound to one account")
    address_rate: int = limit(200, "messages a second from one address, over time")
    address_burst: int = limit(2_000, "messages at once from one address")
    account_rate: int = limit(100, "messages a second of one proven sender, over time")
    account_burst: int = limit(1_000, "messages at once of one proven sender")
    pair_rate: int = limit(20, "forwards a second of one sender to one recipient, over time")
    pair_burst: int = limit(200, "forwards at once of one sender to one recipient")
    connections: int = limit(10_000, "connections at once, WebSockets among them")
    address_connections: int = limit(500, "connections at once from one address")
    account_sockets: int = limit(16, "WebSockets with live delivery to one account")
    buffered: int = limit(128 * MIB, "bytes held for messages that are not whole or not read yet")

    def __post_init__(self) -> None:
        if not 128 * 1024 <= self.envelope <= MIB:
            raise ConfigError(
                "limit envelope is between 128 KiB and 1 MiB, which every client reads"
            )

    @property
    def delivery_bytes(self) -> int:
        """Envelopes that fit into one delivery, which grows by a third when it is sealed.

        What is kept free holds a hundred attachments' members and the longest DIDs.
        """
        return (self.envelope - 64 * 1024) * 3 // 4


def switch(default: bool, meaning: str) -> bool:
    """A field of a table; `meaning` is what operators read of it."""
    value: bool = field(default=default, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Compat:
    """Which deviating clients are served; docs/decisions/compatibility.md weighs each switch."""

    draft_3_authcrypt: bool = switch(True, "authcrypt of ECDH-1PU draft 3, answered alike: Veramo")
    missing_apv: bool = switch(True, "anoncrypt without `apv`: Veramo")
    recipient_epk: bool = switch(True, "anoncrypt with `epk` beside each `kid`: didcomm-messaging")
    legacy_key_ids: bool = switch(
        True, "answers under a did:peer:2's old key ids to who uses them: peerdid, early Identus"
    )
    bound_by_request: bool = switch(
        True, "a mediate-request 2.0 binds the DID that asks: Veramo's 2.0 has no keylist"
    )
    assumed_return_route: bool = switch(
        True, "answers on the same exchange without `return_route`: didcomm-demo, Veramo"
    )

    @property
    def leniency(self) -> Leniency:
        return Leniency(
            self.draft_3_authcrypt, self.missing_apv, self.recipient_epk, self.legacy_key_ids
        )


@dataclass(frozen=True)
class Conformance:
    """What a public test suite wants against the specs, or tells strangers more than they need."""

    report_unknown_recipients: bool = switch(
        False, "tell whoever forwards mail for a DID that nobody registered, strangers too"
    )
    deny_second_request: bool = switch(False, "deny mediation to whoever has it already")
    basic_messages: bool = switch(False, "hear basicmessage 2.0; report one without content")


@dataclass(frozen=True)
class RelaySettings:
    """Passing WireGuard's datagrams on between parties who find no direct path."""

    enabled: bool = switch(True, "pass datagrams on for accounts and whom they compute with")
    kernel: bool = switch(True, "let the kernel do it, where the relay helper can be started")
    rate: int = limit(100, "megabits a second of each direction of a pair")
    idle: int = limit(120, "seconds without a sign of life until a pair is forgotten")
    pairs: int = limit(256, "pairs at once")
    account_pairs: int = limit(64, "pairs at once of one account")
    ports: range = DEFAULT_RELAY_PORTS  # UDP, one for a pair
    listen: tuple[str, ...] = ()  # addresses; none: the one of HTTP
    hosts: tuple[str, ...] = ()  # addresses or names; none: the public URL's
    helper: Path = RELAY_HELPER_SOCKET


class LogFormat(StrEnum):
    AUTO = "auto"  # text on a terminal, JSON elsewhere
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True)
class Tls:
    """The mediator's own certificate; both files are read again on SIGHUP."""

    certificate: Path  # PEM, with the intermediate certificates
    key: Path


@dataclass(frozen=True)
class Config:
    data: Place
    host: str
    port: int  # 0: any
    public_url: str | None = None  # None: http at the address it listens on
    stun_ports: tuple[int, ...] = DEFAULT_STUN_PORTS  # UDP; 0: any
    stun_addresses: tuple[str, ...] = ()  # none: `host`
    limits: Limits = field(default_factory=Limits)
    compat: Compat = field(default_factory=Compat)
    conformance: Conformance = field(default_factory=Conformance)
    relay: RelaySettings = field(default_factory=RelaySettings)
    tls: Tls | None = None
    trusted_proxies: Sequence[Network] = ()  # whose X-Forwarded-For is believed
    private_networks: Sequence[Network] = ()  # where mail may be carried, beside the internet
    pass_on: bool = True  # mail for other mediators, and for whoever takes it at home
    metrics: tuple[str, int] | None = None  # where /metrics is served; None: nowhere
    drain: float = DEFAULT_DRAIN  # seconds for requests under way when it stops
    log_format: LogFormat = LogFormat.AUTO
    log_level: str = "info"


def default_data() -> Path:
    home = os.environ.get("DIDMESH_HOME")
    if home is None:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        home = str(Path(base) / "didmesh")
    return Path(home) / "mediator.db"
