"""What can be set, where, and what goes before what."""

from __future__ import annotations

import dataclasses
import re
from ipaddress import ip_network
from pathlib import Path

import click
import pytest

from mediator.commands.run import command
from mediator.errors import ConfigError
from mediator.settings.config import Config, LogFormat, Tls
from mediator.settings.loading import load
from mediator.settings.table import SETTINGS, Setting, markdown

ROOT = Path(__file__).parents[3]

# For each setting but the limits: a text that is allowed, and what the configuration then has.
EXAMPLES: dict[str, tuple[str, str, object]] = {
    "listen": ("[::1]:2", "host", "::1"),
    "public_url": ("https://x/", "public_url", "https://x"),
    "data": ("here.db", "data", Path("here.db")),
    "stun_ports": ("5,6", "stun_ports", (5, 6)),
    "stun_addresses": ("192.0.2.1,192.0.2.2", "stun_addresses", ("192.0.2.1", "192.0.2.2")),
    "tls_certificate": ("c.pem", "tls", Tls(Path("c.pem"), Path("k.pem"))),
    "tls_key": ("k.pem", "tls", Tls(Path("c.pem"), Path("k.pem"))),
    "trusted_proxies": ("10.0.0.0/8", "trusted_proxies", (ip_network("10.0.0.0/8"),)),
    "private_networks": ("10.0.0.0/8", "private_networks", (ip_network("10.0.0.0/8"),)),
    "metrics": ("off", "metrics", None),
    "pass_on": ("false", "pass_on", False),
    "drain": ("2.5", "drain", 2.5),
    "log_format": ("json", "log_format", LogFormat.JSON),
    "log_level": ("debug", "log_level", "debug"),
    "relay.ports": ("5000-5009", "ports", range(5000, 5010)),
    "relay.listen": ("0.0.0.0,::", "listen", ("0.0.0.0", "::")),
    "relay.hosts": ("relay.example,192.0.2.1", "hosts", ("relay.example", "192.0.2.1")),
    "relay.helper": ("/run/x.sock", "helper", Path("/run/x.sock")),
}
TOGETHER = {"tls_certificate": {"tls_key": "k.pem"}, "tls_key": {"tls_certificate": "c.pem"}}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_setting_can_be_a_flag_a_variable_or_in_the_file(
    setting: Setting, tmp_path: Path
) -> None:
    text, field, expected = example(setting)
    others = TOGETHER.get(setting.name, {})
    by_name = {s.name: s for s in SETTINGS}
    file = tmp_path / "mediator.toml"
    table, _, name = setting.name.rpartition(".")
    head = f"[{table}]\n" if table else ""
    lines = [f'{n} = "{t}"\n' for n, t in {**others, name: text}.items()]
    file.write_text(head + "".join(lines))
    ways = [
        load(file, {}, {}),
        load(None, {by_name[n].key: t for n, t in {**others, setting.name: text}.items()}, {}),
        load(None, {}, {by_name[n].variable: t for n, t in {**others, setting.name: text}.items()}),
    ]
    for config in ways:
        value = getattr(getattr(config, table) if table else config, field)
        assert value == expected


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_mediator_run_has_a_flag_for_every_setting(setting: Setting) -> None:
    flags = {flag for p in command.params if isinstance(p, click.Option) for flag in p.opts}
    assert setting.flag in flags


@pytest.mark.parametrize("table", ["limits", "compat", "relay"])
def test_every_limit_and_switch_is_a_setting_and_says_what_it_means(table: str) -> None:
    config = Config(Path("x"), "x", 0)
    assert {f"{table}.{f.name}" for f in dataclasses.fields(getattr(config, table))} == {
        s.name for s in SETTINGS if s.name.startswith(f"{table}.")
    }
    assert all(setting.meaning for setting in SETTINGS)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mediator.toml"
    file.write_text('listen = "127.0.0.1:1"\ndata = "file.db"\ndrain = 1\n')
    environment = {"DIDMESH_MEDIATOR_LISTEN": "127.0.0.1:2", "DIDMESH_MEDIATOR_DATA": "env.db"}
    config = load(file, {"listen": "127.0.0.1:3", "data": None}, environment)
    assert (config.port, config.data, config.drain) == (3, Path("env.db"), 1.0)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mediator.toml"
    file.write_text("drain = 3\n")
    assert load(None, {}, {"DIDMESH_MEDIATOR_CONFIG": str(file)}).drain == 3


def test_what_is_not_set_has_its_default() -> None:
    config = load(None, {"data": "x"}, {})
    assert config == Config(Path("x"), "127.0.0.1", 8080, metrics=("127.0.0.1", 9464))


@pytest.mark.parametrize(
    "text",
    [
        "lisen = 'x'",
        "listen = ",
        "[limits]\nnonsense = 1",
        "[limits]\nenvelope = 0",
        "[limits]\nenvelope = true",
        "limits = 3",
        "[limits]\nenvelope = 2000000",
        "stun_ports = 3",
        "stun_ports = [1.5]",
        "data = 3",
        "drain = -1",
        "log_format = 'xml'",
        "log_level = 'loud'",
        "trusted_proxies = ['proxy.example']",
        "metrics = 'here'",
        "tls_key = 'k.pem'",
    ],
)
def test_a_mistake_in_the_file_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mediator.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file, {}, {})


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(ConfigError, match="DIDMESH_MEDIATOR_LISEN"):
        load(None, {}, {"DIDMESH_MEDIATOR_LISEN": "x"})


def test_the_table_in_the_documentation_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    found = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", page, re.DOTALL)
    assert found, "docs/operations.md has no table of settings"
    assert found[1] == markdown(), "scripts/settings-table writes the table of today"


def example(setting: Setting) -> tuple[str, str, object]:
    _, dot, field = setting.name.partition(".")
    if dot and isinstance(setting.default, bool):
        return str(not setting.default).lower(), field, not setting.default
    if dot and setting.name in EXAMPLES:
        return EXAMPLES[setting.name][0], field, EXAMPLES[setting.name][2]
    if dot:
        return "200000", field, 200_000
    return EXAMPLES[setting.name]
