"""From root to an ordinary user, for good: the agent parses strangers' bytes."""

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping

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


@contextlib.contextmanager
def acting_as(user: int | None) -> Iterator[None]:
    """Read files as `user` may, from that user's home; None if we are not root."""
    if user is None:
        yield
        return
    group, groups = _groups(user)
    before = os.getegid(), os.getgroups()
    variables = dict(os.environ)
    os.environ |= _variables(user)
    os.setgroups(groups)
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])
        os.environ.clear()
        os.environ |= variables


def drop_root(user: int) -> None:
    """Become `user` with that user's groups; there is no way back."""
    group, groups = _groups(user)
    os.environ |= _variables(user)
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def _variables(user: int) -> dict[str, str]:
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(user)
        return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return {}


def _groups(user: int) -> tuple[int, list[int]]:
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        return user, [user]
    return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)


def _uid(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise NoOrdinaryUser(f"there is no user {name}") from None
