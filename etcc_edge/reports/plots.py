"""Plots as SVG text: small, without a library, and with text that can be searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Apart in grey and for the colour-blind too (Okabe and Ito); a line's dash tells it apart as well.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7a7a00")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4", "4 4", "1 2", "12 2 2 2")

_WIDTH, _HEIGHT = 250, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 26, 36
_READABLE = 0.55  # opacity of a colour on which black numbers can be read
_SHARE_WITH_NUMBER = 0.04

PALE = 0.35  # opacity of lines that only guide the eye from dot to dot

Points = list[tuple[float, float, float]]  # x and y in their ranges, and the radius of the dot


@dataclass(frozen=True)
class Axis:
    """``ticks``: places with their texts. With ``log`` values are positive."""

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def percent_axis(name: str, floor: int = 0) -> Axis:
    """From ``floor`` to 100 %."""
    step = 20 if floor < 50 else 10 if floor < 80 else 5
    return Axis(name, floor, 100, [(tick, str(tick)) for tick in range(floor, 101, step)])


def log_axis(name: str, values: Sequence[float]) -> Axis:
    """The decades around positive values, each with a tick at 1, and at 2 and 5 where they are few."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    steps = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [step * 10.0**decade for decade in range(low, high) for step in steps] + [10.0**high]
    return Axis(name, ticks[0], ticks[-1], [(tick, _short(tick)) for tick in ticks], log=True)


def _short(value: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


@dataclass(frozen=True)
class Frame:
    """What lines are drawn into. ``size``: width and height, px."""

    title: str
    x_axis: Axis
    y_axis: Axis
    size: tuple[int, int] = (_WIDTH, _HEIGHT)

    @property
    def left(self) -> int:
        return max(_LEFT, 24 + 7 * max(len(text) for _, text in self.y_axis.ticks))

    @property
    def right(self) -> int:
        return self.size[0] - max(_RIGHT, 4 * len(self.x_axis.ticks[-1][1]))

    @property
    def bottom(self) -> int:
        return self.size[1] - _BOTTOM

    def x(self, value: float) -> float:
        """px from the left edge."""
        return self.left + self.x_axis.place(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        """px from the upper edge."""
        return self.bottom - self.y_axis.place(value) * (self.bottom - _TOP)

    def elements(self) -> list[str]:
        """Its title and axes, as SVG."""
        left, right, bottom = self.left, self.right, self.bottom
        parts = [_text(left, 14, self.title, "start", bold=True, length=self.size[0] // 6)]
        for tick, text in self.x_axis.ticks:
            x = self.x(tick)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 3}" stroke="#999"/>')
            parts.append(_text(x, bottom + 14, text, "middle"))
        for tick, text in self.y_axis.ticks:
            y = self.y(tick)
            parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(_text(left - 5, y + 4, text, "end"))
        parts.append(_text((left + right) / 2, self.size[1] - 6, self.x_axis.name, "middle"))
        middle = (_TOP + bottom) / 2
        parts.append(
            f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">'
            f"{escape(self.y_axis.name)}</text>"
        )
        return parts


def line_plot(
    frame: Frame,
    lines: Sequence[Points],
    *,
    opacity: float = 1,
    diagonal: bool = False,
    step: Sequence[tuple[float, float]] = (),
) -> str:
    """Lines of points, in the order of `COLOURS`; with ``opacity`` 0 their dots alone. In grey, a ``diagonal`` from
    the low ends of both axes to the high ones, and ``step``, a line that goes sideways before it goes up."""
    x, y = frame.x, frame.y
    parts = frame.elements()
    if diagonal:
        ends = (x(frame.x_axis.low), y(frame.y_axis.low), x(frame.x_axis.high), y(frame.y_axis.high))
        parts.append(
            '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#999" stroke-dasharray="3 3"/>'.format(*ends)
        )
    if step:
        path = f"M{x(step[0][0]):.1f},{y(step[0][1]):.1f}" + "".join(f"H{x(a):.1f}V{y(b):.1f}" for a, b in step[1:])
        parts.append(f'<path d="{path}" fill="none" stroke="#888" stroke-dasharray="3 3"/>')
    for i, points in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b, _ in points)
        if opacity:
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" '
                f'stroke-opacity="{opacity}" stroke-dasharray="{dash}"/>'
            )
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{r:.1f}" fill="{colour}"/>' for a, b, r in points if r]
    return _svg(*frame.size, frame.title, parts)


def share_plot(title: str, rows: dict[str, list[float]], width: int = 640) -> str:
    """A bar a row, parted by shares of 1, in the order of `COLOURS`; shares of 4 % and more are written in."""
    left, thick = 170, 20
    parts = [_text(0, 14, title, "start", bold=True)]
    top = 24.0
    for name, shares in rows.items():
        parts.append(_text(left - 6, top + thick / 2 + 3, name, "end", length=28))
        at = float(left)
        for i, share in enumerate(shares):
            wide, colour = share * (width - left - 6), COLOURS[i % len(COLOURS)]
            parts.append(
                f'<rect x="{at:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{thick}" fill="{colour}" '
                f'fill-opacity="{_READABLE}"/>'
            )
            if share >= _SHARE_WITH_NUMBER:
                parts.append(_text(at + wide / 2, top + thick / 2 + 4, f"{100 * share:.0f}", "middle"))
            at += wide
        top += thick + 6
    return _svg(width, top + 2, title, parts)


def bars(title: str, values: dict[str, list[float | None]]) -> str:
    """A group of bars a label, a bar a value in [0, 1], in the order of `COLOURS`; None has no bar."""
    left, right, thick = 108, 214, 13
    parts = [_text(0, 14, title, "start", bold=True)]
    top = 24.0
    for label, group in values.items():
        parts.append(_text(left - 6, top + thick * len(group) / 2 + 4, label, "end", length=18))
        for i, value in enumerate(group):
            if value is not None:
                width = value * (right - left)
                parts.append(
                    f'<rect x="{left}" y="{top:.1f}" width="{width:.1f}" height="{thick - 2}" '
                    f'fill="{COLOURS[i % len(COLOURS)]}"/>'
                )
            number = "–" if value is None else f"{100 * value:.1f}"
            parts.append(_text(left + 4 + (value or 0) * (right - left), top + thick - 3, number, "start"))
            top += thick
        top += 7
    parts.append(f'<line x1="{left}" x2="{left}" y1="22" y2="{top - 5:.1f}" stroke="#666"/>')
    return _svg(_WIDTH, top + 2, title, parts)


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False, length: int = 40) -> str:
    short = text if len(text) <= length else text[: length - 1] + "…"
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(short)}</text>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
