"""Everything that can be set, in one table: by flag, environment, file, or its default.

The flags of `mediator run`, its environment variables and the table in docs/operations.md
all come from SETTINGS. A flag goes before the environment, that before the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from mediator.settings import parsing
from mediator.settings.config import (
    DEFAULT_DRAIN,
    DEFAULT_RELAY_PORTS,
    DEFAULT_STUN_PORTS,
    RELAY_HELPER_SOCKET,
    Config,
    LogFormat,
)

PREFIX = "DIDMESH_MEDIATOR_"
FILE_VARIABLE = f"{PREFIX}CONFIG"
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Setting:
    name: str  # in the file; before a dot stands the name of its table
    parse: Callable[[object], Any]  # text, or what TOML has; raises ConfigError
    default: object
    metavar: str
    meaning: str
    shown_default: str | None = None  # where the default needs words
    flag_name: str | None = None  # where the flag is not the name
    many: bool = False  # a list: the flag is repeated, the variable has commas

    @property
    def flag(self) -> str:
        return self.flag_name or "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.replace(".", "_").upper()

    @property
    def key(self) -> str:
        """As an identifier."""
        return self.name.replace(".", "_")

    @property
    def default_words(self) -> str:
        if self.shown_default is not None:
            return self.shown_default
        if isinstance(self.default, tuple | list):
            return ", ".join(map(str, self.default))
        return str(self.default)


# Tables of the file: the fields of Config that are dataclasses of numbers and switches.
TABLES: Mapping[str, Any] = {
    f.name: f.default_factory for f in fields(Config) if is_dataclass(f.default_factory)
}


OTHERS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "relay.ports",
            parsing.port_range("relay.ports"),
            DEFAULT_RELAY_PORTS,
            "FIRST-LAST",
            "UDP ports, one for a pair",
            shown_default=f"{DEFAULT_RELAY_PORTS[0]}-{DEFAULT_RELAY_PORTS[-1]}",
        ),
        Setting(
            "relay.listen",
            parsing.addresses("relay.listen"),
            (),
            "ADDRESS",
            "addresses at which it relays UDP, such as 0.0.0.0 behind a proxy for HTTP",
            shown_default="the one it listens on",
            many=True,
        ),
        Setting(
            "relay.hosts",
            parsing.hosts("relay.hosts"),
            (),
            "HOST",
            "addresses or names of the relay as parties reach it",
            shown_default="the public URL's",
            many=True,
        ),
        Setting(
            "relay.helper",
            parsing.path("relay.helper"),
            RELAY_HELPER_SOCKET,
            "SOCKET",
            "where systemd listens for those that want a relay helper; else sudo is asked",
        ),
    )
}


def _of_tables() -> Iterator[Setting]:
    for table, kind in TABLES.items():
        for each in fields(kind):
            name, meaning = f"{table}.{each.name}", each.metadata.get("meaning")
            if meaning is None:  # neither a number nor a switch
                yield OTHERS[name]
                continue
            if isinstance(each.default, bool):
                words = str(each.default).lower()
                yield Setting(
                    name, parsing.switch(name), each.default, "true|false", meaning, words
                )
            else:
                yield Setting(name, parsing.positive(name), each.default, "N", meaning)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "listen",
        parsing.listen,
        ("127.0.0.1", 8080),
        "HOST:PORT",
        "where it listens for HTTP and WebSockets",
        shown_default="127.0.0.1:8080",
    ),
    Setting(
        "public_url",
        parsing.url,
        None,
        "URL",
        "how clients reach it, part of its DID; needed unless that is the address it listens on",
        shown_default="the address it listens on",
    ),
    Setting(
        "data",
        parsing.place,
        None,
        "FILE|URL",
        "its file, or postgresql://… for a database that several share: keys, accounts, queue",
        shown_default="~/.local/share/didmesh/mediator.db",
    ),
    Setting(
        "stun_ports",
        parsing.ports,
        DEFAULT_STUN_PORTS,
        "N",
        "UDP ports of its STUN service; two show a varying NAT, three which port it gives next",
        flag_name="--stun-port",
        many=True,
    ),
    Setting(
        "stun_addresses",
        parsing.addresses("stun_addresses"),
        (),
        "ADDRESS",
        "addresses of its STUN service, as this machine has them and as agents reach them; "
        "two of one family let agents measure what their NAT filters",
        shown_default="the one it listens on",
        flag_name="--stun-address",
        many=True,
    ),
    Setting(
        "tls_certificate",
        parsing.path("tls_certificate"),
        None,
        "FILE",
        "its own TLS certificate with intermediates (PEM), where no proxy stands before it",
        shown_default="none",
    ),
    Setting(
        "tls_key",
        parsing.path("tls_key"),
        None,
        "FILE",
        "the key of that certificate (PEM)",
        shown_default="none",
    ),
    Setting(
        "trusted_proxies",
        parsing.networks("trusted_proxies"),
        (),
        "NETWORK",
        "proxies whose X-Forwarded-For is believed, such as 127.0.0.1 or 10.0.0.0/8",
        shown_default="none",
        flag_name="--trusted-proxy",
        many=True,
    ),
    Setting(
        "private_networks",
        parsing.networks("private_networks"),
        (),
        "NETWORK",
        "private networks to which it may pass mail on and where a did:web may be looked up",
        shown_default="none",
        flag_name="--private-network",
        many=True,
    ),
    Setting(
        "pass_on",
        parsing.switch("pass_on"),
        True,
        "true|false",
        "whether it passes mail on to other mediators and to whoever takes it at home",
        shown_default="true",
    ),
    Setting(
        "metrics",
        parsing.metrics,
        ("127.0.0.1", 9464),
        "HOST:PORT",
        "where /metrics, /livez and /readyz are served for monitoring; `off` for nowhere",
        shown_default="127.0.0.1:9464",
    ),
    Setting(
        "drain",
        parsing.seconds("drain"),
        DEFAULT_DRAIN,
        "SECONDS",
        "time for requests under way when it is told to stop",
        shown_default=f"{DEFAULT_DRAIN:.0f}",
    ),
    Setting(
        "log_format",
        parsing.one_of("log_format", LogFormat),
        LogFormat.AUTO,
        "|".join(LogFormat),
        "`auto` is text on a terminal and a JSON object a line elsewhere",
    ),
    Setting(
        "log_level",
        parsing.one_of("log_level", LEVELS),
        "info",
        "|".join(LEVELS),
        "what is worth a line",
    ),
    *_of_tables(),
)


def markdown() -> str:
    """The table of docs/operations.md."""
    rows = [
        f"| `{s.name}` | `{s.flag}` | `{s.variable}` | {s.default_words} | {s.meaning} |"
        for s in SETTINGS
    ]
    head = "| in the file | flag | environment | default | meaning |\n|---|---|---|---|---|"
    return "\n".join([head, *rows]) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
