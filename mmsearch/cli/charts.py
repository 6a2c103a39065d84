"""Line charts as SVG inside a page: they take its colours, light or dark, and need no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 10, 40
COLOURS = 6
"""Lines that have a colour of their own: `--line-0` and so on in the stylesheet."""


@dataclass(frozen=True)
class Line:
    """points: x and y; filled: the area below it; dots: a mark at each point."""

    name: str
    points: Sequence[tuple[float, float]]
    filled: bool = False
    dots: bool = False
    quiet: bool = False
    """For comparison only: dashed, without a name below."""


@dataclass(frozen=True)
class Axis:
    """low and high: of what is shown; log: powers of ten are as far apart; ticks: where numbers
    stand."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def share(self, value: float) -> float:
        """How far along a value is, 0 to 1."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / ((high - low) or 1)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], *, note: str = "") -> str:
    """A figure with axes, lines, and their names below."""
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in y.ticks:
        at = _y(y, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>'
                     f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" class="end">{_number(tick)}</text>')
    for tick in x.ticks:
        at = _x(x, tick)
        parts.append(f'<path class="grid" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
                     f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" class="middle">'
                     f'{_number(tick)}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" class="middle">'
                 f'{escape(x.label)}</text>')
    named = [line for line in lines if not line.quiet]
    parts += [_drawn(line, x, y, named.index(line) % COLOURS if line in named else None)
              for line in lines]
    parts.append("</svg>")
    legend = "".join(f'<li><i class="line-{n % COLOURS}"></i>{escape(line.name)}</li>'
                     for n, line in enumerate(named)) if len(named) > 1 else ""
    below = f"<p>{escape(note)}</p>" if note else ""
    return (f'<figure><figcaption>{escape(title)} <small>{escape(y.label)}</small></figcaption>'
            f'{"".join(parts)}{f"<ul>{legend}</ul>" if legend else ""}{below}</figure>')


def _drawn(line: Line, x: Axis, y: Axis, colour: int | None) -> str:
    at = [(_x(x, one), _y(y, other)) for one, other in line.points]
    if not at:
        return ""
    path = "L".join(f"{left:.1f} {top:.1f}" for left, top in at)
    name = "quiet" if colour is None else f"line-{colour}"
    parts = [f'<path class="{name}" d="M{path}"/>']
    if line.filled:
        floor = _HEIGHT - _BOTTOM
        parts.insert(0, f'<path class="{name} filled" '
                        f'd="M{at[0][0]:.1f} {floor}L{path}L{at[-1][0]:.1f} {floor}Z"/>')
    if line.dots:
        parts += [f'<circle class="{name}" cx="{left:.1f}" cy="{top:.1f}" r="3"/>'
                  for left, top in at]
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _number(value: float) -> str:
    return f"{value:,.10g}"
