"""Who sits where: the role of every party, from what was said about some of them."""

from collections import Counter
from collections.abc import Mapping

from agent.errors import UsageMistake
from agent.launch.manifest import Manifest


def assign(manifest: Manifest, wishes: Mapping[str, str | None]) -> dict[str, str]:
    """The role of each party; None was said of those who take whatever is left.

    Raises: UsageMistake, unless that leaves exactly one way.
    """
    free = Counter(manifest.seats(len(wishes)))
    choices = ", ".join(free) if manifest.roles else "none: all parties are alike"
    for role in wishes.values():
        if role is None:
            continue
        if not manifest.roles or role not in free:
            raise UsageMistake(f'"{role}" is not a role of {manifest.name}; there is: {choices}')
        free[role] -= 1
        if free[role] < 0:
            raise UsageMistake(f"{manifest.name} has no seat for another {role}", _seats(manifest))
    left = [role for role, seats in free.items() if seats > 0]
    if len(left) > 1:
        raise UsageMistake(
            f"{manifest.name} has several roles; say who has which: "
            f"--role {left[0]} for yourself, --with {left[-1]}=DID for another",
            _seats(manifest),
        )
    return {party: role if role is not None else left[0] for party, role in wishes.items()}


def _seats(manifest: Manifest) -> str:
    return "its seats are: " + ", ".join(f"{role.seats} {role.name}" for role in manifest.roles)
