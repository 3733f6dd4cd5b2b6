"""Options that several commands have, made of the table of settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mediator.settings.table import FILE_VARIABLE, SETTINGS, Setting

_F = TypeVar("_F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"TOML file with settings.  [${FILE_VARIABLE}]",
)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def setting_options(command: _F) -> _F:
    """Every setting as a flag, --config before them; those of tables are not in the help."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return config_option(command)


def store_options(command: _F) -> _F:
    """Which mediator is meant: --data, or what the configuration says."""
    [data] = [setting for setting in SETTINGS if setting.name == "data"]
    return config_option(_option(data)(command))


def _option(setting: Setting) -> Callable[[_F], _F]:
    return click.option(
        setting.flag,
        setting.key,
        metavar=setting.metavar,
        multiple=setting.many,
        hidden="." in setting.name,
        help=f"{setting.meaning[0].upper()}{setting.meaning[1:]}.  [{setting.default_words}]",
    )
