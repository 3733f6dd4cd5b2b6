"""Curves over a logarithmic axis, as an SVG that needs nothing to be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 190, 30, 50
COLOURS = ("#1b6ca8", "#4a9c5d", "#b5651d", "#7a4b9d", "#7fb2d9", "#97cfa5", "#e0a877", "#bd9ed6")


@dataclass(frozen=True)
class Curve:
    name: str
    points: Sequence[tuple[float, float]]


def draw(across_y: str, across_x: str, curves: Sequence[Curve]) -> str:
    """Both axes are logarithmic: a flat line is a cost that does not grow."""
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    x_decades = _decades(xs)
    y_decades = _decades(ys)

    def across(x: float) -> float:
        return LEFT + _part(x, x_decades) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - _part(y, y_decades) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, TOP - 12, across_y),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across_x, "middle"),
    ]
    for power in range(x_decades[0], x_decades[1] + 1):
        x = across(10.0**power)
        parts += [_line(x, TOP, x, HEIGHT - BOTTOM)]
        parts += [_text(x, HEIGHT - BOTTOM + 18, f"{10**power:,}", "middle")]
    for power in range(y_decades[0], y_decades[1] + 1):
        y = up(10.0**power)
        parts += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, f"{10**power:,}", "end")]
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = TOP + 14 + 20 * number
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 9}" width="12" height="10" fill="{colour}"/>'
        )
        parts.append(_text(WIDTH - RIGHT + 32, y, curve.name))
    return "\n".join([*parts, "</svg>\n"])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _part(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
