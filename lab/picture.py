"""The matrix as a table of letters and as a heat map."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from lab.matrix import Matrix
from lab.pair import Pair, describe

CELL, MARGIN, TOP = 46, 190, 190
NO_PATH, WRONG = "#d9d9d9", "#d62728"
FASTEST, SLOWEST = 100.0, 2000.0  # ms; as bright as it gets below one, as dull beyond the other
HUES = {"direct": (120, 60), "relay": (220, 190), "degraded": (290, 265)}  # fastest, slowest
LETTERS = {"direct": "D", "relay": "R", "degraded": "S", None: "."}


def table(matrix: Matrix) -> str:
    """A letter per pair, and in words whatever is beside the matrix or was not expected."""
    cells = _by_names(matrix)
    width = max(map(len, matrix.places))
    lines = [" " * width + "".join(f" {n:>3}" for n in range(1, len(matrix.places) + 1))]
    for number, a in enumerate(matrix.places, 1):
        row = "".join(f" {_letter(cells[a, b]):>3}" for b in matrix.places)
        lines.append(f"{a:<{width}}{row}  {number}")
    lines += ["", "D direct   R relay   S relay over a stream   . no path   ! not as expected"]
    if matrix.neighbours:
        lines += ["", "Beside it, two that share a LAN or a carrier:"]
        lines += [f"  {describe(pair)}" for pair in matrix.neighbours]
    if surprises := matrix.surprises():
        lines += ["", "Not as expected:", *(f"  {describe(pair)}" for pair in surprises)]
    told = matrix.summary()
    lines += ["", "  ".join(f"{name}={value}" for name, value in told.items()), ""]
    return "\n".join(lines)


def heat_map(matrix: Matrix) -> str:
    """An SVG with a square per pair: its hue tells the path, the number and shade the time."""
    size = len(matrix.places) * CELL
    extra = 24 * (len(matrix.neighbours) + 3)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{MARGIN + size + 30}" '
        f'height="{TOP + size + extra}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join(
        [head, '<rect width="100%" height="100%" fill="#fff"/>', *_body(matrix), "</svg>\n"]
    )


def _body(matrix: Matrix) -> Iterator[str]:
    cells = _by_names(matrix)
    yield _text(
        12, 26, "Milliseconds from the first offer to the path that stayed", "font-size='16'"
    )
    for row, a in enumerate(matrix.places):
        middle = TOP + row * CELL + CELL / 2 + 5
        yield _text(MARGIN - 8, middle, a, 'text-anchor="end"')
        left, bottom = MARGIN + row * CELL + CELL / 2 + 5, TOP - 8
        yield _text(left, bottom, a, f'transform="rotate(-60 {left} {bottom})"')
        for column, b in enumerate(matrix.places):
            yield from _square(MARGIN + column * CELL, TOP + row * CELL, cells[a, b])
    below = TOP + len(matrix.places) * CELL + 30
    words = "green: direct; blue: relay; purple: relay over a stream; red: not as expected"
    yield _text(12, below, words)
    for number, pair in enumerate(matrix.neighbours, 1):
        yield _text(12, below + 24 * number, describe(pair))


def _square(x: float, y: float, pair: Pair) -> Iterator[str]:
    title = escape(describe(pair))
    yield (
        f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" fill="{_colour(pair)}">'
        f"<title>{title}</title></rect>"
    )
    if (ms := _ms(pair)) is not None:
        words = f"{ms:.0f}"
        yield _text(x + CELL / 2 - 1, y + CELL / 2 + 4, words, 'text-anchor="middle"')


def _colour(pair: Pair) -> str:
    if not pair.as_expected:
        return WRONG
    ms = _ms(pair)
    if pair.path is None or ms is None:
        return NO_PATH
    fast_hue, slow_hue = HUES[pair.path]
    slow = min(1.0, max(0.0, (ms - FASTEST) / (SLOWEST - FASTEST)))
    return f"hsl({fast_hue + slow * (slow_hue - fast_hue):.0f} 60% 70%)"


def _ms(pair: Pair) -> float | None:
    return pair.ms_to_direct if pair.path == "direct" else pair.ms_to_relay


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>'


def _by_names(matrix: Matrix) -> dict[tuple[str, str], Pair]:
    """Pairs in either order."""
    found = {(pair.a, pair.b): pair for pair in matrix.pairs}
    return found | {(b, a): pair for (a, b), pair in found.items()}


def _letter(pair: Pair) -> str:
    if not pair.as_expected:
        return "!"
    return LETTERS[pair.path]
