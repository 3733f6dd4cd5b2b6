"""Commands of a user who may do nothing on a machine but make namespaces of their own."""

from __future__ import annotations

from typing import Any

from tests.support.internet import Party

OPEN_TUN = """
mount -t tmpfs -o mode=755 tester /mnt
mknod -m 666 /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
"""


def ordinary(party: Party, *lines: str) -> dict[str, Any]:
    """How to start a command as the party's user, on a machine that `lines` of shell have changed.

    All that they mount is in a mount namespace that ends with the command.
    """
    become = f"setpriv --reuid={party.user} --regid={party.user} --clear-groups --inh-caps=-all"
    script = "\n".join(("set -e", *lines, f'exec {become} -- "$@"'))
    return {
        "before": ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"],
        "as_root": True,
    }
