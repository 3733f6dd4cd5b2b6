"""Coverage-guided fuzzing of every entrance that takes a stranger's bytes.

    python -m fuzz [--seconds 60] [--keep] [TARGET …]     all targets, in so many seconds in all
    python -m fuzz --one TARGET [FILE …]                   one target, or just these inputs

Seeds are in fuzz/corpus/TARGET; `--keep` adds to them what reached new code. An input that breaks
a promise is printed, and kept under fuzz/findings/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOM = Path(__file__).parent
FINDINGS = ROOM / "findings"
PACKAGES = ["identity", "resolvers", "traversal", "messaging", "mediator", "agent"]
MAX_INPUT = 4096  # bytes; limits above this have tests of their own
MAX_MEMORY = 1024  # MiB
AT_ONCE = max(1, min(4, os.cpu_count() or 1))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--keep", action="store_true", help="add what reached new code to the seeds"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="TARGET")
    options, rest = parser.parse_known_args(argv)
    try:
        import atheris  # noqa: F401
    except ImportError:
        python = f"{sys.implementation.name} {sys.version.partition(' ')[0]} on {sys.platform}"
        print(f"fuzzing skipped: atheris has no wheel for {python}")
        return 0
    if options.one:
        _fuzz_here(options.words[0], [*options.words[1:], *rest])
    return _fuzz_all(options.words, options.seconds, options.keep)


def _fuzz_here(name: str, arguments: Sequence[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from fuzz.targets import TARGETS

        feed = TARGETS[name]()
    atheris.Setup([name, *arguments], feed)
    atheris.Fuzz()


def _fuzz_all(names: Sequence[str], seconds: float, keep: bool) -> int:
    from fuzz.targets import TARGETS

    chosen = list(names or TARGETS)
    each = max(1, int(seconds * AT_ONCE / len(chosen)))
    print(
        f"{'target':20}{'inputs':>10}{'edges':>8}   {each} s each, {AT_ONCE} at a time", flush=True
    )
    failed, waiting, under_way = 0, chosen[::-1], dict[str, _Run]()
    while waiting or under_way:
        while waiting and len(under_way) < AT_ONCE:
            name = waiting.pop()
            under_way[name] = _Run(name, each)
        for name, run in list(under_way.items()):
            if run.process.poll() is not None:
                del under_way[name]
                failed += not run.report(keep)
        time.sleep(0.1)
    return 1 if failed else 0


class _Run:
    """One target in a process of its own."""

    def __init__(self, name: str, seconds: int) -> None:
        self._name = name
        self._new = Path(tempfile.mkdtemp(prefix=f"didmesh-fuzz-{name}-"))
        self._log = self._new / ".log"
        FINDINGS.mkdir(exist_ok=True)
        argv = [
            *(sys.executable, "-m", "fuzz", "--one", name, str(self._new)),
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT}",
            f"-rss_limit_mb={MAX_MEMORY}",
            "-timeout=10",
            f"-artifact_prefix={FINDINGS}/{name}-",
        ]
        seeds = ROOM / "corpus" / name
        if seeds.is_dir():
            argv.insert(6, str(seeds))
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=ROOM.parent, stdout=log, stderr=subprocess.STDOUT
            )

    def report(self, keep: bool) -> bool:
        """Whether nothing was found."""
        log = self._log.read_text(errors="replace")
        self._log.unlink()
        good = self.process.returncode == 0
        inputs = re.findall(r"^#(\d+)", log, re.MULTILINE)
        edges = re.findall(r" cov: (\d+)", log)
        print(
            f"{self._name:20}{inputs[-1] if inputs else '-':>10}{edges[-1] if edges else '-':>8}"
            f"   {'nothing found' if good else 'FOUND SOMETHING'}",
            flush=True,
        )
        if not good:
            print(log[log.find("=== Uncaught") :][-6000:])
        if keep:
            _merge(self._name, self._new)
        shutil.rmtree(self._new)
        return good


def _merge(name: str, new: Path) -> None:
    seeds = ROOM / "corpus" / name
    seeds.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "fuzz", "--one", name, "-merge=1", str(seeds), str(new)]
    subprocess.run(argv, cwd=ROOM.parent, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
