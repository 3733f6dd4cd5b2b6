"""The one way commands run with privilege: fixed environment, lists of arguments, no shell."""

import logging
import subprocess

log = logging.getLogger("didmesh.network_helper")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class CommandFailed(Exception):
    """Names the command, not what it was told on standard input."""


def run(*argv: str, text: str = "", quiet: bool = False) -> str:
    """What the command printed; `quiet` keeps its complaint out of our error, which may be secret.

    Raises: CommandFailed
    """
    log.debug("runs %s", " ".join(argv))
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, env=ENVIRONMENT, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed(f"{argv[0]}: {type(error).__name__}") from None
    if done.returncode != 0:
        complaint = "failed" if quiet else done.stderr.strip().partition("\n")[0]
        raise CommandFailed(f"{argv[0]}: {complaint}")
    return done.stdout
