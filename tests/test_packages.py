"""The names are generic, so a package of somebody else could shadow one of ours."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("identity", "resolvers", "traversal", "messaging", "mediator", "agent", "lab")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_the_one_of_this_checkout(name: str) -> None:
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).resolve().parent == ROOT / name, (
        f"another package called {name} is installed here and hides ours: use an environment "
        "that belongs to didmesh alone"
    )
