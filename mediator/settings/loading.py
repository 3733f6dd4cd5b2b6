"""From flags, environment and file to one Config; what is unknown is refused."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mediator.errors import ConfigError
from mediator.settings.config import Config, Tls, default_data
from mediator.settings.table import FILE_VARIABLE, PREFIX, SETTINGS, TABLES, Setting


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
        stun_addresses=values["stun_addresses"],
        tls=tls,
        trusted_proxies=values["trusted_proxies"],
        private_networks=values["private_networks"],
        pass_on=values["pass_on"],
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
