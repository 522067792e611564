"""The plots of evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from etcc_edge.evaluation.result import Bins, Curve, FileEvaluation
from etcc_edge.evaluation.tables import networks, scores_of, stages
from etcc_edge.reports.plots import PALE, Frame, Points, bars, line_plot, percent_axis


def reliability_plots(evaluations: Sequence[FileEvaluation]) -> list[str]:
    """Accuracy by confidence of each stage; a dot's area grows with its flows."""
    plots = []
    for name, confidences in stages(evaluations).items():
        lines = [_dots(confidence.reliability) if confidence else [] for confidence in confidences]
        frame = Frame(name, percent_axis("confidence, %"), percent_axis("accuracy, %"))
        plots.append(line_plot(frame, lines, diagonal=True, opacity=PALE))
    return plots


def _dots(bins: Bins) -> Points:
    most = max([1, *bins.flows])
    figures = zip(bins.confidence, bins.accuracy, bins.flows, strict=True)
    return [
        (100 * confidence, 100 * accuracy, 1.5 + 4 * math.sqrt(flows / most))
        for confidence, accuracy, flows in figures
        if confidence is not None and accuracy is not None
    ]


def coverage_plots(evaluations: Sequence[FileEvaluation]) -> list[str]:
    """Accuracy of each stage by the share of flows refused, all on one scale."""
    lines_of = {
        name: [_line(confidence.risk_coverage) if confidence else [] for confidence in confidences]
        for name, confidences in stages(evaluations).items()
    }
    least = min((y for lines in lines_of.values() for line in lines for _, y, _ in line), default=0.0)
    floor = min(90, math.floor(least / 10) * 10)
    axes = percent_axis("refused, %"), percent_axis("accuracy, %", floor)
    return [line_plot(Frame(name, *axes), lines) for name, lines in lines_of.items()]


def _line(curve: Curve) -> Points:
    points = zip(curve.refused, curve.accuracy, strict=True)
    return [(100 * refused, 100 * accuracy, 0.0) for refused, accuracy in points if accuracy is not None]


def recall_plots(evaluations: Sequence[FileEvaluation]) -> list[str]:
    """Recall of each network's labels, a bar a bundle."""
    plots = []
    for name, scores in networks(scores_of(evaluations)).items():
        recalls = [{label: own.recall for label, own in score.by_label.items()} if score else {} for score in scores]
        labels = dict.fromkeys(label for recall in recalls for label in recall)
        plots.append(bars(name, {label: [recall.get(label) for recall in recalls] for label in labels}))
    return plots
