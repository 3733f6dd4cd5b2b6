"""The command `mediator`: finds the command's module, runs it, and words what went wrong.

A module per command, imported only when it is used. To add one: a line in COMMANDS, and
`mediator/commands/NAME.py` with a click command `command`. A command returns normally for
success and raises a MediatorError for everything else.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence
from typing import ClassVar

import click

# What `mediator --help` says about each, in the order in which a person meets them.
COMMANDS = {
    "run": "Run a mediator until it is told to stop.",
    "show": "Show its DID, invitation and services.",
    "invite": "Make an invitation: a link and a QR code.",
    "status": "Show what waits in the queues, and for whom.",
    "accounts": "List and close accounts; say who may open one.",
    "backup": "Copy its data file while it runs.",
    "migrate": "Copy its store into a database, or back into a file.",
}
EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  7  started as root"""
EXAMPLES = """\b
Examples:
  mediator run                                        for this machine alone
  mediator run --listen 0.0.0.0:8080 --public-url https://mediator.example
  mediator invite                                     a link and a QR code for parties
  mediator status                                     what waits, and for whom
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
        # Importing makes many objects and no garbage to look for, neither now nor later.
        gc.disable()
        try:
            module = importlib.import_module(f"mediator.commands.{cmd_name}")
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
    name="mediator",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{EXAMPLES}\n{EXIT_CODES}",
)
@click.version_option(package_name="didmesh", prog_name="mediator")
def group() -> None:
    """Store and forward DIDComm messages for parties that are not always reachable.

    A mediator keeps sealed messages until their recipient fetches them; it cannot read them.
    It is one process with one file.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    LazyGroup.owns_process = True
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; only a fault of ours leaves as a traceback."""
    try:
        code = group.main(list(arguments), prog_name="mediator", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Exception as error:
        from mediator.explain import explain, report

        explanation = explain(error)
        if explanation is None:
            raise
        report(explanation, as_json="--json" in arguments)
        return explanation.exit_code


if __name__ == "__main__":
    main()
