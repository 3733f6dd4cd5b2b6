"""One session's namespace, interface and program: does what `requests` has let through."""

import base64
import socket
import time
from collections.abc import Collection, Sequence
from typing import Any, assert_never

from agent.network_helper.check_port import CheckPort
from agent.network_helper.held_ports import HeldPorts
from agent.network_helper.namespace import Namespace
from agent.network_helper.program import Program, User
from agent.network_helper.redirect import Redirect
from agent.network_helper.requests import (
    Apply,
    Checks,
    Create,
    Endpoints,
    Hold,
    Launch,
    Mtu,
    Remove,
    Request,
    RequestRefused,
    Socket,
    Status,
)
from agent.wireguard.config import Endpoint
from agent.wireguard.device import Device

GOODBYE = 1.2  # seconds, in which two pulses of everybody come

Reply = tuple[dict[str, Any], Sequence[int]]  # the answer, and descriptors that go with it


class Session:
    def __init__(self, user: User) -> None:
        self._user = user
        self._namespace: Namespace | None = None
        self._device: Device | None = None
        self._listen_port = 0
        self._redirect: Redirect | None = None
        self._endpoints: dict[bytes, Endpoint] = {}
        self._held = HeldPorts()
        self.program: Program | None = None
        self.checks: CheckPort | None = None

    def serve(self, request: Request, descriptors: Sequence[int]) -> Reply:
        """The reply's descriptors belong to the caller of this function.

        Raises: RequestRefused, CommandFailed, OSError.
        """
        match request:
            case Create():
                return self._create(request)
            case Apply():
                return self._apply(request)
            case Endpoints():
                return self._set_endpoints(request)
            case Mtu():
                self._mesh.set_mtus(request.mtus)
                return {}, []
            case Hold():
                return self._hold(request, descriptors[0])
            case Checks():
                self.checks = CheckPort(self._listen_port)
                return {}, [self.checks.hand_out()]
            case Status():
                return self._status()
            case Socket():
                return {}, [self._inside.socket(request.kind).detach()]
            case Launch():
                return self._launch(request, descriptors)
            case Remove():
                return self.remove(), []
        assert_never(request)

    def _create(self, request: Create) -> Reply:
        self._namespace = Namespace()
        self._device = Device(self._namespace)
        self._device.create(request.addresses, request.mtu)
        return {
            "interface": self._device.name,
            "implementation": self._device.implementation,
        }, []

    def _apply(self, request: Apply) -> Reply:
        self._mesh.configure(request.private_key, request.listen_port, request.peers)
        self._listen_port = request.listen_port
        self._redirect = Redirect(self._mesh.name, request.listen_port)
        return {}, []

    def _set_endpoints(self, request: Endpoints) -> Reply:
        """Rules for another port of ours are there before its first packet and after its last."""
        self._held.check(request.endpoints)
        self._endpoints |= {to.public_key: to for to in request.endpoints}
        if any(to.source_port is not None for to in request.endpoints):
            self._send_another_way()
        self._mesh.set_endpoints(request.endpoints)
        self._send_another_way()
        return {}, []

    def _hold(self, request: Hold, descriptor: int) -> Reply:
        self._held.take(descriptor, request.address, self._endpoints.values())
        self._send_another_way()
        return {}, []

    def _send_another_way(self) -> None:
        if self._redirect is not None:
            self._redirect.set(self._endpoints.values(), self._held.ports())

    def _status(self) -> Reply:
        peers = [
            {
                "public_key": base64.b64encode(peer.public_key).decode(),
                "endpoint": peer.endpoint,
                "last_handshake": peer.last_handshake,
                "rx_bytes": peer.rx_bytes,
                "tx_bytes": peer.tx_bytes,
            }
            for peer in self._mesh.status()
        ]
        return {"peers": peers}, []

    def _launch(self, request: Launch, stdio: Sequence[int]) -> Reply:
        if self.program is not None:
            raise RequestRefused("one program at a time")
        self.program = Program(request, stdio, self._user, self._inside)
        return {"pid": self.program.pid}, [self.program.callers_end.detach()]

    def pass_checks_on(self, ready: Collection[int | socket.socket]) -> None:
        """Those that wait in these."""
        if self.checks is not None and not self.checks.pass_on(ready):
            self._end_checks()

    def program_ended(self) -> None:
        if self.program is not None:
            self.program.finish()
            self.program = None

    def say_goodbye(self) -> None:
        """The agent is gone without a word: end the program, and let the others notice.

        Nobody listens to their pulses any more, and while the mesh stands, the kernel says so.
        """
        if self.program is not None:
            self.program.stop()
            self.program_ended()
        if self._listen_port != 0 and self._device is not None:
            time.sleep(GOODBYE)

    def remove(self) -> dict[str, int]:
        """Take everything down, then count what is left; can be repeated."""
        if self.program is not None:
            self.program.stop()
            self.program_ended()
        self._end_checks()
        left = {"interfaces": 0, "namespaces": 0, "processes": 0}
        redirect, self._redirect, self._endpoints = self._redirect, None, {}
        if redirect is not None:
            redirect.close()
        self._held.close()
        device, self._device = self._device, None
        namespace, self._namespace = self._namespace, None
        if device is not None:
            device.remove()
            left["interfaces"] = int(device.is_left())
        if namespace is not None:
            left["processes"] = namespace.processes()
            namespace.close()
            left["namespaces"] = int(namespace.is_left())
        return left

    def _end_checks(self) -> None:
        if self.checks is not None:
            self.checks.close()
            self.checks = None

    @property
    def _inside(self) -> Namespace:
        if self._namespace is None:
            raise RequestRefused("nothing is created")
        return self._namespace

    @property
    def _mesh(self) -> Device:
        if self._device is None:
            raise RequestRefused("nothing is created")
        return self._device
