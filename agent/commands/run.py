"""`agent run`: one command per party, in any order, and the computation has run."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from agent.approval import allowed_program
from agent.errors import Exit, UsageMistake
from agent.launch import adapters
from agent.launch.inputs import read_inputs
from agent.launch.program import Program
from agent.launch.store import ProgramStore
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper
from agent.privileges import acting_as, drop_root, ordinary_user
from agent.profile import Choice, profile_options
from agent.report import JsonReport, PlainReport, Report
from agent.running import Traces
from agent.session import transcript
from agent.session.descriptor import Draft, check_roster
from agent.session.events import Outcome
from agent.session.machine import SessionMachine
from agent.session.statements import Speaker
from agent.session.story import Ending, Story
from identity.did import parse_did
from identity.document import DidDocument
from identity.keystore import Profile, home_folder
from resolvers.registry import default_registry

EXIT_CODES = {
    Outcome.DONE: Exit.OK,
    Outcome.FAILED: Exit.FAILED,
    Outcome.MISMATCH: Exit.FAILED,
    Outcome.TIMEOUT: Exit.TIMEOUT,
    Outcome.REFUSED: Exit.REFUSED,
}


@click.command(
    epilog="""\b
Examples:
  agent run auction --with did:peer:2.Ez6… --with did:peer:2.Ez6… --input bid=150
  agent run auction --with "$BOB" --with "$CAROL" --input @bid.txt --timeout 3600

Everybody runs the same command with the others' DIDs, in any order, minutes apart if they like.
The order of the parties is the sorted order of their DIDs unless all of them give the same --order.
Inputs stay on this machine; @FILE keeps them out of the shell's history as well. Standard output
carries the program's result and nothing else.

Exit codes: 0 the computation ran and all results are equal; 1 it failed or a party was lost;
2 usage; 3 somebody did not come in time; 6 another party wants something else, or you
have not approved the program; 7 privilege
missing."""
)
@click.argument("program")
@click.option(
    "--with",
    "others",
    multiple=True,
    required=True,
    metavar="DID",
    help="Another party; once for each.",
)
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE|@FILE", help="A private input of yours."
)
@click.option(
    "--order", metavar="DID,DID,…", help="All parties in this order instead of the sorted one."
)
@click.option(
    "--timeout",
    default=600,
    show_default=True,
    type=click.IntRange(1, 86_400),
    metavar="SECONDS",
    help="How long to wait for the others to come.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a JSON line.")
@profile_options
def command(
    choice: Choice,
    program: str,
    others: tuple[str, ...],
    inputs: tuple[str, ...],
    order: str | None,
    timeout: int,
    as_json: bool,
) -> None:
    """Compute PROGRAM together with the parties named by --with.

    PROGRAM is a program that comes along (auction), one that you added, by name or hash, or the
    path of a folder with a manifest. What does not come along wants your approval first.
    """
    user = ordinary_user(os.environ) if os.geteuid() == 0 else None
    with acting_as(user):  # what root may read is not our user's to see
        loaded = allowed_program(ProgramStore(home_folder()), program)
        values = read_inputs(loaded.manifest, inputs)
    for did in others:
        parse_did(did)
    check_count(loaded, len({*others}) + 1)
    report: Report = JsonReport() if as_json else PlainReport()
    code = asyncio.run(_run(user, choice, loaded, values, others, order, timeout, report))
    click.get_current_context().exit(code)


async def _run(
    user: int | None,
    choice: Choice,
    program: Program,
    inputs: dict[str, int],
    others: Sequence[str],
    order: str | None,
    timeout: int,
    report: Report,
) -> int:
    async with NetworkHelper.start(user) as helper:
        if user is not None:
            drop_root(user)  # from here on we read what strangers send
        profile = choice.load()
        draft = make_draft(program, profile.did, others, order)
        resolver = default_registry()
        documents = {did: await resolver.resolve(did) for did in draft.parties}
        machine = SessionMachine(
            draft,
            me=profile.did,
            speaker=speaker_of(profile, documents[profile.did]),
            documents=documents,
            nonce=secrets.token_urlsafe(32),
            now=time.time(),
        )
        async with Mailbox(profile, resolver) as mailbox:
            story = Story(
                machine=machine,
                program=program,
                inputs=inputs,
                me=profile.did,
                mailbox=mailbox,
                helper=helper,
                traces=Traces(choice.folder),
                report=report,
                patience=timeout,
            )
            _stop_on_signals(story)
            ending = await story.tell()
        return _conclude(choice, machine, ending, report)


def make_draft(program: Program, me: str, others: Sequence[str], order: str | None) -> Draft:
    """What we propose; equal at every party that was called with the same words.

    Raises: UsageMistake.
    """
    parties = sorted({me, *others})
    if order is not None:
        wanted = order.split(",")
        if sorted(wanted) != parties:
            raise UsageMistake(
                "--order must name every party exactly once, your own DID among them",
                "agent show prints your own DID",
            )
        parties = wanted
    try:
        check_roster(parties)
    except ValueError as error:
        raise UsageMistake(str(error)) from error
    check_count(program, len(parties))
    manifest = program.manifest
    return Draft(
        parties=tuple(parties),
        program=program.name,
        sha256=program.sha256,
        adapter=manifest.adapter,
        threshold=manifest.threshold_for(len(parties)),
        runtime=adapters.runtime_versions(program),
        outputs={opening.what: str(opening.to) for opening in manifest.opens},
        parameters={},
    )


def check_count(program: Program, parties: int) -> None:
    """Raises: UsageMistake."""
    least, most = program.manifest.min_parties, program.manifest.max_parties
    if not least <= parties <= most:
        raise UsageMistake(
            f"{program.name} is for {least} to {most} parties; with you these are {parties}"
        )


def speaker_of(profile: Profile, document: DidDocument) -> Speaker:
    """The party's voice in statements: its DID's first key for authentication."""
    kid = document.keys("authentication")[0].id
    return Speaker(kid, profile.secrets[kid])


def _stop_on_signals(story: Story) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, story.stop)


def _conclude(choice: Choice, machine: SessionMachine, ending: Ending, report: Report) -> int:
    """Tell how it ended, in the order in which a person wants to know; the exit code."""
    ended = ending.ended
    code = int(EXIT_CODES[ended.outcome])
    if ended.outcome is Outcome.DONE:
        count = len(machine.draft.parties)
        report.event("step", name="equal", text=f"results equal ({count}/{count})")
    else:
        report.event("error", text=ended.reason, hint=None, exit_code=code)
    report.event("cleanup", **asdict(ending.removed))
    result = ending.result if ended.outcome is Outcome.DONE else None
    output = None if result is None else result.decode("utf-8", "replace")
    path = _write_transcript(choice, machine)
    report.event("result", output=output, exit_code=code, transcript=path and str(path))
    return code


def _write_transcript(choice: Choice, machine: SessionMachine) -> Path | None:
    """Keep what was signed; nothing was before there was a descriptor."""
    if machine.descriptor is None:
        return None
    folder = choice.folder / "transcripts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{machine.descriptor.id[:16]}.json"
    record = transcript.to_json(machine.descriptor.content, machine.statements())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file, indent=1)
    return path
