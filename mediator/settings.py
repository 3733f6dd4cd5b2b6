"""Everything that can be set, in one table: by flag, environment, file, or its default.

The flags of `mediator run`, its environment variables and the table in docs/operations.md
all come from SETTINGS. A flag goes before the environment, that before the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mediator.config import (
    DEFAULT_DRAIN,
    DEFAULT_STUN_PORTS,
    Config,
    LogFormat,
    Network,
    Tls,
    default_data,
)
from mediator.errors import ConfigError
from mediator.stores.places import Place, parse_place

PREFIX = "DIDMESH_MEDIATOR_"
FILE_VARIABLE = f"{PREFIX}CONFIG"
OFF = "off"
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


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """The configuration of a run; `flags` are by `Setting.key`, those that are None not given.

    Raises: ConfigError, naming the setting at fault.
    """
    chosen = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    in_file = _flat(_read(chosen)) if chosen else {}
    _refuse_unknown(in_file, environment)
    return _config(
        {setting.name: _value(setting, flags or {}, environment, in_file) for setting in SETTINGS}
    )


def _refuse_unknown(in_file: Mapping[str, object], environment: Mapping[str, str]) -> None:
    for name in in_file.keys() - {setting.name for setting in SETTINGS}:
        raise ConfigError(f"unknown setting {name}")
    known = {FILE_VARIABLE, *(setting.variable for setting in SETTINGS)}
    for variable in environment.keys() - known:
        if variable.startswith(PREFIX):
            raise ConfigError(f"unknown setting {variable} in the environment")


def _value(
    setting: Setting,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    in_file: Mapping[str, object],
) -> Any:
    flag = flags.get(setting.key)
    if flag is not None and not (setting.many and not flag):
        return setting.parse(flag)
    text = environment.get(setting.variable)
    if text is not None:
        return setting.parse(text)
    if setting.name in in_file:
        return setting.parse(in_file[setting.name])
    return setting.default


def _config(values: Mapping[str, Any]) -> Config:
    host, port = values["listen"]
    public_url, tls = values["public_url"], _tls(values)
    if public_url is None and host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        raise ConfigError(
            f"clients cannot reach {host}", hint="add --public-url with the address they will use"
        )
    tables: dict[str, Any] = {
        table: kind(**{f.name: values[f"{table}.{f.name}"] for f in fields(kind)})
        for table, kind in TABLES.items()
    }
    return Config(
        data=values["data"] or default_data(),
        host=host,
        port=port,
        public_url=public_url,
        stun_ports=values["stun_ports"],
        tls=tls,
        trusted_proxies=values["trusted_proxies"],
        private_networks=values["private_networks"],
        metrics=values["metrics"],
        drain=values["drain"],
        log_format=values["log_format"],
        log_level=values["log_level"],
        **tables,
    )


def _tls(values: Mapping[str, Any]) -> Tls | None:
    certificate, key = values["tls_certificate"], values["tls_key"]
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("tls_certificate and tls_key go together")
    return Tls(certificate, key)


# The file


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _flat(settings: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if name not in TABLES:
            flat[name] = value
        elif isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            raise ConfigError(f"{name} is a table")
    return flat


# Parsing: of text, or of what TOML has


def _listen(value: object) -> tuple[str, int]:
    host, colon, port = str(value).rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(f"listen is HOST:PORT, not {value}")
    return host.strip("[]"), _port(port)


def _metrics(value: object) -> tuple[str, int] | None:
    if value == OFF:
        return None
    try:
        return _listen(value)
    except ConfigError as error:
        raise ConfigError(f"metrics is HOST:PORT or off, not {value}") from error


def _ports(value: object) -> tuple[int, ...]:
    return tuple(_port(port) for port in _list("stun_ports", "ports", value))


def _port(value: object) -> int:
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError(f"{value} is not a port")
    return number


def _path(name: str) -> Callable[[object], Path]:
    def parse(value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ConfigError(f"{name} is the path of a file, not {value}")
        return Path(value)

    return parse


def _place(value: object) -> Place:
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"data is the path of a file or a URL, not {value}")
    return parse_place(value)


def _url(value: object) -> str:
    try:
        parts = urlsplit(str(value))
    except ValueError as error:
        raise ConfigError(f"public_url is http://… or https://…, not {value}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"public_url is http://… or https://…, not {value}")
    if parts.query or parts.fragment or parts.username:
        raise ConfigError("public_url is scheme, host and path only")
    return str(value).rstrip("/")


def _networks(name: str) -> Callable[[object], tuple[Network, ...]]:
    def parse_one(each: object) -> Network:
        try:
            return ip_network(str(each))
        except ValueError as error:
            raise ConfigError(f"{name} are addresses or networks, not {each}") from error

    def parse(value: object) -> tuple[Network, ...]:
        return tuple(map(parse_one, _list(name, "addresses or networks", value)))

    return parse


def _list(name: str, of: str, value: object) -> list[object]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} is a list of {of}")
    return list(value)


def _seconds(name: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            seconds = float(value) if isinstance(value, int | float | str) else -1.0
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 3600:
            raise ConfigError(f"{name} is a number of seconds up to 3600, not {value}")
        return seconds

    return parse


def _one_of(name: str, words: type[LogFormat] | tuple[str, ...]) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        if value not in tuple(words):
            raise ConfigError(f"{name} is one of {', '.join(words)}, not {value}")
        return LogFormat(value) if words is LogFormat else value

    return parse


def _positive(name: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} is a positive whole number, not {value}")
        return value

    return parse


def _switch(name: str) -> Callable[[object], bool]:
    def parse(value: object) -> bool:
        if value in ("true", "false"):
            return value == "true"
        if not isinstance(value, bool):
            raise ConfigError(f"{name} is true or false, not {value}")
        return value

    return parse


# The table

# Tables of the file: the fields of Config that are dataclasses of numbers and switches.
TABLES: Mapping[str, Any] = {
    f.name: f.default_factory for f in fields(Config) if is_dataclass(f.default_factory)
}


def _of_tables() -> Iterator[Setting]:
    for table, kind in TABLES.items():
        for each in fields(kind):
            name, meaning = f"{table}.{each.name}", each.metadata["meaning"]
            if isinstance(each.default, bool):
                words = str(each.default).lower()
                yield Setting(name, _switch(name), each.default, "true|false", meaning, words)
            else:
                yield Setting(name, _positive(name), each.default, "N", meaning)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "listen",
        _listen,
        ("127.0.0.1", 8080),
        "HOST:PORT",
        "where it listens for HTTP and WebSockets",
        shown_default="127.0.0.1:8080",
    ),
    Setting(
        "public_url",
        _url,
        None,
        "URL",
        "how clients reach it, part of its DID; needed unless that is the address it listens on",
        shown_default="the address it listens on",
    ),
    Setting(
        "data",
        _place,
        None,
        "FILE|URL",
        "its file, or postgresql://… for a database that several share: keys, accounts, queue",
        shown_default="~/.local/share/didmesh/mediator.db",
    ),
    Setting(
        "stun_ports",
        _ports,
        DEFAULT_STUN_PORTS,
        "N",
        "UDP ports of its STUN service, two of them",
        flag_name="--stun-port",
        many=True,
    ),
    Setting(
        "tls_certificate",
        _path("tls_certificate"),
        None,
        "FILE",
        "its own TLS certificate with intermediates (PEM), where no proxy stands before it",
        shown_default="none",
    ),
    Setting(
        "tls_key",
        _path("tls_key"),
        None,
        "FILE",
        "the key of that certificate (PEM)",
        shown_default="none",
    ),
    Setting(
        "trusted_proxies",
        _networks("trusted_proxies"),
        (),
        "NETWORK",
        "proxies whose X-Forwarded-For is believed, such as 127.0.0.1 or 10.0.0.0/8",
        shown_default="none",
        flag_name="--trusted-proxy",
        many=True,
    ),
    Setting(
        "private_networks",
        _networks("private_networks"),
        (),
        "NETWORK",
        "private networks to which it may pass mail on and where a did:web may be looked up",
        shown_default="none",
        flag_name="--private-network",
        many=True,
    ),
    Setting(
        "metrics",
        _metrics,
        ("127.0.0.1", 9464),
        "HOST:PORT",
        "where /metrics, /livez and /readyz are served for monitoring; `off` for nowhere",
        shown_default="127.0.0.1:9464",
    ),
    Setting(
        "drain",
        _seconds("drain"),
        DEFAULT_DRAIN,
        "SECONDS",
        "time for requests under way when it is told to stop",
        shown_default=f"{DEFAULT_DRAIN:.0f}",
    ),
    Setting(
        "log_format",
        _one_of("log_format", LogFormat),
        LogFormat.AUTO,
        "|".join(LogFormat),
        "`auto` is text on a terminal and a JSON object a line elsewhere",
    ),
    Setting(
        "log_level", _one_of("log_level", LEVELS), "info", "|".join(LEVELS), "what is worth a line"
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
