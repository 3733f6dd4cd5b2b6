"""What a person sees while a scenario runs: one line a step, said by somebody, in colour
where there is a terminal and plain where there is none.
"""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

COLOURS = {"party0": "cyan", "party1": "magenta", "party2": "yellow", "lab": "blue"}


class Screen:
    """Says on standard output, or on standard error if that belongs to a program."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = Console(stderr=stderr, highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    def say(self, who: str, text: str, *, style: str = "") -> None:
        line = Text()
        line.append(f"{time.monotonic() - self._began:6.2f} s  ", style="dim")
        line.append(f"{who:<9} ", style=COLOURS.get(who, "bold"))
        line.append(text, style=style)
        self._console.print(line)

    def title(self, text: str) -> None:
        self._console.print(Text(f"\n{text}", style="bold"))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns, the first row being their names."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            line = "  " + "   ".join(cells).rstrip()
            self._console.print(Text(line, style="dim" if number == 0 else ""))
