"""Tables that say which tests stand for what: no name in them without a test."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names`, each FILE::TEST below tests/, that are no test."""
    split = (name.partition("::") for name in names)
    return [f"{file}::{test}" for file, _, test in split if test not in _tests_of(file)]


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = TESTS / file
    if not path.exists():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text()))  # some stand in classes
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))
