"""Launched programs as real processes, on loopback addresses in place of mesh addresses."""

import asyncio
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.launch import program
from agent.launch.adapters import Seats, plan
from agent.launchers.progress import Event, Progress, parse_progress

PORT = 22_000
AUCTION = program.load_folder(program.SHIPPED / "second_price_auction")
_networks = itertools.count(1)


def addresses(parties: int) -> tuple[str, ...]:
    """Loopback addresses that no other test of this machine is likely to use."""
    network = f"127.{os.getpid() % 200 + 20}.{next(_networks) % 250 + 1}"
    return tuple(f"{network}.{party + 1}" for party in range(parties))


def seats(
    chosen: program.Program, rank: int, hosts: Sequence[str], threshold: int | None = None
) -> Seats:
    """The seats in the order of the manifest's roles."""
    parties = len(hosts)
    threshold = (parties - 1) // 2 if threshold is None else threshold
    roles = chosen.manifest.seats(parties)
    return Seats(rank, tuple(hosts), (PORT,) * parties, threshold, roles)


def write_program(folder: Path, main: str, *, start: int = 20, lost: int = 3) -> program.Program:
    """A program for two parties and up, with the input `bid`."""
    folder.mkdir()
    (folder / "main.py").write_text(main)
    (folder / "manifest.toml").write_text(
        f'name = "probe"\ntitle = "Probe"\nadapter = "mpyc"\nentry = "main.py"\n'
        f"[parties]\nmin = 2\nmax = 64\n"
        f'[[inputs]]\nname = "bid"\ntype = "integer"\ntitle = "any"\nmin = 0\nmax = 1000\n'
        f'[[opens]]\nwhat = "nothing"\nto = "all"\n'
        f"[timeouts]\nstart = {start}\nlost = {lost}\n"
    )
    return program.load_folder(folder)


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str

    def told(self, event: Event) -> list[Progress]:
        lines = map(parse_progress, self.stderr.splitlines())
        return [progress for progress in lines if progress and progress.event is event]

    @property
    def sentence(self) -> str:
        """Why it failed."""
        [failed] = self.told(Event.FAILED)
        return failed.sentence


class Party:
    """One launched process; `until` and `ended` read what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._stderr: list[str] = []

    async def until(self, event: Event) -> Progress:
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while line := (await self.process.stderr.readline()).decode():
                self._stderr.append(line)
                progress = parse_progress(line)
                if progress and progress.event is event:
                    return progress
        raise AssertionError(f"ended without {event}: {''.join(self._stderr)}")

    async def ended(self, timeout: float = 60) -> Ended:
        try:
            async with asyncio.timeout(timeout):
                stdout, stderr = await self.process.communicate()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise
        code = self.process.returncode
        assert code is not None
        return Ended(code, stdout.decode(), "".join(self._stderr) + stderr.decode())


async def start(
    chosen: program.Program,
    hosts: Sequence[str],
    rank: int,
    bid: int | Mapping[str, int],
    below: Path,
    *,
    threshold: int | None = None,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Party:
    """Start the party of that rank, as its agent would."""
    workdir = below / f"party{rank}"
    workdir.mkdir(mode=0o700)
    inputs = bid if isinstance(bid, Mapping) else {"bid": bid}
    places = seats(chosen, rank, hosts, threshold)
    launch = plan(chosen, places, inputs, workdir, python)
    program.write_files(launch.files, workdir)
    stdin = program.memory_file(launch.stdin)
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            env={**launch.env, **(env or {})},
            cwd=workdir,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        os.close(stdin)
    return Party(process)


async def run(
    chosen: program.Program,
    bids: Sequence[int | Mapping[str, int]],
    below: Path,
    *,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> list[Ended]:
    """Every party's end, in order."""
    hosts = addresses(len(bids))
    parties = [
        await start(chosen, hosts, rank, bid, below, env=env, python=python)
        for rank, bid in enumerate(bids)
    ]
    return await ends(parties)


async def ends(parties: Sequence[Party], timeout: float = 60) -> list[Ended]:
    return list(await asyncio.gather(*(party.ended(timeout) for party in parties)))
