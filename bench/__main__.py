"""Every benchmark, one after the other: `python -m bench`, or `python -m bench NAME …`."""

import runpy
import sys

BENCHES = (
    *("commands", "envelopes", "mediator", "peers", "stores", "cluster", "model", "sockets"),
    *("mesh", "meeting", "parties", "relay", "lobby", "gathering", "crash", "fuzzing"),
)


def main() -> None:
    chosen = sys.argv[1:] or BENCHES
    del sys.argv[1:]
    for name in chosen:
        print(f"\n== {name}\n", flush=True)
        runpy.run_module(f"bench.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
