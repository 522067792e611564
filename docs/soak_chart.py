"""Draws docs/soak.svg from what two soaks recorded: ``python docs/soak_chart.py``."""

from __future__ import annotations

import csv
from pathlib import Path

from etcc_edge.reports.plots import Axis, Frame, line_plot

ROOT = Path(__file__).parents[1]
SOAK, DAY = ROOT / "bench" / "results" / "soak.csv", ROOT / "bench" / "results" / "simulated-day.csv"
CHART = ROOT / "docs" / "soak.svg"
WIDTH, HEIGHT = 330, 200
MINUTES = Axis("minutes, packets over a wire", 0, 60, [(tick, str(tick)) for tick in range(0, 61, 15)])
HOURS = Axis("hours, simulated", 0, 24, [(tick, str(tick)) for tick in range(0, 25, 6)])
MEGABYTES = Axis("MB", 0, 125, [(tick, str(tick)) for tick in range(0, 126, 25)])
PACKETS = Axis("million", 0, 4, [(tick, str(tick)) for tick in range(5)])
FLOWS = Axis("million", 0, 2, [(tick, str(tick)) for tick in range(3)])
# Title, file, its columns, what makes the values those of the axes, and these.
PANELS = (
    ("Memory", SOAK, "seconds", "memory", 60, 1e6, MINUTES, MEGABYTES),
    ("Packets sent", SOAK, "seconds", "packets_sent", 60, 1e6, MINUTES, PACKETS),
    ("Memory", DAY, "simulated_seconds", "memory", 3600, 1e6, HOURS, MEGABYTES),
    ("Flows labelled", DAY, "simulated_seconds", "ended", 3600, 1e6, HOURS, FLOWS),
)


def chart() -> str:
    """An SVG image of four plots."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {2 * HEIGHT}" width="{2 * WIDTH}" '
        f'height="{2 * HEIGHT}" role="img" aria-label="Memory and counters of two soaks" font-family="sans-serif" '
        f'font-size="11"><rect width="{2 * WIDTH}" height="{2 * HEIGHT}" fill="#fff"/>'
    ]
    for i, (title, path, x, y, x_unit, y_unit, x_axis, y_axis) in enumerate(PANELS):
        with path.open(encoding="utf-8") as file:
            points = [(float(row[x]) / x_unit, float(row[y]) / y_unit, 0.0) for row in csv.DictReader(file)]
        plot = line_plot(Frame(title, x_axis, y_axis, (WIDTH, HEIGHT)), [points])
        parts.append(f'<g transform="translate({WIDTH * (i % 2)} {HEIGHT * (i // 2)})">{plot}</g>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    CHART.write_text(chart(), encoding="utf-8")
