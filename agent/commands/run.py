"""`agent run`: one command per party, in any order, and the computation has run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence

import click

from agent.approval import allowed, allowed_program
from agent.contacts import Contacts
from agent.errors import UsageMistake
from agent.launch.adapters import ADAPTERS
from agent.launch.inputs import read_inputs
from agent.launch.program import Program
from agent.launch.script import from_script
from agent.launch.seating import assign
from agent.launch.store import ProgramStore
from agent.network_helper.client import NetworkHelper
from agent.privileges import acting_as, drop_root, ordinary_user
from agent.profile import Choice, session_options
from agent.rootless.outside import rootless_option, run_inside
from agent.session.descriptor import KeyAgreement, check_roster
from agent.session.start import Computer, make_draft
from agent.taking_part import Part, computing_options
from identity.keystore import home_folder
from resolvers.registry import default_registry

ME = ""  # ourselves, before the profile is open


@click.command(
    epilog="""\b
Examples:
  agent run auction --with did:peer:2.Ez6… --with did:peer:2.Ez6… --input bid=150
  agent run auction --with "$BOB" --with "$CAROL" --input @bid.txt --timeout 3600
  agent run private_match --role voter --with "$BOB" --with helper="$CAROL" --input vote=1
  agent run private_match --role helper --with "$ALICE" --with "$BOB"

Everybody runs the same command with the others' DIDs, in any order, minutes apart if they like.
The order of the parties is the sorted order of their DIDs unless all of them give the same --order.
Inputs stay on this machine; @FILE keeps them out of the shell's history as well. Standard output
carries the program's result and nothing else.

Exit codes: 0 the computation ran and all results are equal; 1 it failed or a party was lost;
2 usage; 3 somebody did not come in time; 6 another party wants something else, or you have not
approved the program; 7 privilege missing."""
)
@click.argument("words", nargs=-1, required=True, metavar="PROGRAM")
@click.option(
    "--adapter",
    type=click.Choice(sorted(ADAPTERS)),
    help="Run a script as it is: agent run --adapter mpyc … -- python demo.py 8",
)
@click.option(
    "--with",
    "others",
    multiple=True,
    required=True,
    metavar="[ROLE=]NAME|DID",
    help="Another party, by your name for it or its DID, perhaps with its role; once for each.",
)
@click.option("--role", metavar="ROLE", help="Your own role, where parties differ in what they do.")
@click.option(
    "--order", metavar="DID,DID,…", help="All parties in this order instead of the sorted one."
)
@click.option(
    "--classical-keys",
    is_flag=True,
    help="Agree on tunnels without ML-KEM-768, if all of you say so.",
)
@computing_options("the others to come")
@rootless_option
@session_options
def command(
    choice: Choice,
    words: tuple[str, ...],
    adapter: str | None,
    others: tuple[str, ...],
    role: str | None,
    order: str | None,
    classical_keys: bool,
    part: Part,
    rootless: bool,
) -> None:
    """Compute PROGRAM together with the parties named by --with.

    PROGRAM is a program that comes along (auction), one that you added, by name or hash, or the
    path of a folder with a manifest. What does not come along wants your approval first.
    """
    run_inside(rootless)
    user = ordinary_user(os.environ) if os.geteuid() == 0 else None
    with acting_as(user):  # what root may read is not our user's to see
        loaded = wanted_program(ProgramStore(home_folder()), adapter, words)
        wishes = read_wishes(others, Contacts(home_folder()))
        check_count(loaded, len(wishes) + 1)
        roles = assign(loaded.manifest, {ME: role, **wishes})
        values = read_inputs(loaded.manifest, part.inputs, roles[ME])
    keys = KeyAgreement.CLASSICAL if classical_keys else KeyAgreement.HYBRID
    code = asyncio.run(_run(user, choice, loaded, values, roles, order, keys, part))
    click.get_current_context().exit(code)


async def _run(
    user: int | None,
    choice: Choice,
    program: Program,
    inputs: dict[str, int],
    roles: Mapping[str, str],
    order: str | None,
    keys: KeyAgreement,
    part: Part,
) -> int:
    async with NetworkHelper.start(user) as helper:
        if user is not None:
            drop_root(user)  # from here on we read what strangers send
        profile = choice.load()
        by_did = {did if did != ME else profile.did: role for did, role in roles.items()}
        check_count(program, len(by_did))  # who names the own DID as another's counts once
        parties = in_order(by_did, order)
        draft = make_draft(program, parties, [by_did[did] for did in parties], keys)
        resolver = default_registry()
        computer = Computer(choice, profile, program, inputs, helper, resolver, part)
        async with part.mailbox(choice, profile, resolver) as mailbox:
            return await computer.compute(draft, mailbox)


def wanted_program(store: ProgramStore, adapter: str | None, words: Sequence[str]) -> Program:
    """Raises: UsageMistake, NotApproved, ProgramError."""
    if adapter is not None:
        return allowed(store, from_script(adapter, words))
    if len(words) > 1:
        raise UsageMistake(
            f"one program at a time, not {' '.join(words)}",
            "--adapter NAME goes before -- and a script with its words",
        )
    return allowed_program(store, words[0])


def read_wishes(others: Sequence[str], contacts: Contacts) -> dict[str, str | None]:
    """The role that each of the words "WHO" and "ROLE=WHO" gives its party, if any, by DID.

    Raises: InvalidDid; UsageMistake, for a name that is no contact's.
    """
    wishes: dict[str, str | None] = {}
    for word in others:
        role, _, who = word.rpartition("=") if not word.startswith("did:") else ("", "", word)
        wishes[contacts.did(who)] = role or None
    return wishes


def in_order(dids: Iterable[str], order: str | None) -> list[str]:
    """All parties by rank; equal at everybody that was called with the same words.

    Raises: UsageMistake.
    """
    parties = sorted(dids)
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
    return parties


def check_count(program: Program, parties: int) -> None:
    """Raises: UsageMistake."""
    least, most = program.manifest.min_parties, program.manifest.max_parties
    if not least <= parties <= most:
        raise UsageMistake(
            f"{program.name} is for {least} to {most} parties; with you these are {parties}"
        )
