"""Every benchmark, one after the other: `python -m bench`, or `python -m bench NAME …`."""

import importlib
import sys

BENCHES = ("envelopes", "mediator", "commands", "mesh", "sockets", "peers", "crash", "fuzzing")


def main() -> None:
    for name in sys.argv[1:] or BENCHES:
        print(f"\n== {name}\n", flush=True)
        importlib.import_module(f"bench.{name}").main()


if __name__ == "__main__":
    main()
