"""The chapters inside the mesh: probe the program's ports, run the program, keep its result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.launch import adapters
from agent.launch.program import Program, write_files
from agent.launch.sandbox import Sandbox
from agent.session.descriptor import Descriptor
from agent.session.probe import PortsClosed, probe_ports
from agent.session.runner import ProgramFailed, run_program
from agent.session.stage import Stage

CPU_FACTOR = 4  # seconds of all its threads that a program may compute for a second it may run


async def probe(stage: Stage, descriptor: Descriptor) -> None:
    """Whether the program's ports are open between us and everybody.

    Raises: Stopped, naming who is not reached.
    """
    places = descriptor.program_places()
    own = places.pop(stage.me)
    try:
        await probe_ports(lambda: stage.helper.socket("tcp"), own, places, stage.patience)
    except PortsClosed as closed:
        parties = closed.unreached or closed.unseen
        way = "cannot reach" if closed.unreached else "is not reached by"
        stage.fail(
            f"{stage.name(stage.me)} {way} the program's port: {stage.names(parties)}", parties[0]
        )
    stage.step("ports", "the program's ports are open to and from everybody")


async def compute(
    stage: Stage,
    descriptor: Descriptor,
    program: Program,
    inputs: Mapping[str, int],
    sandbox: Sandbox,
    workdir: Path,
) -> bytes:
    """What our program printed.

    Raises: Stopped, if it failed.
    """
    me = stage.name(stage.me)
    stage.step("run", f"everybody is ready; running {program.name} as {me}")
    draft = stage.machine.draft
    rank = descriptor.rank(stage.me)
    seats = adapters.Seats(
        rank, descriptor.addresses, descriptor.ports, draft.threshold, draft.roles
    )
    timeouts = program.manifest.timeouts
    launch = adapters.plan(program, seats, inputs, sandbox.home(workdir), sys.executable)
    write_files(launch.files, workdir)
    argv = sandbox.wrap(launch.argv, workdir, CPU_FACTOR * timeouts.run)
    try:
        return await run_program(
            stage.helper, replace(launch, argv=argv), workdir, timeouts, stage.step
        )
    except ProgramFailed as failed:
        ranks = {str(rank): did for rank, did in enumerate(descriptor.parties)}
        if party := ranks.get(failed.lost or ""):
            stage.fail(f"lost {stage.name(party)}: {failed}", party, lost=True)
        stage.fail(f"the program of {me} failed: {failed}", stage.me)
