"""A plot of how many took longer than a time, both axes logarithmic.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Sequence

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 74, 150, 56, 56
TIMES = {1e3: "1 µs", 1e4: "10 µs", 1e5: "100 µs", 1e6: "1 ms", 1e7: "10 ms",
         1e8: "0.1 s", 1e9: "1 s", 1e10: "10 s"}
# Told apart by dashes as well as by colour; legible on white and on black.
STYLES = (("#d1495b", ""), ("#b8860b", "9 4"), ("#3b82c4", ""),
          ("#2a9d6f", "2 4"), ("#8f63c9", "12 3 2 3"))
CSS = """
 text { font: 13px system-ui, sans-serif; fill: #24292f; }
 .title { font-size: 16px; font-weight: 600; }
 .grid { stroke: #8c959f; stroke-opacity: .35; }
 .page { fill: #ffffff; }
 path { fill: none; stroke-width: 2.2; }
 @media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .page { fill: #0d1117; } }
"""


@dataclass(frozen=True)
class Series:
    """One curve: times in ns; `never` more did not end."""

    name: str
    times_ns: Sequence[float]
    never: int


def _x(time_ns: float) -> float:
    low, high = math.log10(min(TIMES)), math.log10(max(TIMES))
    share = (math.log10(time_ns) - low) / (high - low)
    return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def _y(share: float, least: float) -> float:
    down = math.log10(max(share, least)) / math.log10(least)
    return TOP + down * (HEIGHT - TOP - BOTTOM)


def _steps(series: Series, least: float) -> str:
    """The SVG path of a curve, thinned to half a pixel."""
    total = len(series.times_ns) + series.never
    points = [(_x(min(TIMES)), _y(1.0, least))]
    for i, time_ns in enumerate(sorted(series.times_ns)):
        share = (total - i - 1) / total
        x, y = _x(time_ns), _y(share, least)
        if share == 0:
            points += [(x, points[-1][1]), (x, HEIGHT - BOTTOM)]
        elif max(abs(x - points[-1][0]), abs(y - points[-1][1])) > 0.5:
            points += [(x, points[-1][1]), (x, y)]
    if series.never:
        points.append((WIDTH - RIGHT, points[-1][1]))
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grid(least: float, x_title: str, y_title: str) -> list[str]:
    lines = []
    for time_ns, label in TIMES.items():
        x = _x(time_ns)
        lines += [f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
                  f'y2="{HEIGHT - BOTTOM}"/>',
                  f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                  f'text-anchor="middle">{label}</text>']
    for power in range(round(-math.log10(least)) + 1):
        share = 10.0 ** -power
        y = _y(share, least)
        lines += [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
                  f'y1="{y:.1f}" y2="{y:.1f}"/>',
                  f'<text x="{LEFT - 8}" y="{y + 4:.1f}" '
                  f'text-anchor="end">{share * 100:g} %</text>']
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*lines, f'<text x="{middle}" y="{HEIGHT - 14}" '
            f'text-anchor="middle">{escape(x_title)}</text>',
            f'<text x="{LEFT - 62}" y="{TOP - 14}">{escape(y_title)}</text>']


def survival(title: str, told: str, x_title: str, y_title: str,
             curves: Sequence[Series]) -> str:
    """The plot; `told` is its description for those who can't see it.

    Not more curves than there are STYLES.
    """
    most = max(len(c.times_ns) + c.never for c in curves)
    least = 10.0 ** -math.ceil(math.log10(most))
    body = _grid(least, x_title, y_title)
    for i, (curve, (colour, dash)) in enumerate(zip(curves, STYLES)):
        y = TOP + 14 + 22 * i
        style = f'stroke="{colour}" stroke-dasharray="{dash}"'
        body += [f'<path d="{_steps(curve, least)}" {style}/>',
                 f'<path d="M{WIDTH - RIGHT + 14},{y}h30" {style}/>',
                 f'<text x="{WIDTH - RIGHT + 52}" y="{y + 4}">'
                 f'{escape(curve.name)}</text>']
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
        f'{HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        'aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(told)}</desc>', f"<style>{CSS}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT - 62}" y="24">{escape(title)}</text>',
        *body, "</svg>", ""])
