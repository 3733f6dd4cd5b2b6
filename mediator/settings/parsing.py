"""What a setting's value means: of text, or of what TOML has. Each raises ConfigError."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mediator.errors import ConfigError
from mediator.settings.config import LogFormat, Network
from mediator.settings.places import Place, parse_place
from traversal.relay import BadTicket, check_hosts

OFF = "off"


def listen(value: object) -> tuple[str, int]:
    host, colon, port = str(value).rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(f"listen is HOST:PORT, not {value}")
    return host.strip("[]"), _port(port)


def metrics(value: object) -> tuple[str, int] | None:
    if value == OFF:
        return None
    try:
        return listen(value)
    except ConfigError as error:
        raise ConfigError(f"metrics is HOST:PORT or off, not {value}") from error


def ports(value: object) -> tuple[int, ...]:
    return tuple(_port(port) for port in _list("stun_ports", "ports", value))


def port_range(name: str) -> Callable[[object], range]:
    def parse(value: object) -> range:
        first, dash, last = str(value).partition("-")
        if not dash or not first.isdecimal() or not last.isdecimal():
            raise ConfigError(f"{name} is FIRST-LAST, not {value}")
        if not 1024 <= int(first) <= int(last) <= 65535 or int(last) - int(first) >= 4096:
            raise ConfigError(f"{name} are at most 4096 ports from 1024 to 65535, not {value}")
        return range(int(first), int(last) + 1)

    return parse


def _port(value: object) -> int:
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError(f"{value} is not a port")
    return number


def path(name: str) -> Callable[[object], Path]:
    def parse(value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ConfigError(f"{name} is the path of a file, not {value}")
        return Path(value)

    return parse


def place(value: object) -> Place:
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"data is the path of a file or a URL, not {value}")
    return parse_place(value)


def url(value: object) -> str:
    try:
        parts = urlsplit(str(value))
    except ValueError as error:
        raise ConfigError(f"public_url is http://… or https://…, not {value}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"public_url is http://… or https://…, not {value}")
    if parts.query or parts.fragment or parts.username:
        raise ConfigError("public_url is scheme, host and path only")
    return str(value).rstrip("/")


def networks(name: str) -> Callable[[object], tuple[Network, ...]]:
    def parse_one(each: object) -> Network:
        try:
            return ip_network(str(each))
        except ValueError as error:
            raise ConfigError(f"{name} are addresses or networks, not {each}") from error

    def parse(value: object) -> tuple[Network, ...]:
        return tuple(map(parse_one, _list(name, "addresses or networks", value)))

    return parse


def addresses(name: str) -> Callable[[object], tuple[str, ...]]:
    def parse_one(each: object) -> str:
        try:
            return str(ip_address(str(each)))
        except ValueError as error:
            raise ConfigError(f"{name} are IP addresses, not {each}") from error

    return lambda value: tuple(map(parse_one, _list(name, "addresses", value)))


def hosts(name: str) -> Callable[[object], tuple[str, ...]]:
    def parse(value: object) -> tuple[str, ...]:
        try:
            return check_hosts(_list(name, "addresses or names", value), literal=False)
        except BadTicket as error:
            raise ConfigError(f"{name} are addresses or names: {error}") from error

    return parse


def _list(name: str, of: str, value: object) -> list[object]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} is a list of {of}")
    return list(value)


def seconds(name: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            seconds = float(value) if isinstance(value, int | float | str) else -1.0
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 3600:
            raise ConfigError(f"{name} is a number of seconds up to 3600, not {value}")
        return seconds

    return parse


def one_of(name: str, words: type[LogFormat] | tuple[str, ...]) -> Callable[[object], Any]:
    def parse(value: object) -> Any:
        if value not in tuple(words):
            raise ConfigError(f"{name} is one of {', '.join(words)}, not {value}")
        return LogFormat(value) if words is LogFormat else value

    return parse


def positive(name: str) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} is a positive whole number, not {value}")
        return value

    return parse


def switch(name: str) -> Callable[[object], bool]:
    def parse(value: object) -> bool:
        if value in ("true", "false"):
            return value == "true"
        if not isinstance(value, bool):
            raise ConfigError(f"{name} is true or false, not {value}")
        return value

    return parse
