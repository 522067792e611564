"""Evaluations as one page."""

from __future__ import annotations

from collections.abc import Sequence

from etcc_edge.evaluation.plots import coverage_plots, recall_plots, reliability_plots
from etcc_edge.evaluation.result import FileEvaluation
from etcc_edge.evaluation.tables import (
    UNITS,
    application_tables,
    attribution_table,
    calibration_table,
    confusion_tables,
    coverage_table,
    label_tables,
    mean_table,
    part_table,
    score_table,
    titles,
)
from etcc_edge.reports.pages import Page, Section, html_page, markdown_page
from etcc_edge.version import __version__


def _heading(evaluations: Sequence[FileEvaluation]) -> str:
    return f"{', '.join(e.bundle for e in evaluations)} on {evaluations[0].file}"


def _introduction(evaluations: Sequence[FileEvaluation]) -> list[str]:
    first = evaluations[0]
    bootstrap = first.scores.bootstrap
    units = f"{bootstrap.units} {UNITS[bootstrap.unit][1]}"
    rows = "without any that was trained on" if first.rows == "test" else "all of the file"
    paragraphs = [
        f"{first.scores.flows} flows, {rows}; {first.flows_ignored} more had no label or could not be read. Run by "
        f"{first.backend} at {first.precision}, etcc-edge {__version__}.",
        f"In parentheses: {100 * bootstrap.level:.0f} % intervals of accuracies, by {bootstrap.resamples} resamples "
        f"of {units}.",
        f"Made {first.made}" + (f" by {first.command}" if first.command else "") + ".",
        f"SHA-256 of the flows file: {first.file_sha256}. Digest of the bundle: "
        + ", ".join(f"{e.bundle_digest} ({e.bundle})" for e in evaluations)
        + ".",
    ]
    doubts = [doubt for evaluation in evaluations for doubt in evaluation.doubts()]
    return [*paragraphs, *(f"Warning: {doubt}, so its figures may flatter." for doubt in doubts)]


def _sections(evaluations: Sequence[FileEvaluation]) -> list[Section]:
    key = titles(evaluations) if len(evaluations) > 1 else []
    return [
        Section(
            "Accuracy (%)",
            "Precision, recall and F1 are means over the labels that occur. Applications are given the true protocol; "
            "end to end wants both labels right. A known application is one that the bundle's network of the true "
            "protocol knows. Rows of applications: as Tables 4 and 5 of Li and Lu 2021.",
            [score_table(evaluations), attribution_table(evaluations)],
        ),
        Section(
            "By part of the flows (%)",
            "Flows of background services (DNS, LLMNR, …) are no application's: a bundle that names them does so by "
            "rule, with no guess. Given is an application whose pair of labels is sure enough for the bundle; strict "
            "counts the others as wrong.",
            [part_table(evaluations)],
        ),
        Section(
            "Applications",
            "Given the true protocol: by protocol as Tables 6 and 7 of Li and Lu 2021, and their mean as Table 8.",
            [*application_tables(evaluations), mean_table(evaluations)],
        ),
        Section(
            "Confusion",
            "True labels by row, given labels by column, as Figure 6 of Li and Lu 2021.",
            confusion_tables(evaluations),
        ),
        Section(
            "By label",
            "Applications are given the true protocol.",
            label_tables(evaluations),
            recall_plots(evaluations),
            key,
        ),
        Section(
            "Calibration",
            "A confidence of 80 % should be right four times in five. End to end, the confidence is that of the pair: "
            "protocol times application. The error is the mean distance over 15 bins.",
            [calibration_table(evaluations)],
            reliability_plots(evaluations),
            key,
        ),
        Section(
            "Refusing the least sure",
            "Accuracy over the flows that are left when the flows of least confidence are refused, in parentheses the "
            "least confidence that is left. End to end it is that of the pair, which infer --min-confidence takes.",
            [coverage_table(evaluations)],
            coverage_plots(evaluations),
            key,
        ),
    ]


def _page(evaluations: Sequence[FileEvaluation]) -> Page:
    return Page(_heading(evaluations), _introduction(evaluations), _sections(evaluations))


def markdown(evaluations: Sequence[FileEvaluation]) -> str:
    """Every table of evaluations of one file, as GitHub's Markdown."""
    return markdown_page(_page(evaluations))


def html(evaluations: Sequence[FileEvaluation]) -> str:
    """Every table and plot of evaluations of one file, in one page that needs no other."""
    return html_page(_page(evaluations))
