"""The one place where the lab changes the machine: commands, logged before they run."""

import logging
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence

log = logging.getLogger("lab.commands")

TOOLS = {  # command -> Debian package
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


class LabError(Exception):
    """What a person must be told; `hint` says what to do about it."""

    def __init__(self, text: str, hint: str | None = None) -> None:
        super().__init__(text)
        self.hint = hint


def run(argv: Sequence[str], *, stdin: str | None = None) -> str:
    """Run a command on the machine and give back what it printed.

    Raises: LabError, with the command's own words, if it fails.
    """
    log.debug("%s%s", shlex.join(argv), f" <<\n{stdin}" if stdin else "")
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = done.stderr.strip() or f"exit code {done.returncode}"
        raise LabError(f"`{shlex.join(argv)}` failed: {words}")
    return done.stdout


def ip(lines: Iterable[str], *, namespace: str | None = None) -> None:
    """Apply lines of `ip -batch` in one process, inside `namespace` if given."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))


def in_namespace(namespace: str, argv: Sequence[str], *, stdin: str | None = None) -> str:
    return run(["nsenter", f"--net=/run/netns/{namespace}", "--", *argv], stdin=stdin)


def require_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(
            f"the lab needs the packages {', '.join(missing)}",
            hint=f"apt-get install {' '.join(missing)}",
        )
