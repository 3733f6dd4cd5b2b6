"""In which order the network helper may be asked, and what of a conversation is settled.

Order.admit(Request)
"""

from enum import Enum

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
    Socket,
    Status,
    refuse,
)


class State(Enum):
    NEW = "new"
    CREATED = "created"
    RUNNING = "running"
    REMOVED = "removed"


# Which request leads where; what is not here is refused.
TRANSITIONS: dict[tuple[State, type[Request]], State] = {
    (State.NEW, Create): State.CREATED,
    (State.NEW, Remove): State.REMOVED,
    (State.CREATED, Apply): State.RUNNING,
    (State.CREATED, Status): State.CREATED,
    (State.CREATED, Socket): State.CREATED,
    (State.CREATED, Remove): State.REMOVED,
    (State.RUNNING, Endpoints): State.RUNNING,
    (State.RUNNING, Mtu): State.RUNNING,
    (State.RUNNING, Hold): State.RUNNING,
    (State.RUNNING, Checks): State.RUNNING,
    (State.RUNNING, Status): State.RUNNING,
    (State.RUNNING, Socket): State.RUNNING,
    (State.RUNNING, Launch): State.RUNNING,
    (State.RUNNING, Remove): State.REMOVED,
    (State.REMOVED, Remove): State.REMOVED,
    (State.REMOVED, Create): State.CREATED,
}


class Order:
    """The one conversation a helper has: where it stands and what is settled."""

    def __init__(self) -> None:
        self.state = State.NEW
        self._own: tuple[str, ...] = ()
        self._mtu = 0  # the interface's
        self._peers: frozenset[bytes] = frozenset()
        self._checks = False

    def admit(self, request: Request) -> None:
        """Raises: RequestRefused; then nothing has changed."""
        following = TRANSITIONS.get((self.state, type(request)))
        if following is None:
            refuse(f"no {type(request).__name__.lower()} while {self.state.value}")
        if isinstance(request, Create):
            self._own, self._mtu, self._checks = request.addresses, request.mtu, False
        elif isinstance(request, Apply):
            self._admit_apply(request)
        elif isinstance(request, Endpoints):
            self._admit_endpoints(request)
        elif isinstance(request, Mtu):
            self._admit_mtu(request)
        elif isinstance(request, Checks):
            self._admit_checks()
        self.state = following

    def _admit_apply(self, request: Apply) -> None:
        if any(address in self._own for peer in request.peers for address in peer.allowed_ips):
            refuse("a peer with our own address")
        self._peers = frozenset(peer.public_key for peer in request.peers)

    def _admit_endpoints(self, request: Endpoints) -> None:
        if not self._peers.issuperset(endpoint.public_key for endpoint in request.endpoints):
            refuse("endpoints: of somebody who is no peer")

    def _admit_mtu(self, request: Mtu) -> None:
        if not self._peers.issuperset(one.public_key for one in request.mtus):
            refuse("mtu: of somebody who is no peer")
        if any(one.mtu > self._mtu for one in request.mtus):
            refuse("mtu: more than the interface's")

    def _admit_checks(self) -> None:
        if self._checks:
            refuse("checks: once")
        self._checks = True
