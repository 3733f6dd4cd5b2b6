"""Tables that say which tests stand for what: no name in them without a test that is run."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names`, each FILE::TEST below tests/, that are no test, or one never run."""
    split = (name.partition("::") for name in names)
    return [f"{file}::{test}" for file, _, test in split if test not in _tests_of(file)]


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = TESTS / file
    if not path.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text()))  # some stand in classes
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(
        node.name
        for node in functions
        if node.name.startswith("test_") and not any(map(_is_never_run, node.decorator_list))
    )


def _is_never_run(decorator: ast.expr) -> bool:
    """As `pytest.mark.skip` and `xfail` say; a `skipif` names what a machine has to have."""
    words = ast.unparse(decorator).partition("(")[0].split(".")
    return words[-1] in {"skip", "xfail"}
