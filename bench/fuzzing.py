"""Ten minutes of fuzzing, over all entrances; CI takes one."""

import sys

from fuzz.__main__ import main as fuzz


def main() -> None:
    if status := fuzz(["--seconds", "600"]):
        sys.exit(status)


if __name__ == "__main__":
    main()
