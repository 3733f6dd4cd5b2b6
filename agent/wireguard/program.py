"""Which wireguard-go runs where the kernel has no WireGuard.

The one that `scripts/setup` has built beside our Python where there is Go, else the system's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "wireguard-go"
SECONDS_TO_SAY = 5.0
_VERSION = re.compile(r"v0\.0\.(\d{8})")


def find_wireguard_go(path: str) -> str | None:
    """Where it is; `path` are the system's folders, as in $PATH."""
    built = Path(sys.executable).parent / NAME
    return str(built) if built.is_file() else shutil.which(NAME, path=path)


def version_of(program: str) -> int | None:
    """The day of its version, 20220316 for instance; None where it does not say so."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=SECONDS_TO_SAY
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said.stdout)
    return int(found[1]) if found else None
