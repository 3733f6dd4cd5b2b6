"""The relay helper: one table for one mediator, over the socket on descriptor 0.

    python -I -m mediator.relay_helper [--debug]

Started through sudo, or by systemd for each connection to a sequenced-packet socket. When the other
end of descriptor 0 closes, be it by kill -9, it removes the table and ends.
"""

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from mediator.relay_helper.requests import (
    MAX_REQUEST,
    Change,
    Order,
    RequestRefused,
    Start,
    parse,
)
from mediator.relay_helper.table import KernelRefused, Table

log = logging.getLogger("didmesh.relay_helper")


def main() -> None:
    parser = argparse.ArgumentParser(prog="mediator.relay_helper", description=__doc__)
    parser.add_argument("--debug", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(
        format="relay-helper: %(message)s",
        level=logging.DEBUG if options.debug else logging.WARNING,
    )
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the mediator, which then ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(fileno=0) as mediator:
        if mediator.family != socket.AF_UNIX or mediator.type != socket.SOCK_SEQPACKET:
            raise SystemExit("relay-helper: descriptor 0 is not a sequenced-packet Unix socket")
        if os.geteuid() != 0:
            mediator.send(json.dumps({"refused": "it needs root"}).encode())
            sys.exit(1)
        _serve(mediator)


def _serve(mediator: socket.socket) -> None:
    order, table = Order(), None
    try:
        while True:
            try:
                data = mediator.recv(MAX_REQUEST + 1)
            except ConnectionError:
                return
            if not data:
                return
            try:
                request = parse(data)
                order.admit(request)
                if isinstance(request, Start):
                    table = Table(request)
                    reply: Mapping[str, Any] = {"versions": table.versions}
                else:
                    reply = _do(table, request)
            except RequestRefused as refusal:
                reply = {"refused": str(refusal)}
            except (KernelRefused, OSError) as error:
                log.warning("%s", error)
                reply = {"failed": str(error)}
            mediator.send(json.dumps(reply).encode())
    except ConnectionError:
        return
    finally:
        if table is not None:
            table.remove()


def _do(table: Table | None, request: object) -> Mapping[str, Any]:
    if table is None:
        raise KernelRefused("there is no table")
    if isinstance(request, Change):
        table.change(request)
        return {}
    return {"counts": table.counts()}


if __name__ == "__main__":
    main()
