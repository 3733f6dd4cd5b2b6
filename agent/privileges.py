"""From root to an ordinary user, for good: the agent parses strangers' bytes."""

import os
import pwd
from collections.abc import Mapping

from agent.errors import AgentError, Exit


class NoOrdinaryUser(AgentError):
    exit_code = Exit.PRIVILEGE

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"will not run as root: {reason}",
            hint="call it as an ordinary user, or name one: DIDMESH_USER=name",
        )


def ordinary_user(environment: Mapping[str, str]) -> int:
    """Whom to become when started as root: $DIDMESH_USER (name or number), else $SUDO_UID.

    Raises: NoOrdinaryUser
    """
    named = environment.get("DIDMESH_USER") or environment.get("SUDO_UID")
    if not named:
        raise NoOrdinaryUser("neither DIDMESH_USER nor SUDO_UID says which user to become")
    uid = int(named) if named.isascii() and named.isdecimal() else _uid(named)
    if not 0 < uid < 2**32 - 1:
        raise NoOrdinaryUser(f"{named} is not an ordinary user")
    return uid


def drop_root(user: int) -> None:
    """Become `user` with that user's groups; there is no way back."""
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        group, groups = user, [user]
    else:
        group = entry.pw_gid
        groups = os.getgrouplist(entry.pw_name, group)
        os.environ |= {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoOrdinaryUser(f"there is no user {name}") from None
