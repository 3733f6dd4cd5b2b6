"""`agent bundle`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import pwd
import tarfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from agent.commands.doctor import mediator_of
from agent.commands.netcheck import check_with
from agent.contacts import Contacts
from agent.doctor import judge, to_json
from agent.errors import AgentError, UsageMistake
from agent.examining import examine
from agent.output import json_option, print_json, remark
from agent.profile import Choice, profile_options
from agent.pseudonyms import Pseudonyms
from agent.running import running_sessions

VERSION = 1


@click.command(
    "bundle",
    epilog="""\b
Examples:
  agent bundle
  agent bundle --output report.tar.gz --json
  tar -xOf didmesh-bundle-*.tar.gz    (look at it before you send it)

DIDs, addresses, hosts, hashes, names of yours and of your contacts are replaced, each by the same
word throughout. Keys, inputs, results and messages are never put in, also not with --plain.""",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to make.")
@click.option("--plain", "as_it_is", is_flag=True, help="Replace nothing.")
@json_option
@profile_options
def command(choice: Choice, output: Path | None, as_it_is: bool, as_json: bool) -> None:
    """Put what a bug report needs into one archive, without who you are."""
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    path = output or Path(f"didmesh-bundle-{stamp}.tar.gz")
    remark("looking at machine and network; this takes up to ten seconds")
    found = asyncio.run(_collect(choice))
    if not as_it_is:
        hide = Pseudonyms(_names(choice)).hide
        found = {name: hide(value) for name, value in found.items()}
    _write(path, found, now)
    if as_json:
        print_json(
            {"version": VERSION, "file": str(path), "anonymous": not as_it_is, "holds": list(found)}
        )
    else:
        click.echo(str(path))


async def _collect(choice: Choice) -> dict[str, Any]:
    """Only what is named here goes in, so nothing secret can by mistake."""
    facts = await examine(choice.folder, mediator_of(choice))
    try:
        profile = choice.load() if choice.exists() else None
        network: Any = (await check_with(profile)).to_json()
    except AgentError as error:
        network = {"problem": str(error)}
    return {
        "about.json": {
            "version": VERSION,
            "didmesh": version("didmesh"),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME"),
            "machine": platform.machine(),
        },
        "doctor.json": to_json(judge(facts)),
        "netcheck.json": network,
        "sessions.json": [session.to_json() for session in running_sessions(choice.folder)],
    }


def _names(choice: Choice) -> Iterator[str]:
    """Words that tell who this is, beside those that any reader knows by their form."""
    entry = pwd.getpwuid(os.getuid()) if _is_known(os.getuid()) else None
    if entry is not None:
        yield from (entry.pw_name, entry.pw_dir, *entry.pw_gecos.split(","))
    yield from (platform.node(), str(choice.folder), choice.name)
    for contact in Contacts(choice.folder).all():
        yield contact.name


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _write(path: Path, files: Mapping[str, Any], now: float) -> None:
    """Readable by us alone; never over a file that is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageMistake(f"{path} exists already", "--output names another file") from None
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, value in files.items():
            data = json.dumps(value, indent=2).encode() + b"\n"
            entry = tarfile.TarInfo(f"didmesh-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now), 0o600
            archive.addfile(entry, io.BytesIO(data))
