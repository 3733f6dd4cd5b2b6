"""From a draft to a finished session: one call for every command that computes something."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.errors import Exit
from agent.launch import adapters
from agent.launch.program import Program
from agent.launch.sandbox import WORDS
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper
from agent.profile import Choice
from agent.report import Report
from agent.running import Traces
from agent.sandboxing import find_sandbox
from agent.session import transcript
from agent.session.descriptor import Draft, KeyAgreement, alike
from agent.session.events import Outcome
from agent.session.machine import SessionMachine
from agent.session.preshared import Decapsulator
from agent.session.statements import Speaker
from agent.session.story import Ending, Story
from identity.document import DidDocument
from identity.keystore import Profile
from resolvers.resolver import Resolver

EXIT_CODES = {
    Outcome.DONE: Exit.OK,
    Outcome.FAILED: Exit.FAILED,
    Outcome.MISMATCH: Exit.FAILED,
    Outcome.TIMEOUT: Exit.TIMEOUT,
    Outcome.REFUSED: Exit.REFUSED,
}


@dataclass(frozen=True)
class Computer:
    """One party on its machine: all that a session needs and no other party decides."""

    choice: Choice
    profile: Profile
    program: Program
    inputs: Mapping[str, int]
    helper: NetworkHelper
    resolver: Resolver
    report: Report
    patience: float  # seconds to wait for the other parties to come

    async def compute(
        self, draft: Draft, nonce: str | None = None, now: float | None = None
    ) -> int:
        """Live through the session of this draft; the exit code.

        `nonce` and `now` (Unix seconds) are what our proposal is to say, where that is settled.
        """
        me = self.profile.did
        sandbox = await asyncio.to_thread(find_sandbox)
        level = sandbox.level
        self.report.event("sandbox", level=str(level), text=WORDS[level])
        documents = {did: await self.resolver.resolve(did) for did in draft.parties}
        decapsulator = Decapsulator.generate()
        hybrid = draft.key_agreement is KeyAgreement.HYBRID
        machine = SessionMachine(
            draft,
            me=me,
            speaker=speaker_of(self.profile, documents[me]),
            documents=documents,
            nonce=nonce or secrets.token_urlsafe(32),
            encapsulation_key=decapsulator.encapsulation_key if hybrid else None,
            now=now or time.time(),
        )
        async with Mailbox(self.profile, self.resolver) as mailbox:
            story = Story(
                machine=machine,
                program=self.program,
                inputs=self.inputs,
                me=me,
                mailbox=mailbox,
                helper=self.helper,
                sandbox=sandbox,
                traces=Traces(self.choice.folder),
                decapsulator=decapsulator,
                report=self.report,
                patience=self.patience,
            )
            _stop_on_signals(story)
            ending = await story.tell()
        return _conclude(self.choice, machine, ending, self.report)


def make_draft(
    program: Program,
    parties: Sequence[str],
    roles: Sequence[str] = (),
    key_agreement: KeyAgreement = KeyAgreement.HYBRID,
) -> Draft:
    """What we propose to these parties in this order; equal at everybody with this program.

    `roles` are theirs, in the same order; without them they sit as the manifest lists the seats.
    """
    manifest = program.manifest
    return Draft(
        parties=tuple(parties),
        roles=tuple(roles) or manifest.seats(len(parties)),
        program=program.name,
        sha256=program.sha256,
        adapter=manifest.adapter,
        threshold=manifest.threshold_for(len(parties)),
        runtime=adapters.runtime_versions(program),
        outputs={opening.what: opening.audience for opening in manifest.opens},
        parameters={},
        key_agreement=key_agreement,
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
        report.event("step", name="equal", text=_equal(machine.draft))
    else:
        report.event("error", text=ended.reason, hint=None, exit_code=code)
    report.event("cleanup", **asdict(ending.removed))
    result = ending.result if ended.outcome is Outcome.DONE else None
    output = None if result is None else result.decode("utf-8", "replace")
    path = _write_transcript(choice, machine)
    report.event("result", output=output, exit_code=code, transcript=path and str(path))
    return code


def _equal(draft: Draft) -> str:
    """Whose results were compared, and equal: of those who learn the same."""
    groups = alike(draft.roles, draft.outputs)
    if len(groups) == 1:
        return f"results equal ({len(draft.parties)}/{len(draft.parties)})"
    counts = (f"{draft.roles[group[0]]} {len(group)}/{len(group)}" for group in groups)
    return f"results equal among those who learn the same ({', '.join(counts)})"


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
