"""Which sandbox this machine can give a program: measured by making one, never assumed."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import agent
from agent.launch.sandbox import Sandbox, System

SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
SECONDS_TO_PROBE = 5.0
_PATH = "/usr/bin:/bin"
_log = logging.getLogger(__name__)


def find_sandbox() -> Sandbox:
    """The strongest that works for our user; takes about 50 ms.

    Some systems have bubblewrap and do not let it work (containers, user namespaces switched off).
    """
    bwrap = shutil.which("bwrap", path=_PATH)
    if bwrap is None:
        return Sandbox(None)
    sandbox = Sandbox(_system(bwrap))
    return sandbox if _works(sandbox) else Sandbox(None)


def _works(sandbox: Sandbox) -> bool:
    """As it will be started: without the privileges that a set-user-ID file would give."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        (workdir / "program").mkdir()
        probe = sandbox.wrap((sys.executable, "-I", "-S", "-c", "pass"), workdir, 5)
        try:
            done = subprocess.run(
                ["setpriv", "--no-new-privs", "--", *probe],
                env={"PATH": _PATH}, stdin=subprocess.DEVNULL, capture_output=True,
                cwd="/", timeout=SECONDS_TO_PROBE,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            _log.info("no bubblewrap: %s", type(error).__name__)
            return False
    if done.returncode != 0:
        _log.info("no bubblewrap: %s", done.stderr.decode(errors="replace").strip()[:300])
    return done.returncode == 0


def _system(bwrap: str) -> System:
    folders = [Path(name) for name in SYSTEM_FOLDERS]
    links = {str(path): str(path.readlink()) for path in folders if path.is_symlink()}
    shown = [Path("/usr"), *(path for path in folders if path.is_dir() and not path.is_symlink())]
    shown += [path for path in map(Path, SYSTEM_FILES) if path.exists()]
    for path in (*map(Path, (sys.base_prefix, sys.prefix)), *_launchers()):
        if not any(path.is_relative_to(above) for above in shown):
            shown.append(path)
    return System(bwrap, links, tuple(map(str, shown)))


def _launchers() -> tuple[Path, Path]:
    """All of this package that runs beside a program."""
    package = Path(agent.__file__).parent
    return package / "__init__.py", package / "launchers"
