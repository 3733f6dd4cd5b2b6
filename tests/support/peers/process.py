"""A foreign DIDComm implementation in its own process, asked by JSON lines."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
SICPA = ROOT / ".interop/sicpa/bin/python"
NODE_MODULES = ROOT / ".interop/node/node_modules"


class PeerError(Exception):
    """The foreign implementation refused; its words."""


class Peer:
    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def ask(self, op: str, **request: Any) -> Any:
        """Raises: PeerError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["result"]


def missing(name: str) -> str | None:
    """Why the peer cannot be asked here, or None."""
    if name == "sicpa":
        return None if SICPA.exists() else "didcomm 0.3.2 is not installed: run scripts/interop"
    if shutil.which("node") is None:
        return "there is no node: apt-get install nodejs npm, then run scripts/interop"
    installed = (NODE_MODULES / "didcomm-node").exists()
    return None if installed else "didcomm-node 0.4.1 is not installed: run scripts/interop"


def start(name: str) -> Peer:
    if name == "sicpa":
        return Peer([str(SICPA), "-W", "ignore", str(HERE / "sicpa.py")])
    return Peer(["node", str(HERE / "node.js"), str(NODE_MODULES.parent)])
