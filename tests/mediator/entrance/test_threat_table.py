"""The threat model names tests; they are there."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def test_every_test_that_the_threat_model_names_exists() -> None:
    page = (CHECKOUT / "docs" / "threat-model.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", page)
    assert len(named) > 30
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"def {name}\(", (CHECKOUT / file).read_text())
    ]
    assert missing == []
