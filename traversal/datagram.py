"""What a protocol in this folder has to send."""

from typing import NamedTuple

from traversal.candidate import Address


class Datagram(NamedTuple):
    """`source_port` is a port of ours that it must leave from; None: the session's own."""

    data: bytes
    destination: Address
    source_port: int | None = None
