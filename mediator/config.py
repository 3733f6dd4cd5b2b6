"""What can be set, read once from a TOML file and flags; below this, arguments."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mediator.errors import ConfigError

MIB = 1024 * 1024
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_STUN_PORTS = (3478, 3479)


@dataclass(frozen=True)
class Limits:
    """Where the mediator stops; everything over a limit is refused with an error."""

    envelope: int = 1 * MIB  # bytes of a request, and of what is sent in answer
    lifetime: int = 7 * 24 * 3600  # seconds a message is kept at most
    inbox_messages: int = 1_000  # that wait for one recipient
    inbox_bytes: int = 64 * MIB
    sender_messages: int = 100  # of one known sender that wait for one recipient
    delivery_messages: int = 100  # in one delivery
    recipients: int = 1_000  # DIDs bound to one account

    @property
    def delivery_bytes(self) -> int:
        """Envelopes that fit into one delivery, which grows by a third when it is sealed.

        What is kept free holds a hundred attachments' members and the longest DIDs.
        """
        return (self.envelope - 64 * 1024) * 3 // 4


@dataclass(frozen=True)
class Config:
    data: Path
    host: str
    port: int  # 0: any
    public_url: str | None = None  # None: http at the address it listens on
    stun_ports: tuple[int, ...] = DEFAULT_STUN_PORTS  # UDP; 0: any
    limits: Limits = field(default_factory=Limits)


def load(file: Path | None, flags: Mapping[str, Any]) -> Config:
    """The configuration of a run: flags that are not None, else the file, else defaults.

    Raises: ConfigError, naming the setting at fault.
    """
    settings = {
        **(_read(file) if file else {}),
        **{k: v for k, v in flags.items() if v is not None},
    }
    unknown = settings.keys() - {"listen", "public_url", "data", "stun_ports", "limits"}
    if unknown:
        raise ConfigError(f"unknown setting {sorted(unknown)[0]}")
    host, port = _listen(settings.get("listen", DEFAULT_LISTEN))
    public_url = settings.get("public_url")
    if public_url is None and host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        raise ConfigError(
            f"clients cannot reach {host}", hint="add --public-url with the address they will use"
        )
    return Config(
        data=_path(settings["data"]) if "data" in settings else default_data(),
        host=host,
        port=port,
        public_url=None if public_url is None else _url(public_url),
        stun_ports=_ports(settings.get("stun_ports", DEFAULT_STUN_PORTS)),
        limits=_limits(settings.get("limits", {})),
    )


def default_data() -> Path:
    home = os.environ.get("DIDMESH_HOME")
    if home is None:
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        home = str(Path(base) / "didmesh")
    return Path(home) / "mediator.db"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _listen(text: object) -> tuple[str, int]:
    host, colon, port = str(text).rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(f"listen is HOST:PORT, not {text}")
    return host.strip("[]"), _port(int(port))


def _ports(numbers: object) -> tuple[int, ...]:
    if not isinstance(numbers, list | tuple):
        raise ConfigError("stun_ports is a list of ports")
    return tuple(_port(number) for number in numbers)


def _port(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number <= 65535:
        raise ConfigError(f"{number} is not a port")
    return number


def _path(text: object) -> Path:
    if not isinstance(text, str | Path):
        raise ConfigError(f"data is the path of a file, not {text}")
    return Path(text)


def _url(text: object) -> str:
    parts = urlsplit(str(text))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"public_url is http://… or https://…, not {text}")
    if parts.query or parts.fragment or parts.username:
        raise ConfigError("public_url is scheme, host and path only")
    return str(text).rstrip("/")


def _limits(settings: object) -> Limits:
    if not isinstance(settings, dict):
        raise ConfigError("limits is a table")
    names = {f.name for f in fields(Limits)}
    for name, value in settings.items():
        if name not in names:
            raise ConfigError(f"unknown limit {name}")
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"limit {name} is a positive whole number, not {value}")
    limits = Limits(**settings)
    if not 128 * 1024 <= limits.envelope <= MIB:
        raise ConfigError("limit envelope is between 128 KiB and 1 MiB, which every client reads")
    return limits
