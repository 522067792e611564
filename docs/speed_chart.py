"""Draws docs/speed.svg from the bench's report: ``python docs/speed_chart.py``."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from etcc_edge.reports.plots import COLOURS

ROOT = Path(__file__).parents[1]
REPORT, CHART = ROOT / "bench" / "results" / "default.json", ROOT / "docs" / "speed.svg"
NAMES = {
    "native": "etcc-edge native",
    "onnxruntime": "ONNX Runtime",
    "pytorch eager": "PyTorch",
    "pytorch compiled": "PyTorch compiled",
    "xgboost": "XGBoost",
    "small xgboost": "XGBoost, small",
    "random forest": "random forest",
}
TITLE = "Flows labelled a second: bundle default, raw features in memory, two threads"
LEFT, LONGEST, THICK, GAP, TOP = 180, 430, 18, 8, 34


def chart(report: dict[str, Any]) -> str:
    """An SVG image: a bar for each contender's offline throughput on two threads, the fastest first."""
    rates = {
        f"{NAMES[row['contender']]}, {row['precision']}": row["flows_per_s"]
        for row in report["measurements"]
        if row["scenario"] == "offline" and row["threads"] == 2
    }
    width, height = LEFT + LONGEST + 80, TOP + len(rates) * (THICK + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{TITLE}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-weight="bold">{TITLE}</text>',
    ]
    for i, (name, rate) in enumerate(sorted(rates.items(), key=lambda row: -row[1])):
        top, length = TOP + i * (THICK + GAP), rate / max(rates.values()) * LONGEST
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{THICK}" fill="{COLOURS[i > 0]}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{top + 14}">{rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    CHART.write_text(chart(json.loads(REPORT.read_text(encoding="utf-8"))), encoding="utf-8")
