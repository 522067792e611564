"""The plots of evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from etcc_edge.evaluation.tables import Evaluation, networks, stages
from etcc_edge.reports.plots import Points, bars, line_plot, percent_axis


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
        axes = percent_axis("confidence, %"), percent_axis("accuracy, %")
        plots.append(line_plot(name, lines, *axes, diagonal=True, pale=True))
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
    axes = percent_axis("refused, %"), percent_axis("accuracy, %", floor)
    return [line_plot(name, lines, *axes) for name, lines in curves.items()]


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
        plots.append(bars(name, {label: [recall.get(label) for recall in recalls] for label in labels}))
    return plots
