"""How long a person waits for a command: whole processes, against an interpreter that does nothing.

python -m bench.commands
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROUNDS = 15
AGENT = (sys.executable, "-m", "agent")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, run in commands.items():
                seconds[name].append(run())
    print(f"{'command':44} {'median ms':>9} {'best ms':>8}   aim ms")
    for name, samples in seconds.items():
        aim = _AIMS.get(name, "")
        median, best = statistics.median(samples) * 1000, min(samples) * 1000
        print(f"{name:44} {median:9.0f} {best:8.0f}   {aim}")
    print(f"\n{ROUNDS} interleaved rounds, wall time of the whole process.")
    print("The passphrase costs what age's scrypt costs on purpose; see the line without one.")


_HELP = "agent --help"
_PLAIN = "agent create-did, no passphrase"
_AIMS = {_HELP: "< 200", _PLAIN: "< 400"}


def _commands(home: Path) -> dict[str, Callable[[], float]]:
    profile = iter(range(10**6))

    def create(*words: str) -> float:
        name = f"p{next(profile)}"
        return _timed([*AGENT, "create-did", "--profile", name, *words], home)

    return {
        "python -c pass (floor)": lambda: _timed([sys.executable, "-c", "pass"], home),
        _HELP: lambda: _timed([*AGENT, "--help"], home),
        "agent resolve did:key:…": lambda: _timed([*AGENT, "resolve", _KEY], home),
        _PLAIN: lambda: create("--unencrypted"),
        "agent create-did, with a passphrase": create,
    }


_KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def _timed(argv: Sequence[str], home: Path) -> float:
    environment = {**os.environ, "DIDMESH_HOME": str(home), "DIDMESH_PASSPHRASE": "bench"}
    began = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
