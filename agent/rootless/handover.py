"""What the agent is told inside: the process that the user sees. Its helper is a descriptor."""

import os

VARIABLE = "DIDMESH_OUTSIDE"  # its number


def is_inside() -> bool:
    return VARIABLE in os.environ


def process_id() -> int:
    """Ours as others on this machine see it."""
    return int(os.environ[VARIABLE]) if is_inside() else os.getpid()
