"""Looks up what `agent.doctor` judges: every fact by trying it, and nothing is changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agent.doctor import Facts
from agent.errors import AgentError, MailboxError
from agent.mail.transport import Transport
from agent.network_helper.client import HELPER_SOCKET, NetworkHelper
from agent.privileges import NoOrdinaryUser, ordinary_user
from agent.rootless.probe import find_obstacle
from agent.sandboxing import find_sandbox
from agent.wireguard.program import find_wireguard_go, version_of
from identity.errors import IdentityError
from resolvers.registry import default_registry
from resolvers.resolver import ResolutionError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # where the network helper looks
TOOLS = ("ip", "wg", "bwrap")
MODULES = ("modules.builtin", "modules.dep")
SECONDS = 10.0


class _Mediator(NamedTuple):
    url: str | None = None
    problem: str | None = None
    skew: float | None = None


async def examine(folder: Path, mediator: str | None) -> Facts:
    """`folder` is $DIDMESH_HOME, `mediator` a DID. Takes a second or two."""
    (privilege, problem), found = await asyncio.gather(_privilege(), _ask_mediator(mediator))
    tools = frozenset(name for name in TOOLS if shutil.which(name, path=PATH))
    program = find_wireguard_go(PATH)
    return Facts(
        privilege=privilege,
        privilege_problem=problem,
        rootless_problem=await asyncio.to_thread(_rootless_problem),
        kernel_wireguard=_kernel_wireguard(),
        tools=tools,
        wireguard_go=program is not None,
        wireguard_go_version=None if program is None else version_of(program),
        tun=_is_there("/dev/net/tun"),
        user_namespaces=_succeeds("unshare", "--user", "--map-root-user", "true"),
        bubblewrap=await asyncio.to_thread(_bubblewrap),
        mediator=found.url,
        mediator_problem=found.problem,
        skew=found.skew,
        input_policy=_input_policy() if os.geteuid() == 0 else None,
        modes=_modes(folder),
    )


async def _privilege() -> tuple[str | None, str | None]:
    """By what the helper was really started, or why it was not."""
    way, user = "sudo", None
    try:
        if os.geteuid() == 0:
            way, user = "root", ordinary_user(os.environ)
        elif HELPER_SOCKET.exists():
            way = "systemd"
        async with asyncio.timeout(SECONDS), NetworkHelper.start(user):
            return way, None
    except NoOrdinaryUser as error:
        return None, str(error)
    except TimeoutError:
        return None, f"{way} does not answer"
    except AgentError as error:
        return None, str(error).partition(": ")[2] or str(error)


def _rootless_problem() -> str | None:
    if os.geteuid() == 0:
        return "root has no use for it"
    obstacle = find_obstacle()
    return None if obstacle is None else f"{obstacle.reason}: {obstacle.change}"


async def _ask_mediator(did: str | None) -> _Mediator:
    """Whether it answers at all, and the time on its clock."""
    if did is None:
        return _Mediator()
    try:
        document = await default_registry().resolve(did)
        uris = [each.uri for one in document.didcomm_services() for each in one.endpoints]
        url = next(uri for uri in uris if uri.startswith(("http://", "https://")))
        async with Transport() as transport:
            clock = await transport.clock(url)
    except StopIteration:
        return _Mediator(did, "its DID offers no HTTP endpoint")
    except (MailboxError, ResolutionError, IdentityError) as error:
        return _Mediator(did, str(error))
    return _Mediator(url, None, None if clock is None else time.time() - clock)


def _kernel_wireguard() -> bool:
    if Path("/sys/module/wireguard").exists():
        return True
    folder = Path("/lib/modules") / os.uname().release
    return any(
        "/wireguard.ko" in path.read_text(errors="replace")
        for name in MODULES
        if (path := folder / name).is_file()
    )


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _bubblewrap() -> bool:
    return find_sandbox().system is not None


def _input_policy() -> str | None:
    """The strictest policy of the chains that datagrams for this machine pass; None if unknown."""
    nft = shutil.which("nft", path=PATH)
    if nft is None:
        return None
    try:
        done = subprocess.run(
            [nft, "--json", "list", "chains"], capture_output=True, timeout=SECONDS, check=True
        )
        entries = json.loads(done.stdout)["nftables"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
    chains = [entry["chain"] for entry in entries if "chain" in entry]
    policies = {chain.get("policy") for chain in chains if chain.get("hook") == "input"}
    return "drop" if "drop" in policies else "accept"


def _modes(folder: Path) -> Mapping[str, int]:
    profiles = folder / "profiles"
    secret = [profiles, *(p for p in profiles.glob("*") if p.suffix in (".age", ".json"))]
    return {str(path): path.stat().st_mode for path in secret if path.exists()}


def _succeeds(*argv: str) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
