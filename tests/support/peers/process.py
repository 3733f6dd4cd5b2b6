"""Foreign DIDComm implementations, each in a process of its own, asked by JSON lines."""

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
INTEROP = ROOT / ".interop"
SICPA = INTEROP / "sicpa/bin/python"
INDICIO = INTEROP / "indicio/bin/python"
CICADA = INTEROP / "cicada/bin/python"
# Each in a folder of its own, by scripts/interop.
PACKAGES = {
    "sicpa": "didcomm 0.3.2",
    "indicio": "didcomm-messaging 0.1.1",
    "cicada": "didmesh[cicada]",
    "node": "didcomm-node 0.4.1",
    "veramo": "@veramo 7.0.1",
    "identus": "@hyperledger/identus-sdk 7.0.0",
    "oidc_provider": "oidc-provider 9.13.3",
}
PATIENCE = 60.0  # seconds until a peer that does not answer is ended


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
        patience = threading.Timer(PATIENCE, self._process.kill)
        patience.start()
        try:
            line = self._process.stdout.readline()
        finally:
            patience.cancel()
        if not line:
            raise PeerError(f"no answer to {op}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer["result"]


def missing(name: str) -> str | None:
    """Why the peer cannot be asked here, or None."""
    if name not in {"sicpa", "indicio", "cicada"} and shutil.which("node") is None:
        return "there is no node: apt-get install nodejs npm, then run scripts/interop"
    if (INTEROP / name / ".installed").exists():  # written when all of it was
        return None
    return f"{PACKAGES[name]} is not installed: run scripts/interop"


def start(name: str) -> Peer:
    """As somebody who seals and opens."""
    if name == "sicpa":
        return Peer([str(SICPA), "-W", "ignore", str(HERE / "sicpa.py")])
    return Peer(["node", str(HERE / "node.js"), str(INTEROP / "node")])


def start_client(name: str) -> Peer:
    """As the client of a mediator; the drivers have the operations in common."""
    argv = {
        "sicpa": [str(SICPA), "-W", "ignore", str(HERE / "sicpa_client.py")],
        "indicio": [str(INDICIO), "-W", "ignore", str(HERE / "indicio_client.py")],
        "node": ["node", str(HERE / "didcomm_node_client.js"), str(INTEROP / "node")],
        "veramo": ["node", str(HERE / "veramo_client.mjs"), str(INTEROP / "veramo")],
        "identus": ["node", str(HERE / "identus_client.js"), str(INTEROP / "identus")],
    }
    return Peer(argv[name])
