"""The network helper: one session for one ordinary user, over the socket on descriptor 0.

    python -I -m agent.network_helper [--debug] [--uid UID] [--rootless GID]

Started by the agent as root (with --uid), through sudo, by systemd for each connection to a
sequenced-packet socket, or as root of a user namespace that knows no user but its own (with --uid
and --rootless). When the other end of descriptor 0 closes, it removes everything and ends.
"""

import argparse
import array
import contextlib
import json
import logging
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from agent.network_helper.commands import CommandFailed, log
from agent.network_helper.order import Order
from agent.network_helper.program import User
from agent.network_helper.requests import MAX_REQUEST, RequestRefused, parse
from agent.network_helper.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(prog="agent.network_helper", description=__doc__)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--rootless", type=int, metavar="GID")
    parser.add_argument("--debug", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(
        format="network-helper: %(message)s",
        level=logging.DEBUG if options.debug else logging.WARNING,
    )
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the agent, which then ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(fileno=0) as agent:
        try:
            uid = served_user(os.geteuid(), _peer(agent), options.uid, os.environ)
        except RequestRefused as refusal:
            _send(agent, {"refused": str(refusal)})
            sys.exit(1)
        _send(agent, {"serving": uid})
        _serve(agent, Session(User(uid, options.rootless)))


def served_user(own: int, peer: int, given: int | None, environment: Mapping[str, str]) -> int:
    """Whom we serve: the other end of the socket, and only root may name somebody else.

    Under sudo the other end must be the user who called sudo: a socket that root made and that got
    into other hands proves nothing.

    Raises: RequestRefused
    """
    if own != 0:
        raise RequestRefused("it needs root")
    if environment.get("SUDO_UID", str(peer)) != str(peer):
        raise RequestRefused("the socket is not the calling user's")
    uid = given if peer == 0 else peer
    if uid is None or not 0 < uid < 2**32 - 1:
        raise RequestRefused("serves ordinary users only; root names one with --uid")
    if given not in (None, uid):
        raise RequestRefused("only root may name a user")
    return uid


def _peer(agent: socket.socket) -> int:
    if agent.family != socket.AF_UNIX or agent.type != socket.SOCK_SEQPACKET:
        raise SystemExit("network-helper: descriptor 0 is not a sequenced-packet Unix socket")
    credentials = agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _serve(agent: socket.socket, session: Session) -> None:
    order = Order()
    try:
        while _wait(agent, session):
            try:
                data, descriptors = _receive(agent)
            except ConnectionError:
                data, descriptors = b"", []
            if not data:
                session.say_goodbye()
                return
            _answer(agent, session, order, data, descriptors)
    finally:
        session.remove()


def _wait(agent: socket.socket, session: Session) -> bool:
    """Until the agent has a request; meanwhile look after the program, and pass checks on."""
    while True:
        waiting: list[int | socket.socket] = [agent]
        if session.program is not None:
            waiting += [session.program.descriptor, session.program.leash]
        if session.checks is not None:
            waiting += session.checks.sockets
        ready = _readable(waiting)
        session.pass_checks_on(ready)
        if session.program is not None:
            if session.program.leash in ready:
                session.program.stop()
                session.program_ended()
            elif session.program.descriptor in ready:
                session.program_ended()
        if agent in ready:
            return True


def _readable(waiting: Sequence[int | socket.socket]) -> set[int | socket.socket]:
    """Which of these descriptors and sockets have something, or have ended; at least one."""
    by_number = {one if isinstance(one, int) else one.fileno(): one for one in waiting}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    return {by_number[number] for number, _ in poll.poll()}


def _receive(agent: socket.socket) -> tuple[bytes, list[int]]:
    """One request and its descriptors; too much of either comes as more than any request has."""
    room = socket.CMSG_SPACE(4 * 4)
    data, ancillary, _, _ = agent.recvmsg(MAX_REQUEST + 1, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % 4])
    return data, list(descriptors)


def _answer(
    agent: socket.socket, session: Session, order: Order, data: bytes, received: Sequence[int]
) -> None:
    given: Sequence[int] = ()
    try:
        request = parse(data, len(received))
        order.admit(request)
        reply, given = session.serve(request, received)
    except RequestRefused as refusal:
        reply = {"refused": str(refusal)}
    except (CommandFailed, OSError, ValueError) as error:
        log.warning("%s", error)
        reply = {"failed": str(error)}
    finally:
        _close(received)
    try:
        _send(agent, reply, given)
    finally:
        _close(given)


def _send(agent: socket.socket, reply: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    with contextlib.suppress(ConnectionError):  # the next receive says that the agent is gone
        socket.send_fds(agent, [json.dumps(reply).encode()], list(descriptors))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    main()
