"""Kill -9 under load: what a mediator accepted against what it delivered.

    python -m bench.crash [--rounds 200]

Ends with status 1 if anything was lost, strayed or came out of order.
"""

import argparse
import asyncio
import sys

from tests.support.crashes import SENDERS, crash_rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    tally = asyncio.run(crash_rounds(options.rounds))
    print(f"{options.rounds} times kill -9, {SENDERS} senders, 2 recipients")
    print(f"  accepted {tally.accepted}, delivered {tally.delivered}")
    print(f"  lost {tally.lost}, given to another {tally.strayed}, out of order {tally.disordered}")
    if tally.lost or tally.strayed or tally.disordered:
        sys.exit(1)


if __name__ == "__main__":
    main()
