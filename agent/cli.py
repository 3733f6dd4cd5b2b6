"""The command `agent`: finds the command's module, runs it, and words what went wrong.

A module per command, imported only when it is used, so that `agent --help` stays quick. To add one:
a line in COMMANDS, and `agent/commands/NAME.py` (dashes become underscores) with a click command
`command`. A command returns normally for success, raises for everything else, and may end the
process with another code by `ctx.exit(code)`.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
from collections.abc import Sequence
from typing import ClassVar

import click

# What `agent --help` says about each, in the order in which a person meets them.
COMMANDS = {
    "create-did": "Make keys and a DID, and register it at a mediator.",
    "show": "Show your DID, as text or as a QR code.",
    "host": "Open a lobby that others join by a link or by three words.",
    "join": "Knock at a lobby, see what will run, and take part.",
    "ui": "Do all of this on a page in your browser.",
    "allow": "Let a program run again with the same parties, or no longer.",
    "contacts": "Your names for other parties, verified or not.",
    "vouch": "Sign for somebody's DID where a lobby wants your word.",
    "run": "Compute something together with other parties.",
    "program": "Keep, show and approve the programs that you compute with.",
    "export": "A running session's mesh, as other tools read it.",
    "verify": "Check a transcript, offline.",
    "ping": "Ask whether another party answers, and by which path.",
    "status": "Show your mail at the mediator and the sessions that run.",
    "wait": "Wait until every party of the running sessions is reached.",
    "netcheck": "Name the NAT before you, and say what it means for paths.",
    "doctor": "Say whether this machine can run a session, and what to do.",
    "bundle": "Put what a bug report needs into one anonymous archive.",
    "resolve": "Look up the DID document of any DID.",
}
EXIT_CODES = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 timeout, 4 relayed although direct was required, "
    "5 identity mismatch, 6 refused or expired, 7 privilege missing."
)
EXAMPLES = """\b
Examples:
  agent ui
  agent create-did --mediator https://mediator.example
  agent host auction --seats 3 --input bid=120
  agent run auction --with did:peer:2… --with did:peer:2… --input bid=150
"""


class LazyGroup(click.Group):
    """A group that knows its commands' names and first lines without importing them."""

    owns_process: ClassVar[bool] = False

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # Importing makes many objects and no garbage: a fifth of the time went into looking for it.
        # They stay, so nobody looks through them later, either.
        gc.disable()
        try:
            module = importlib.import_module(f"agent.commands.{cmd_name.replace('-', '_')}")
        finally:
            if self.owns_process:
                gc.freeze()
            gc.enable()
        command: click.Command = module.command
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    name="agent",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{EXAMPLES}\n{EXIT_CODES} Your keys are kept below $DIDMESH_HOME. "
    "The --help of each command has more examples.",
)
@click.option("-v", "--verbose", count=True, help="Say more on standard error; -vv says it all.")
@click.version_option(package_name="didmesh", prog_name="agent")
def group(verbose: int) -> None:
    """Compute together with people you know, trusting nobody in the middle."""
    if verbose:
        _log(verbose)


def main(arguments: Sequence[str] | None = None) -> None:
    # Keys and inputs are in our memory: a crash of ours, or of the program, writes none of it down.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LazyGroup.owns_process = True
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read us is gone: there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; only a fault of ours leaves as a traceback."""
    try:
        code = group.main(list(arguments), prog_name="agent", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Exception as error:
        from agent.explain import explain, report

        explanation = explain(error)
        if explanation is None:
            raise
        report(explanation, as_json="--json" in arguments)
        return explanation.exit_code


def _log(verbose: int) -> None:
    import logging

    from agent.plain import plain

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(map(plain, super().format(record).split("\n")))

    handler = logging.StreamHandler()
    handler.setFormatter(Plain("agent: %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose > 1 else logging.INFO, handlers=[handler])
