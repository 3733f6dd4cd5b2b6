"""Start an MPyC program as one party of a closed mesh: `python -m agent.launchers.mpyc`.

The mpyc package itself is not changed. What it would do with strangers, agent.launchers.mpyc_mesh
does instead: it ties a party's index to its mesh address. The program's stdout is the result;
stderr has its logs and the lines of agent.launchers.progress; `Exit` says how it ended.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.launchers import Exit
from agent.launchers.entry import failed, run_entry
from agent.launchers.progress import Event, Progress, tell

SUPPORTED: Final = "0.11"
MAX_SHARED_KEYS: Final = 2_000
"""MPyC's shared randomness costs a key for each way to leave out `threshold` parties; for more
than this many (14 parties and up) the parties make their randomness together, with messages."""


def main() -> int:
    settings = _settings(sys.argv[1:])
    # Before mpyc does: it would log to stdout, where the result belongs.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    words = mpyc_words(settings.party, settings.rank, settings.threshold)
    sys.argv = [settings.entry, *words, *settings.words]
    sys.path.insert(0, str(Path(settings.entry).parent))
    try:
        import mpyc
        from mpyc.runtime import mpc
    except ImportError as error:
        return failed(Exit.USAGE, f"cannot import mpyc: {error}")
    if not f"{mpyc.__version__}.".startswith(f"{SUPPORTED}."):
        return failed(Exit.USAGE, f"mpyc is {mpyc.__version__}; this launcher is for {SUPPORTED}")
    from agent.launchers.mpyc_mesh import Mesh

    mesh = Mesh(mpc, settings.start_timeout, settings.lost_timeout)
    mesh.install()
    began = time.monotonic()
    problem = run_entry(settings.entry)
    if mesh.lost is not None:
        mesh.end_without_result()
    if problem:
        return failed(Exit.PROGRAM_FAILED, problem)
    seconds = f"{time.monotonic() - began:.2f}"
    tell(Progress(Event.FINISHED, fields={**mesh.traffic(), "seconds": seconds}))
    return Exit.DONE


def mpyc_words(parties: Sequence[str], rank: int, threshold: int) -> list[str]:
    """MPyC's own command line; equal at every party but for the index."""
    words = [word for party in parties for word in ("-P", party)]
    words += ["-I", str(rank), "-T", str(threshold)]
    if math.comb(len(parties), threshold) > MAX_SHARED_KEYS:
        words.append("--no-prss")
    return words


def _settings(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.launchers.mpyc", description=main.__doc__)
    parser.add_argument("--rank", type=int, required=True, help="the own index, from 0")
    parser.add_argument("--threshold", type=int, required=True, help="t, with 2t < parties")
    parser.add_argument("--party", action="append", required=True, help="ADDRESS:PORT, in order")
    parser.add_argument("--start-timeout", type=float, required=True, help="seconds to connect")
    parser.add_argument("--lost-timeout", type=float, required=True, help="seconds of silence")
    parser.add_argument("entry", help="the program")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="words for the program")
    settings = parser.parse_args(words)
    parties = len(settings.party)
    if not 0 <= settings.rank < parties or parties < 2:
        parser.error(f"there is no party {settings.rank} among {parties}")
    if not 0 <= 2 * settings.threshold < parties:
        parser.error(f"the threshold {settings.threshold} is too large for {parties} parties")
    if len({party.rpartition(":")[0] for party in settings.party}) < parties:
        parser.error("every party needs an address of its own")
    if not Path(settings.entry).is_file():
        parser.error(f"there is no program {settings.entry}")
    return settings


if __name__ == "__main__":
    sys.exit(main())
