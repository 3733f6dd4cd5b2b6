"""The names are generic, so a package of somebody else could shadow one of ours."""

import fnmatch
import importlib
import tomllib
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


def test_an_installation_has_all_that_the_code_reads() -> None:
    """Examples for systemd, proxies and dashboards stay in the checkout."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = [pattern.removeprefix("**/") for pattern in settings["package-data"]["*"]]
    for package in set(PACKAGES) - {"lab"}:
        for path in (ROOT / package).rglob("*"):
            examples = {"__pycache__", "deploy", "systemd"} & {*path.parts}
            if path.is_file() and path.suffix != ".py" and not examples:
                assert any(fnmatch.fnmatch(path.name, one) for one in patterns), path
