"""`agent verify`: what a transcript proves, without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from agent.errors import AgentError, Exit
from agent.plain import plain
from agent.session.comparing import differences, merge
from agent.session.transcript import MAX_TRANSCRIPT, NotATranscript, Verdict, check, roster_of
from identity.codec import parse_json
from resolvers.local import LocalResolver


@click.command(
    epilog="""\b
Examples:
  agent verify ~/.local/share/didmesh/transcripts/4f2a90c1d7e3b586.json
  agent verify transcript.json --json
  agent verify alices.json bobs.json carols.json

Exit codes: 0 complete, and all files equal: every party agreed, was ready and signed its result;
1 it is not, and why; 5 a statement in it is not of the party it names."""
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE…",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Check the transcript FILE of a session, offline; several are compared and put together.

    Says for every party what it signed: that it agreed to exactly this descriptor, that it was
    ready, and which result it had.
    """
    contents = {str(file): _read(file) for file in files}
    verdicts = {name: asyncio.run(_check(content, name)) for name, content in contents.items()}
    differing = differences(verdicts)
    forged = [name for name, found in verdicts.items() if found.forged]
    verdict = verdicts[forged[0]] if forged else next(iter(verdicts.values()))
    if len(verdicts) > 1 and forged:
        differing = [
            *(f"{name} holds statements that do not verify" for name in forged),
            *differing,
        ]
    elif len(verdicts) > 1:
        if any("of another session" in words for words in differing):
            raise AgentError(differing[0])
        verdict = asyncio.run(_check(merge([*contents.values()]), "all together"))
    if as_json:
        click.echo(json.dumps({**to_json(verdict), "differences": differing}))
    else:
        click.echo(_words(verdict, len(verdicts), differing))
    good = verdict.complete and not differing
    code = Exit.IDENTITY if forged else Exit.OK if good else Exit.FAILED
    click.get_current_context().exit(int(code))


def to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "session": verdict.session,
        "epoch": verdict.epoch,
        "program": {"name": verdict.program, "sha256": verdict.program_sha256},
        "complete": verdict.complete,
        "verdict": verdict.summary(),
        "false_statements": verdict.forged,
        "parties": [
            {
                "party": f"party{rank}",
                "did": party.did,
                "agreed": party.agreed,
                "ready": party.ready,
                "result_sha256": party.result,
                "aborted": party.aborted,
            }
            for rank, party in enumerate(verdict.parties)
        ],
        "earlier": [to_json(epoch) for epoch in verdict.earlier],
    }


async def _check(content: Any, name: str) -> Verdict:
    resolver = LocalResolver()
    try:
        documents = {did: await resolver.resolve(did) for did in roster_of(content)}
        return check(content, documents)
    except NotATranscript as error:
        raise AgentError(f"{name} is not a transcript: {error}") from error


def _read(file: Path) -> Any:
    with file.open("rb") as stream:
        data = stream.read(MAX_TRANSCRIPT + 1)
    if len(data) > MAX_TRANSCRIPT:
        raise AgentError(f"{file} is too long to be a transcript")
    try:
        return parse_json(data, depth=8)
    except ValueError as error:
        raise AgentError(f"{file} is not a transcript: it is not JSON") from error


def _words(verdict: Verdict, files: int, differing: Sequence[str]) -> str:
    lines = [line for epoch in verdict.earlier for line in _epoch(epoch)]
    lines += [*_epoch(verdict), *differing]
    if files > 1 and not differing:
        lines.append(f"all {files} transcripts are equal")
    return "\n".join(map(plain, [*lines, verdict.summary()]))


def _epoch(verdict: Verdict) -> list[str]:
    lines = [f"session {verdict.session}", f"program {verdict.program} {verdict.program_sha256}"]
    if verdict.epoch:
        lines[0] += f" (epoch {verdict.epoch})"
    for rank, party in enumerate(verdict.parties):
        facts = [
            "agreed" if party.agreed else "did not agree",
            "ready" if party.ready else "was not ready",
            f"result {party.result[:16]}…" if party.result else "no result",
        ]
        if party.aborted:
            facts.append(f"stopped: {party.aborted}")
        lines += [f"party{rank} {party.did}", f"       {', '.join(facts)}"]
    return lines
