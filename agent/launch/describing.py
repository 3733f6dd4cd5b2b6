"""What a person reads before allowing a program: its files, its roles, what it opens to whom.

Every word in here may be a stranger's; whoever prints the lines makes them fit for a terminal.
"""

from collections.abc import Iterator
from typing import Any

from agent.launch.difference import Difference
from agent.launch.manifest import Manifest
from agent.launch.program import Program


def to_json(program: Program, changes: Difference | None, *, approved: bool) -> dict[str, Any]:
    """`changes` against the version of that name which was approved last, if there is one."""
    manifest = program.manifest
    return {
        "name": program.name,
        "title": manifest.title,
        "sha256": program.sha256,
        "approved": approved,
        "adapter": manifest.adapter,
        "entry": manifest.entry,
        "parties": {"min": manifest.min_parties, "max": manifest.max_parties},
        "roles": [
            {"name": one.name, "seats": one.seats, "inputs": list(one.inputs)}
            for one in manifest.roles
        ],
        "inputs": [
            {"name": one.name, "title": one.title, "min": one.min, "max": one.max}
            for one in manifest.inputs
        ],
        "opens": [{"what": one.what, "to": list(one.to)} for one in manifest.opens],
        "files": [
            {"name": name, "size": len(content)} for name, content in sorted(program.files.items())
        ],
        "changes": None
        if changes is None
        else {
            "added": list(changes.added),
            "removed": list(changes.removed),
            "changed": list(changes.changed),
            "lines": list(changes.lines),
            "more": changes.more,
        },
    }


def lines(program: Program, changes: Difference | None, *, approved: bool) -> Iterator[str]:
    """The same for a person, a line each."""
    manifest = program.manifest
    yield f"{program.name}: {manifest.title}"
    yield f"sha256 {program.sha256}, {'approved' if approved else 'not approved'}"
    yield f"for {parties(manifest)}, started as {manifest.adapter} {manifest.entry}"
    if manifest.words:
        yield f"its words: {' '.join(manifest.words)}"
    if manifest.launch is not None:
        words = (" ".join(one) if isinstance(one, tuple) else one for one in manifest.launch.argv)
        yield f"its command: {' '.join(words)}"
    for role in manifest.roles:
        yield f"role {role.name}: {role.seats} of them, gives {', '.join(role.inputs) or 'nothing'}"
    for one in manifest.inputs:
        yield f"asks for {one.name}: {one.title}, {one.range}"
    for opening in manifest.opens:
        yield f"opens to {opening.audience}: {opening.what}"
    for name, content in sorted(program.files.items()):
        yield f"file {name}, {len(content)} bytes"
    if changes is not None:
        yield from _changes(changes)


def parties(manifest: Manifest) -> str:
    """How many, in words."""
    least, most = manifest.min_parties, manifest.max_parties
    return f"{least} parties" if least == most else f"{least} to {most} parties"


def _changes(changes: Difference) -> Iterator[str]:
    yield "compared with the version that was approved last:"
    for word, names in (
        ("new", changes.added), ("gone", changes.removed), ("changed", changes.changed)
    ):  # fmt: skip
        yield from (f"  {word}: {name}" for name in names)
    yield from (f"  {line}" for line in changes.lines)
    if changes.more:
        yield "  … and more than is shown here; compare the files themselves"
