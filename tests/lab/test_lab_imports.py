"""The lab tests the other rooms from outside."""

import ast
from pathlib import Path

LAB = Path(__file__).resolve().parents[2] / "lab"
ROOMS = {"identity", "resolvers", "traversal", "messaging", "mediator", "agent"}


def test_the_lab_imports_nothing_of_what_it_tests() -> None:
    files = sorted(LAB.rglob("*.py"))
    assert len(files) > 5
    imported = {(path.name, name) for path in files for name in _imports(path)}
    assert [entry for entry in sorted(imported) if entry[1] in ROOMS] == []


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
