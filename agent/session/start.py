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

from agent.connection.turn import TurnServer
from agent.errors import Exit
from agent.launch import adapters
from agent.launch.program import Program
from agent.launch.sandbox import WORDS, Sandbox
from agent.mail.mailbox import Mailbox
from agent.network_helper.client import NetworkHelper
from agent.profile import Choice
from agent.report import Report
from agent.running import Traces
from agent.sandboxing import find_sandbox
from agent.session import transcript
from agent.session.descriptor import Draft, KeyAgreement, alike
from agent.session.events import Continuation, Outcome
from agent.session.machine import SessionMachine
from agent.session.preshared import Decapsulator
from agent.session.statements import Speaker
from agent.session.story import Ending, Story
from agent.taking_part import Part
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
    part: Part

    @property
    def report(self) -> Report:
        return self.part.report

    async def compute(
        self, draft: Draft, mailbox: Mailbox, nonce: str | None = None, now: float | None = None
    ) -> int:
        """Live through the session of this draft; the exit code.

        The mailbox is open, and has no other reader. `nonce` and `now` (Unix seconds) are what our
        proposal is to say, where that is settled.
        """
        sandbox = await asyncio.to_thread(find_sandbox)
        level = sandbox.level
        self.report.event("sandbox", level=str(level), text=WORDS[level])
        documents = {did: await self.resolver.resolve(did) for did in draft.parties}
        opening = Opening(nonce or secrets.token_urlsafe(32), now or time.time())
        records: list[transcript.Record] = []
        stories: list[Story] = []
        mailbox.on_rotation(lambda prior: stories[-1].rotated(prior) if stories else None)
        while True:
            story = self._story(draft, opening, mailbox, sandbox, documents)
            stories.append(story)
            _stop_on_signals(story)
            ending = await story.tell()
            if story.machine.descriptor is not None:
                content = story.machine.descriptor.content
                records.append(transcript.Record(content, story.machine.statements()))
            next_epoch = story.machine.continuation()
            ended = ending.ended
            if not ended.lost or story.stopped or opening.times == self.part.retries:
                break
            if next_epoch is None:
                break
            self._tell_again(ended.reason, next_epoch)
            times = opening.times + 1
            opening = Opening(secrets.token_urlsafe(32), time.time(), next_epoch, times)
        return _conclude(self.choice, draft, records, ending, self.report)

    def _story(
        self,
        draft: Draft,
        opening: Opening,
        mailbox: Mailbox,
        sandbox: Sandbox,
        documents: Mapping[str, DidDocument],
    ) -> Story:
        """One epoch, with keys of its own."""
        me = self.profile.did
        decapsulator = Decapsulator.generate()
        hybrid = draft.key_agreement is KeyAgreement.HYBRID
        machine = SessionMachine(
            draft,
            me=me,
            speaker=speaker_of(self.profile, documents[me]),
            documents=documents,
            nonce=opening.nonce,
            encapsulation_key=decapsulator.encapsulation_key if hybrid else None,
            now=opening.now,
            continues=opening.continues,
        )
        return Story(
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
            patience=self.part.patience,
            turn=TurnServer.from_settings(self.choice.turn, self.choice.turn_file),
            try_hard=self.choice.try_hard,
        )

    def _tell_again(self, reason: str, next_epoch: Continuation) -> None:
        words = f"{reason}; beginning again (epoch {next_epoch.epoch}), everybody is waited for"
        self.report.event("step", name="epoch", text=f"{words} {self.part.patience} s")


@dataclass(frozen=True)
class Opening:
    """What our proposal of an epoch says, beside the draft."""

    nonce: str
    now: float  # Unix seconds
    continues: Continuation | None = None
    times: int = 0  # that we have begun again


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


def _conclude(
    choice: Choice,
    draft: Draft,
    records: Sequence[transcript.Record],
    ending: Ending,
    report: Report,
) -> int:
    """Tell how it ended, in the order in which a person wants to know; the exit code."""
    ended = ending.ended
    code = int(EXIT_CODES[ended.outcome])
    if ended.outcome is Outcome.DONE:
        report.event("step", name="equal", text=_equal(draft))
    else:
        report.event("error", text=ended.reason, hint=None, exit_code=code)
    report.event("cleanup", **asdict(ending.removed))
    result = ending.result if ended.outcome is Outcome.DONE else None
    output = None if result is None else result.decode("utf-8", "replace")
    path = _write_transcript(choice, records) if records else None
    report.event("result", output=output, exit_code=code, transcript=path and str(path))
    return code


def _equal(draft: Draft) -> str:
    """Whose results were compared, and equal: of those who learn the same."""
    groups = alike(draft.roles, draft.outputs)
    if len(groups) == 1:
        return f"results equal ({len(draft.parties)}/{len(draft.parties)})"
    counts = (f"{draft.roles[group[0]]} {len(group)}/{len(group)}" for group in groups)
    return f"results equal among those who learn the same ({', '.join(counts)})"


def _write_transcript(choice: Choice, records: Sequence[transcript.Record]) -> Path:
    """Keep what was signed, in every epoch that we were in."""
    folder = choice.folder / "transcripts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = transcript.to_json(records)
    path = folder / f"{record['session'][:16]}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file, indent=1)
    return path
