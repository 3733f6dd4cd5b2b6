"""Start a Cicada program as one party of a closed mesh: `python -m agent.launchers.cicada`.

The cicada package itself is not changed. Left alone, it meets through party 0, believes the index
that anybody says, gives up after five seconds, and unpickles whatever comes. Here, as in
agent.launchers.mpyc_mesh, a party's index is its mesh address, and what others send is data.

Relies on these parts of cicada-mpc 2.1: in cicada.communicator.socket the names rendezvous, direct
and pickle; NetstringSocket.
"""

import argparse
import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agent.launchers import Exit
from agent.launchers.entry import failed, run_entry
from agent.launchers.progress import Event, Progress, tell
from agent.launchers.unpickling import PlainPickle

SUPPORTED: Final = "2.1"
RETRY: Final = 0.1  # seconds between two attempts to dial
DIAL_TIMEOUT: Final = 2.0  # seconds


class NotConnected(Exception):
    pass


def main() -> int:
    settings = _settings(sys.argv[1:])
    parties = [(host, int(port)) for host, _, port in (p.rpartition(":") for p in settings.party)]
    sys.argv = [settings.entry, *settings.words]
    sys.path.insert(0, str(Path(settings.entry).parent))
    os.environ |= _variables(parties, settings.rank)
    try:
        import cicada
        import cicada.communicator.socket as sockets
    except ImportError as error:
        return failed(Exit.USAGE, f"cannot import cicada: {error}")
    if not f"{cicada.__version__}.".startswith(f"{SUPPORTED}."):
        return failed(Exit.USAGE, f"cicada is {cicada.__version__}, not {SUPPORTED}")
    problems: list[str] = []

    def connected(*, listen_socket: socket.socket, **_others: Any) -> dict[int, Any]:
        """Takes the place of cicada's ways to meet."""
        try:
            found = meet(parties, settings.rank, listen_socket, settings.start_timeout)
        except NotConnected as error:
            problems.append(str(error))
            raise
        tell(Progress(Event.STARTED))
        return {rank: sockets.NetstringSocket(sock) for rank, sock in found.items()}

    sockets.rendezvous = sockets.direct = connected
    sockets.pickle = PlainPickle
    began = time.monotonic()
    problem = run_entry(settings.entry)
    if problems:
        return failed(Exit.NOT_CONNECTED, problems[0])
    if problem:
        return failed(Exit.PROGRAM_FAILED, problem)
    tell(Progress(Event.FINISHED, fields={"seconds": f"{time.monotonic() - began:.2f}"}))
    return Exit.DONE


def meet(
    parties: Sequence[tuple[str, int]], rank: int, listener: socket.socket, timeout: float
) -> dict[int, socket.socket]:
    """A connection with every other party: lower indices are dialled, higher ones dial.

    Who dials is told by the source address alone. Raises: NotConnected.
    """
    deadline = time.monotonic() + timeout
    found = {other: _dial(parties, rank, other, deadline) for other in range(rank)}
    hosts = {host: other for other, (host, _) in enumerate(parties) if other > rank}
    while missing := [other for other in hosts.values() if other not in found]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise NotConnected(f"not connected in {timeout:g} s: party {missing[0]}")
        if not select.select([listener], [], [], left)[0]:
            continue
        with contextlib.suppress(BlockingIOError):
            sock, (host, _) = listener.accept()
            other = hosts.get(host)
            if other is None or other in found:
                sock.close()
                sentence = f"{host} is nobody who dials, or is connected already"
                tell(Progress(Event.REFUSED, fields={"source": host}, sentence=sentence))
                continue
            sock.setblocking(True)
            found[other] = sock
            count = (len(found), len(parties) - 1)
            tell(Progress(Event.CONNECTED, count, {"party": str(other)}))
    return found


def _dial(
    parties: Sequence[tuple[str, int]], rank: int, other: int, deadline: float
) -> socket.socket:
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(parties[other], DIAL_TIMEOUT, (parties[rank][0], 0))
        except OSError:
            time.sleep(RETRY)
    raise NotConnected(f"party {other} ({parties[other][0]}) does not answer")


def _variables(parties: Sequence[tuple[str, int]], rank: int) -> dict[str, str]:
    """What cicada's own start-up command would have set."""
    urls = [f"tcp://{host}:{port}" for host, port in parties]
    return {
        "CICADA_WORLD_SIZE": str(len(parties)),
        "CICADA_RANK": str(rank),
        "CICADA_ADDRESS": urls[rank],
        "CICADA_ROOT_ADDRESS": urls[0],
    }


def _settings(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.launchers.cicada", description=main.__doc__)
    parser.add_argument("--rank", type=int, required=True, help="the own index, from 0")
    parser.add_argument("--party", action="append", required=True, help="ADDRESS:PORT, in order")
    parser.add_argument("--start-timeout", type=float, required=True, help="seconds to connect")
    parser.add_argument("entry", help="the program")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="words for the program")
    settings = parser.parse_args(words)
    if not 0 <= settings.rank < len(settings.party):
        parser.error(f"there is no party {settings.rank} among {len(settings.party)}")
    return settings


if __name__ == "__main__":
    sys.exit(main())
