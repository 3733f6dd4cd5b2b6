"""Published test vectors, which lie beside the repository and not in it."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2].parent / "shared" / "vectors"


def load(name: str) -> Any:
    """The JSON of one file of vectors; skips the test where they are not."""
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"no published vectors: {file} is missing")
    return json.loads(file.read_text())
