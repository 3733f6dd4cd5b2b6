"""MPyC's connections, made so that a party's index is its mesh address.

MPyC listens on every address and believes whoever says "I am party 0"; when a connection ends it
waits for ever. Inside a session each mesh address belongs to one WireGuard key, the key to one
DID; so the address is the proof of the index, and this is all that is checked here:

- a party listens on its own mesh address only, and dials from it;
- as in MPyC the lower index dials the higher one and says its index first; it is believed only
  if it dials from that index's address and that party is not connected yet;
- the listener speaks before that, with a greeting that names its index, the number of parties
  and the threshold: a dialler sends nothing to whoever else may have taken the port, and parties
  that would compute different things find out instead of waiting for each other;
- a connection that cannot be made in time, or ends too early, ends the process: see `Exit`;
- what the others send is read as data, never as code: see agent.launchers.unpickling.

Relies on these parts of mpyc 0.11: Runtime.start, shutdown, parties, set_protocol,
unset_protocol, start_time, the name pickle; MessageExchanger.
"""

import asyncio
import functools
import os
import socket
import time
from typing import Any, Final, NoReturn

import mpyc.runtime
from mpyc.asyncoro import MessageExchanger

from agent.launchers import Exit
from agent.launchers.progress import Event, Progress, tell
from agent.launchers.unpickling import PlainPickle

PROTOCOL: Final = b"didmesh mpyc 1: party "
MAX_GREETING: Final = 80  # bytes
RETRY: Final = 0.1  # seconds between two attempts to dial
DIAL_TIMEOUT: Final = 2.0  # seconds; then a new attempt, sooner than TCP's own
REPORT_EVERY: Final = 2.0  # seconds
LINGER: Final = 1.0  # seconds; so that every other party sees by itself who was lost first


class Mesh:
    """Stands in for the connecting and closing of an MPyC runtime."""

    def __init__(self, runtime: Any, start_timeout: float, lost_timeout: float) -> None:
        self.runtime = runtime
        self.rank: int = runtime.pid
        self.lost: int | None = None
        """The first party whose connection ended too early."""
        self._start_timeout, self._lost_timeout = start_timeout, lost_timeout
        self._shutdown = runtime.shutdown
        self._closing = False
        self._deadline: asyncio.TimerHandle | None = None
        self._exchangers: set[_Exchanger] = set()
        self._problems: dict[int, str] = {}
        self._reported: dict[str, str] = {}

    def install(self) -> None:
        mpyc.runtime.pickle = PlainPickle
        self.runtime.start = self.start
        self.runtime.shutdown = self.shutdown

    async def start(self) -> None:
        """Return when every party is connected; end the process if they are not in time."""
        self._closing = False
        for party in self.runtime.parties:
            party.protocol = asyncio.Future() if party.pid == self.rank else None
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._connect()
        except TimeoutError:
            missing = "; ".join(map(self._problem, self._missing()))
            _fail(Exit.NOT_CONNECTED, f"not connected in {self._start_timeout:g} s: {missing}")
        for exchanger in self._exchangers:
            if exchanger.peer_pid is None:
                exchanger.transport.abort()
        self.runtime.start_time = time.time()  # MPyC's shutdown wants it
        tell(Progress(Event.STARTED))
        self._report()

    async def shutdown(self) -> None:
        """MPyC's shutdown; from here on the others may close their connections."""
        self._closing = True
        await self._shutdown()
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def traffic(self) -> dict[str, str]:
        sent = sum(exchanger.nbytes_sent for exchanger in self._exchangers)
        received = sum(exchanger.nbytes_received for exchanger in self._exchangers)
        return {"sent": str(sent), "received": str(received)}

    def handle_made(self, exchanger: "_Exchanger") -> None:
        self._exchangers.add(exchanger)

    def handle_claimed(self, exchanger: "_Exchanger") -> None:
        if exchanger.peer_pid is None:
            return  # not all of its first message is here yet
        others = len(self.runtime.parties) - 1
        done = others - len(self._missing())
        tell(Progress(Event.CONNECTED, (done, others), {"party": str(exchanger.peer_pid)}))

    def handle_closed(self, exchanger: "_Exchanger") -> None:
        party = exchanger.peer_pid
        if party is None:
            self._exchangers.discard(exchanger)
        elif self._closing:
            self.runtime.unset_protocol(party)
            if self._deadline is None:
                # A party closes only after it has heard the last of everyone; so must we, soon.
                self._deadline = _call_later(self._lost_timeout, self._handle_lost, party)
        elif not exchanger.leaving:
            self._handle_lost(party)

    def is_connected(self, party: int) -> bool:
        return self.runtime.parties[party].protocol is not None

    def end_without_result(self) -> NoReturn:
        _fail(Exit.PARTY_LOST, f"the connection to party {self.lost} ended too early")

    async def _connect(self) -> None:
        everyone = self.runtime.parties[self.rank].protocol
        async with asyncio.TaskGroup() as tasks:
            for party in self.runtime.parties[self.rank + 1 :]:
                tasks.create_task(self._dial(party))
            if self.rank == 0:
                await everyone
                return
            with self._listen() as listener:
                accepting = tasks.create_task(self._accept(listener))
                await everyone
                accepting.cancel()
                await asyncio.wait([accepting])

    def _listen(self) -> socket.socket:
        own = self.runtime.parties[self.rank]
        listener = self._socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((own.host, own.port))
            listener.listen(64)
        except OSError as error:
            _fail(
                Exit.ADDRESS_UNUSABLE,
                f"cannot listen on {own.host}:{own.port}: {_words(error)}",
            )
        fields = {"address": own.host, "port": str(own.port)}
        tell(Progress(Event.LISTENING, fields=fields))
        return listener

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, (host, _) = await loop.sock_accept(listener)
            except OSError:  # out of descriptors, or the other end is gone already
                await asyncio.sleep(RETRY)
                continue
            party = self._party_at(host)
            if party is None or self.is_connected(party):
                known = (
                    "is connected already" if party is not None else "belongs to nobody who dials"
                )
                refuse(host, f"{host} {known}")
                sock.close()
                continue
            try:
                sock.send(self._greeting(self.rank))
            except OSError:
                sock.close()
                continue
            factory = functools.partial(_Exchanger, self, expected=party)
            await loop.connect_accepted_socket(factory, sock)

    async def _dial(self, party: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock = self._dialling_socket()
            try:
                async with asyncio.timeout(DIAL_TIMEOUT):
                    await loop.sock_connect(sock, (party.host, party.port))
                self._problems[party.pid] = "accepts the connection but does not greet"
                if self._is_greeted(party.pid, await _read_line(sock)):
                    break
            except TimeoutError:
                self._problems[party.pid] = "does not answer"
            except OSError as error:
                self._problems[party.pid] = _words(error)
            sock.close()
            await asyncio.sleep(RETRY)
        await loop.create_connection(functools.partial(_Exchanger, self, party.pid), sock=sock)

    def _dialling_socket(self) -> socket.socket:
        own = self.runtime.parties[self.rank].host
        sock = self._socket()
        try:
            sock.bind((own, 0))
        except OSError as error:
            _fail(Exit.ADDRESS_UNUSABLE, f"cannot dial from {own}: {_words(error)}")
        return sock

    def _socket(self) -> socket.socket:
        """Notices within the lost timeout that the other end has vanished."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        milliseconds = int(self._lost_timeout * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return sock

    def _is_greeted(self, party: int, line: bytes) -> bool:
        """Whether the party's launcher is there; end if it is there for another computation."""
        wanted = self._greeting(party)
        if line != wanted and line.startswith(PROTOCOL):
            theirs, ours = line.decode().strip(), wanted.decode().strip()
            _fail(Exit.NOT_CONNECTED, f'party {party} greets with "{theirs}", not with "{ours}"')
        return line == wanted

    def _greeting(self, listener: int) -> bytes:
        parties, threshold = len(self.runtime.parties), self.runtime.threshold
        return PROTOCOL + f"{listener} of {parties}, threshold {threshold}\n".encode()

    def _party_at(self, host: str) -> int | None:
        """The party with that mesh address, if it is one that dials us."""
        for party in self.runtime.parties[: self.rank]:
            if party.host == host:
                return int(party.pid)
        return None

    def _missing(self) -> list[int]:
        parties = range(len(self.runtime.parties))
        return [party for party in parties if party != self.rank and not self.is_connected(party)]

    def _problem(self, party: int) -> str:
        address = self.runtime.parties[party].host
        return f"party {party} ({address}) {self._problems.get(party, 'has not connected')}"

    def _report(self) -> None:
        if self._closing:
            return
        if (traffic := self.traffic()) != self._reported:
            self._reported = traffic
            tell(Progress(Event.RUNNING, fields=traffic))
        _call_later(REPORT_EVERY, self._report)

    def _handle_lost(self, party: int) -> None:
        if self.lost is None:
            self.lost = party
            tell(Progress(Event.LOST, fields={"party": str(party)}))
            _call_later(LINGER, self.end_without_result)


class _Exchanger(MessageExchanger):  # type: ignore[misc]  # mpyc has no types
    """A connection with one party: dialled (`peer_pid`), or accepted from `expected`'s address."""

    def __init__(
        self, mesh: Mesh, peer_pid: int | None = None, expected: int | None = None
    ) -> None:
        super().__init__(mesh.runtime, peer_pid)
        self.nbytes_received = 0
        self.leaving = False
        self._mesh, self._expected = mesh, expected

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._mesh.handle_made(self)
        self._mesh.handle_claimed(self)

    def data_received(self, data: bytes) -> None:
        self.nbytes_received += len(data)
        if self.peer_pid is not None:
            super().data_received(data)
        elif self._claim_holds(data):
            super().data_received(data)
            self._mesh.handle_claimed(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._mesh.handle_closed(self)

    def close_connection(self) -> None:
        self.leaving = True
        super().close_connection()

    def _claim_holds(self, data: bytes) -> bool:
        """Whether the index said first, in 2 bytes, is the address's, and its place is empty."""
        said = bytes(self.bytes[:2] + data[:2])[:2]
        if len(said) < 2:
            return True
        claim = int.from_bytes(said, "little")
        if claim == self._expected and not self._mesh.is_connected(claim):
            return True
        host = self.transport.get_extra_info("peername")[0]
        if claim == self._expected:
            refuse(host, f"{host} says again that it is party {claim}")
        else:
            refuse(host, f"{host} is party {self._expected}, but says it is party {claim}")
        self.transport.abort()
        return False


def refuse(source: str, sentence: str) -> None:
    tell(Progress(Event.REFUSED, fields={"source": source}, sentence=sentence))


async def _read_line(sock: socket.socket) -> bytes:
    """One line, or what there is of it; the other end says no more before it hears from us."""
    line = b""
    while not line.endswith(b"\n") and len(line) < MAX_GREETING:
        more = await asyncio.get_running_loop().sock_recv(sock, MAX_GREETING - len(line))
        if not more:
            break
        line += more
    return line if line.isascii() and line[:-1].decode().isprintable() else b""


def _words(error: OSError) -> str:
    """What the system calls it; asyncio's own texts repeat the address."""
    return os.strerror(error.errno) if error.errno else str(error)


def _call_later(delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay, callback, *arguments)


def _fail(code: Exit, sentence: str) -> NoReturn:
    """End the process now, whatever the program is waiting for; half a result is not printed."""
    tell(Progress(Event.FAILED, fields={"code": str(int(code))}, sentence=sentence))
    os._exit(code)
