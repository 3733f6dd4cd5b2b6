"""The lab from the command line: `python -m lab --help`."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from lab import plan, runs, standing
from lab.behaviour import EXPECTED, Verdict, check
from lab.commands import LabError
from lab.screen import Screen
from lab.topology import Lab


class Cli(click.Group):
    """Says what went wrong in one sentence, with a hint where there is one."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except LabError as error:
            click.echo(f"lab: {error}", err=True)
            if error.hint:
                click.echo(f"lab: hint: {error.hint}", err=True)
            sys.exit(1)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log every command before it runs.")
def cli(verbose: bool) -> None:
    """A small internet in network namespaces on this machine. Needs root.

    \b
    python -m lab demo          three homes behind NATs hold an auction
    python -m lab check-nats    what each NAT kind really does
    python -m lab matrix        which NAT kinds can be connected, by trying all
    python -m lab up TOPOLOGY   a lab that stays, as a file describes it
    python -m lab shell HOST    look around in it
    python -m lab list          the labs on this machine, and the topologies
    python -m lab down          end what is up, remove what a killed lab has left

    Labs clean up after themselves, also when they fail or are told to end;
    several can run side by side. Exit codes: 0 ok, 1 failed, 2 usage.
    """
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
def demo(as_json: bool) -> None:
    """Three parties behind NATs, an auction, and a clean machine.

    A mediator runs on a public address of the lab; each of three homes makes a
    DID and calls `agent run auction` with its bid (120, 150 and 135). Shows how
    each pair was connected, what each party printed, and what is left after it.
    With --json the progress goes to standard error. Exit code 1 if anything is
    not as it has to be.
    """
    from lab import demo as scenario

    screen = Screen(stderr=as_json)
    facts = scenario.demo(screen)
    if as_json:
        click.echo(json.dumps(facts.to_json(), indent=2))
    else:
        scenario.show(screen, facts)
    if shortcoming := facts.shortcoming():
        raise LabError(shortcoming, facts.hint)


@cli.command("check-nats")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def check_nats(as_json: bool) -> None:
    """Build one home of every NAT kind and measure what it does.

    Mapping and filtering in the words of RFC 4787, tested from inside as in
    RFC 5780. Exit code 1 if one behaves otherwise than its name says.
    """
    with Lab() as lab:
        kinds = {kind: kind for kind in EXPECTED}
        for kind in kinds:
            if kind == "public":
                lab.public(kind, "198.51.100.10")
            else:
                lab.home(kind, nat=kind)
        verdicts = check(lab, kinds)
    if as_json:
        facts = [{"kind": v.kind, **asdict(v.seen), "verified": v.verified} for v in verdicts]
        click.echo(json.dumps(facts, indent=2))
    else:
        _print_table(verdicts)
    sys.exit(0 if all(verdict.verified for verdict in verdicts) else 1)


@cli.command("matrix")
@click.option("--kinds", metavar="KIND,KIND,…", help="These only, instead of all of them.")
@click.option("--jobs", type=click.IntRange(1), default=3, help="Pairs that connect at a time.")
@click.option("--late", is_flag=True, help="Open direct ways late, to count what is lost then.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/lab-matrix"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def matrix_command(kinds: str | None, jobs: int, late: bool, out: Path, as_json: bool) -> None:
    """Every kind of place against every other, with real agents.

    Connected or not, directly or not, as RFC 4787 lets expect or not, and how long
    it took. Two homes of one LAN and two behind one carrier are tried as well,
    unless --kinds chooses. With --late a direct way opens only when the pair's program
    counts datagrams, so that every change from the relay to it is counted. Writes a
    table and a picture to OUT.txt and OUT.svg (build/lab-matrix).
    Exit code 1 if a pair is not as expected.
    """
    from lab import matrix as played
    from lab.picture import heat_map, table
    from lab.places import PLACES

    names = kinds.split(",") if kinds else list(PLACES)
    found = played.matrix(
        names,
        jobs=jobs,
        say=lambda line: click.echo(line, err=as_json),
        neighbours=kinds is None,
        late=late,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".txt").write_text(table(found))
    out.with_suffix(".svg").write_text(heat_map(found))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        click.echo(table(found))
    sys.exit(1 if found.surprises() else 0)


def _print_table(verdicts: list[Verdict]) -> None:
    row = "{:<20} {:<28} {:<28} {:<11} {:<8} {:<8} {}"
    names = ("kind", "mapping", "filtering", "ports", "hairpin", "passes", "verified")
    click.echo(row.format(*names))
    for verdict in verdicts:
        seen = verdict.seen
        words = (seen.mapping, seen.filtering, seen.ports)
        yes = {True: "yes", False: "NO"}
        click.echo(
            row.format(
                verdict.kind,
                *(word or "-" for word in words),
                "yes" if seen.hairpin else "no",
                seen.passes,
                yes[verdict.verified],
            )
        )


@cli.command("up")
@click.argument("topology")
def bring_up(topology: str) -> None:
    """Build a lab that stays until `down`, in the background.

    TOPOLOGY is the name of one in lab/topologies, or a file like those. Every NAT
    is measured before the lab counts as ready. `shell HOST` leads inside.
    """
    path = plan.find(topology)
    plan.read(path)  # here, where its author sees the error at once
    facts = standing.up(path)
    click.echo(f"{facts['lab']}: {facts['title']}")
    for host, addresses in facts["hosts"].items():
        click.echo(f"  {host:<16} {', '.join(addresses)}")
    click.echo("python -m lab shell HOST leads inside, python -m lab down ends it")


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(host: str, command: tuple[str, ...]) -> None:
    """A shell, or one COMMAND, as root on HOST of a running lab.

    Routers are called HOME-router. Where several labs have the host, say LAB/HOST.
    """
    standing.shell(host, list(command))


@cli.command("list")
def list_runs() -> None:
    """The labs on this machine, running or left over, and the topologies for `up`."""
    for run in runs.find():
        found = runs.leftovers(run)
        state = "running" if runs.is_alive(run) else "left over"
        made_from = standing.topology_of(run)
        click.echo(
            f"{run}  {state}  {len(found.namespaces)} namespaces  {len(found.processes)} processes"
            + (f"  up: {made_from}" if made_from else "")
        )
    for name in plan.names():
        click.echo(f"topology {name:<14} {plan.read(plan.find(name)).title}")


@cli.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
def down(labs: tuple[str, ...]) -> None:
    """Take down what `up` has built, and remove what killed labs have left.

    All of it, or the named LABs only. Other running labs (a demo, a test, a
    matrix) stay as they are.
    """
    for run in labs or runs.find():
        if runs.is_alive(run) and standing.topology_of(run) is None:
            click.echo(f"{run} is running and stays")
            continue
        standing.down(run)
        if left := runs.leftovers(run):
            raise LabError(f"could not remove all of {run}: {left}")
        click.echo(f"{run} removed")


if __name__ == "__main__":
    cli(prog_name="python -m lab")
