"""Programs that start a framework's program inside the session's namespace."""

from enum import IntEnum


class Exit(IntEnum):
    """What a launcher's exit status means; only after 0 is stdout a result."""

    DONE = 0
    PROGRAM_FAILED = 1
    USAGE = 2
    """Wrong arguments, or the framework is missing or of another version."""
    NOT_CONNECTED = 3
    """Not every party was connected before the start deadline."""
    ADDRESS_UNUSABLE = 10
    """The own mesh address or port cannot be used: taken by someone else, or not there."""
    PARTY_LOST = 11
    """The connection to a party ended before the computation did."""
