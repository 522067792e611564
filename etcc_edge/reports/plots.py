"""The plots of evaluations as SVG text: small, without a library, and with text that can be searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from etcc_edge.reports.tables import Evaluation, networks, stages

# Apart in grey and for the colour-blind too (Okabe and Ito); a line's dash tells it apart as well.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4", "4 4")

_WIDTH, _HEIGHT = 250, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 26, 36

Points = list[tuple[float, float, float]]  # x and y in their ranges, and the radius of the dot


def reliability_plots(evaluations: Sequence[Evaluation]) -> list[str]:
    """Accuracy by confidence of each stage; a dot's area grows with its flows."""
    plots = []
    for name, by_bundle in stages(evaluations).items():
        lines: list[Points] = []
        for figures in by_bundle:
            bins = figures["reliability"] if figures else {"confidence": [], "accuracy": [], "flows": []}
            most = max([1, *bins["flows"]])
            bins = zip(bins["confidence"], bins["accuracy"], bins["flows"], strict=True)
            lines.append([(100 * x, 100 * y, 1.5 + 4 * math.sqrt(n / most)) for x, y, n in bins if n])
        plots.append(_lines(name, lines, "confidence, %", "accuracy, %", (0, 100), 0, diagonal=True))
    return plots


def coverage_plots(evaluations: Sequence[Evaluation]) -> list[str]:
    """Accuracy of each stage by the share of flows refused, all on one scale."""
    by_stage = stages(evaluations)
    curves = {
        name: [_curve(figures["risk_coverage"]) if figures else [] for figures in by_bundle]
        for name, by_bundle in by_stage.items()
    }
    least = min((y for lines in curves.values() for line in lines for _, y, _ in line), default=0.0)
    floor = min(90, math.floor(least / 10) * 10)
    return [_lines(name, lines, "refused, %", "accuracy, %", (0, 100), floor) for name, lines in curves.items()]


def _curve(figures: Evaluation) -> Points:
    points = zip(figures["refused"], figures["accuracy"], strict=True)
    return [(100 * x, 100 * y, 0.0) for x, y in points if y is not None]


def recall_plots(evaluations: Sequence[Evaluation]) -> list[str]:
    """Recall of each network's labels, a bar a bundle."""
    plots = []
    for name, by_bundle in networks(evaluations).items():
        labels = list(dict.fromkeys(label for figures in by_bundle if figures for label in figures["labels"]))
        recalls = [
            dict(zip(figures["labels"], figures["recall_by_label"], strict=True)) if figures else {}
            for figures in by_bundle
        ]
        plots.append(_bars(name, {label: [recall.get(label) for recall in recalls] for label in labels}))
    return plots


def _lines(
    title: str,
    lines: Sequence[Points],
    x_name: str,
    y_name: str,
    x_range: tuple[float, float],
    y_floor: float,
    diagonal: bool = False,
) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - y_floor) / (100 - y_floor) * (bottom - _TOP)

    parts = [_text(_LEFT, 14, title, "start", bold=True)]
    for tick in range(0, 101, 20):
        parts.append(_text(x(tick), bottom + 14, str(tick), "middle"))
    step = 20 if y_floor < 50 else 10 if y_floor < 80 else 5
    for tick in range(int(y_floor), 101, step):
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 5, y(tick) + 4, str(tick), "end"))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 6, x_name, "middle"))
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">{escape(y_name)}'
        "</text>"
    )
    if diagonal:
        parts.append(
            f'<line x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(100):.1f}" y2="{y(100):.1f}" stroke="#999" '
            'stroke-dasharray="3 3"/>'
        )
    for i, points in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b, _ in points)
        # Where dots have weights, the line between them only guides the eye.
        pale = 0.35 if any(r for *_, r in points) else 1
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-opacity="{pale}" '
            f'stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{r:.1f}" fill="{colour}"/>' for a, b, r in points if r]
    return _svg(_WIDTH, _HEIGHT, title, parts)


def _bars(title: str, values: dict[str, list[float | None]]) -> str:
    left, right, thick = 108, 214, 13
    parts = [_text(0, 14, title, "start", bold=True)]
    top = 24.0
    for label, by_bundle in values.items():
        parts.append(_text(left - 6, top + thick * len(by_bundle) / 2 + 4, label, "end", length=18))
        for i, value in enumerate(by_bundle):
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
