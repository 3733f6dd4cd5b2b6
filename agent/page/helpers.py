"""Started as root, the page's server gives root up; a process that keeps it starts network helpers.

That process reads one byte for each helper that is wanted and hands back the helper's socket. It
can do nothing else, serves one ordinary user, and ends with the server.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess

from agent.network_helper.client import PrivilegeMissing, start_process
from agent.privileges import drop_root


class Helpers:
    """Where sessions get a network helper; without root each finds its own way to one."""

    def __init__(self, keeper: socket.socket | None) -> None:
        self._keeper = keeper

    @classmethod
    def apart(cls, user: int | None) -> Helpers:
        """Become `user`, with a keeper of root beside us; call this while there is one thread."""
        if user is None:
            return cls(None)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            ours.close()
            _keep(theirs, user)
        theirs.close()
        drop_root(user)
        return cls(ours)

    async def new(self) -> socket.socket | None:
        """The socket of a new helper, to be handed over."""
        return None if self._keeper is None else await asyncio.to_thread(self._ask, self._keeper)

    def _ask(self, keeper: socket.socket) -> socket.socket:
        keeper.send(b"1")
        _, descriptors, _, _ = socket.recv_fds(keeper, 1, 1)
        if not descriptors:
            raise PrivilegeMissing("the process that starts it is gone")
        return socket.socket(fileno=descriptors[0])


def _keep(server: socket.socket, user: int) -> None:
    """Never returns."""
    # Ctrl-C is for the server, with which we end. A handler, since what is ignored is inherited.
    signal.signal(signal.SIGINT, lambda *_: None)
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        while server.recv(1):
            helper, process = start_process(user)
            helpers = [one for one in (*helpers, process) if one.poll() is None]
            with helper:
                socket.send_fds(server, [b"1"], [helper.fileno()])
    finally:
        os._exit(0)
