"""The tables of evaluations, as text: a column group a bundle.

An evaluation is the mapping that `evaluation.file.evaluate_file` documents; those of one list are of one file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from etcc_edge.reports.tables import NONE, Table, percent

Evaluation = dict[str, Any]

SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}


def titles(evaluations: Sequence[Evaluation]) -> list[str]:
    """What each bundle's columns are headed: nothing for one alone, its place where two have one name."""
    if len(evaluations) == 1:
        return [""]
    names = [f"{e['bundle']} ({e['network']})" if e["network"] else e["bundle"] for e in evaluations]
    often = Counter(names)
    return [name if often[name] == 1 else e["location"] for name, e in zip(names, evaluations, strict=True)]


def networks(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation | None]]:
    """The figures of each network, by bundle; None where a bundle has no such network."""
    protocols = dict.fromkeys(protocol for e in evaluations for protocol in e["stage2"])
    return {
        "protocol": [e["protocol"] for e in evaluations],
        **{f"{protocol} applications": [e["stage2"].get(protocol) for e in evaluations] for protocol in protocols},
    }


def stages(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation | None]]:
    """`networks`, and the pair of labels."""
    return {**networks(evaluations), "end to end": [e["end_to_end"] for e in evaluations]}


def score_table(evaluations: Sequence[Evaluation], scores: Sequence[str] = tuple(SCORES), sign: str = "") -> Table:
    """What is scored, over how many flows, and how well (accuracies with intervals); its rows of applications
    are the paper's Tables 4 and 5."""

    def score(figures: Evaluation, key: str) -> str:
        limits = figures.get(f"{key}_interval")
        return percent(figures[key], sign) + (f" ({percent(limits[0])}–{percent(limits[1])})" if limits else "")

    def cells(figures: Evaluation | None) -> list[str]:
        if figures is None:
            return [NONE] * (1 + len(scores))
        return [str(figures["flows"]), *(score(figures, key) for key in scores)]

    def accuracy(figures: Evaluation, key: str, flows: str) -> list[str]:
        return [flows, score(figures, key), *[""] * (len(scores) - 1)]

    ends = [(e["end_to_end"], str(e["end_to_end"]["flows"]), str(e["flows"])) for e in evaluations]
    rows = {name: _joined(map(cells, by_bundle)) for name, by_bundle in networks(evaluations).items()}
    rows["applications, mean"] = _joined(accuracy(e, "mean_stage2_accuracy", "") for e in evaluations)
    rows["protocol, known application"] = _joined(accuracy(end, "protocol_accuracy", n) for end, n, _ in ends)
    rows["end to end, known application"] = _joined(accuracy(end, "accuracy", n) for end, n, _ in ends)
    rows["end to end, all flows"] = _joined(accuracy(end, "strict_accuracy", n) for end, _, n in ends)
    columns = _columns(titles(evaluations), ["flows", *(SCORES[key] for key in scores)])
    return Table("By stage", columns, [[name, *row] for name, row in rows.items()])


def attribution_table(evaluations: Sequence[Evaluation]) -> Table:
    names = {
        "both_right": "both labels right",
        "stage1_wrong": "stage 1 wrong",
        "stage2_wrong": "stage 1 right, stage 2 wrong",
        "no_application_network": "stage 1 wrong: a protocol without application network",
    }
    rows = [[name, *(percent(e["end_to_end"]["attribution"][key]) for e in evaluations)] for key, name in names.items()]
    return Table("Where errors come from, end to end (%)", _columns(titles(evaluations), ["share"]), rows)


def application_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """Precision and recall by application and protocol, a table a bundle: the paper's Tables 6 and 7."""
    tables = []
    for title, e in zip(titles(evaluations), evaluations, strict=True):
        rows = [
            [
                name,
                *(
                    percent(dict(zip(figures["labels"], figures[key], strict=True)).get(name))
                    for key in ("precision_by_label", "recall_by_label")
                    for figures in e["stage2"].values()
                ),
            ]
            for name in e["mean_by_application"]
        ]
        columns = [("", ""), *((score, protocol) for score in ("precision", "recall") for protocol in e["stage2"])]
        tables.append(Table(_titled("Applications by protocol (%)", title), columns, rows))
    return tables


def mean_table(evaluations: Sequence[Evaluation]) -> Table:
    """Precision and recall of each application, the mean over its protocols: the paper's Table 8."""
    names = list(dict.fromkeys(name for e in evaluations for name in e["mean_by_application"]))
    scores = ("precision", "recall", "f1")
    columns: list[dict[str, float | None]] = []
    for e in evaluations:
        for score in scores:
            of = {name: figures[score] for name, figures in e["mean_by_application"].items()}
            known = [value for value in of.values() if value is not None]
            columns.append({**of, "mean": float(np.mean(known)) if known else None})
    rows = [[name, *(percent(column.get(name)) for column in columns)] for name in [*names, "mean"]]
    head = _columns(titles(evaluations), [SCORES[score] for score in scores])
    return Table("Applications, mean over protocols (%)", head, rows)


def label_tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """Support, precision, recall and F1 of each label, a table a network."""
    tables = []
    scores = ("precision", "recall", "f1")
    for name, by_bundle in networks(evaluations).items():
        labels = list(dict.fromkeys(label for figures in by_bundle if figures for label in figures["labels"]))
        rows = [[label, *_joined(_of_label(figures, label, scores) for figures in by_bundle)] for label in labels]
        columns = _columns(titles(evaluations), ["flows", *(SCORES[score] for score in scores)])
        tables.append(Table(f"{_capital(name)} (%)", columns, rows))
    return tables


def _of_label(figures: Evaluation | None, label: str, scores: Sequence[str]) -> list[str]:
    if figures is None or label not in figures["labels"]:
        return [NONE] * (1 + len(scores))
    i = figures["labels"].index(label)
    return [str(figures["support_by_label"][i]), *(percent(figures[f"{score}_by_label"][i]) for score in scores)]


def confusion_tables(evaluations: Sequence[Evaluation], numbered: bool = False) -> list[Table]:
    """Share of each true label (row) that got each label (column), a table a network and bundle: the paper's
    Figure 6. ``numbered``: columns are headed by their label's number, to be narrow."""
    tables = []
    for name, by_bundle in networks(evaluations).items():
        for title, figures in zip(titles(evaluations), by_bundle, strict=True):
            if figures is None:
                continue
            labels = figures["labels"]
            counts = np.array(figures["confusion"], np.int64).reshape(len(labels), len(labels) + 1)
            none = [("given", "none")] if counts[:, -1:].any() else []
            support = counts.sum(axis=1, keepdims=True)
            shares = counts / np.maximum(support, 1)
            shown = len(labels) + len(none)
            heads = [str(i + 1) for i in range(len(labels))] if numbered else labels
            rows = [
                [
                    f"{i + 1} {label}" if numbered else label,
                    *(f"{100 * share:.1f}" if share else "0" for share in shares[i, :shown]),
                    str(support[i, 0]),
                ]
                for i, label in enumerate(labels)
            ]
            columns = [("", "true"), *(("given", head) for head in heads), *none]
            tables.append(
                Table(
                    _titled(f"{_capital(name)}, % of each true label", title),
                    [*columns, ("", "flows")],
                    rows,
                    [[0.0, *shares[i, :shown].tolist(), 0.0] for i in range(len(labels))],
                )
            )
    return tables


def calibration_table(evaluations: Sequence[Evaluation]) -> Table:
    rows = [
        [name, *(percent(figures["calibration_error"] if figures else None) for figures in by_bundle)]
        for name, by_bundle in stages(evaluations).items()
    ]
    return Table("Calibration error (%)", _columns(titles(evaluations), ["error"]), rows)


def coverage_table(evaluations: Sequence[Evaluation]) -> Table:
    """Accuracy by the share that is refused, and its mean over all shares."""
    by_stage = stages(evaluations)
    curves = [
        figures["risk_coverage"] if figures else None
        for by_bundle in zip(*by_stage.values(), strict=True)
        for figures in by_bundle
    ]
    refused = evaluations[0]["end_to_end"]["risk_coverage"]["refused"]
    rows = [
        [f"{100 * share:.0f}", *(percent(curve["accuracy"][i] if curve else None) for curve in curves)]
        for i, share in enumerate(refused)
    ]
    rows.append(["mean", *(percent(curve["area"] if curve else None) for curve in curves)])
    columns = [("", "refused"), *_columns(titles(evaluations), list(by_stage))[1:]]
    return Table("Accuracy of the flows that are left (%)", columns, rows)


def remarks(evaluation: Evaluation) -> list[str]:
    """Where the errors come from, what refusing gains and how far confidences hold, a line each."""
    end = evaluation["end_to_end"]
    parts = end["attribution"]
    at = end["risk_coverage"]["refused"].index(0.2)
    least = end["risk_coverage"]["confidence"][at]
    errors = ", ".join(
        f"{name} {percent(figures['calibration_error'], ' %')}"
        for name, (figures,) in stages([evaluation]).items()
        if figures is not None
    )
    return [
        f"end to end: {percent(parts['both_right'], ' %')} both right, {percent(parts['stage1_wrong'], ' %')} stage 1 "
        f"wrong, {percent(parts['stage2_wrong'], ' %')} only stage 2 wrong, "
        f"{percent(parts['no_application_network'], ' %')} no application network",
        f"at 80 % coverage: {percent(end['accuracy_at_80_coverage'], ' %')} both right"
        + ("" if least is None else f" (confidence of the pair {least:.2f} or more)"),
        f"calibration error: {errors}",
        *_known(evaluation["known"]),
    ]


def _known(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    line = f"called unknown (etcc_known 0): {percent(figures['false_rejection'], ' %')} of the known protocols' flows"
    if figures["unknown_flows"]:
        line += f", {percent(figures['detected'], ' %')} of {figures['unknown_flows']} flows of other protocols"
        if figures["auroc"] is not None:
            line += f" (AUROC {figures['auroc']:.3f})"
    return [line]


def _columns(groups: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    return [("", ""), *((group, name) for group in groups for name in names)]


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return [cell for part in parts for cell in part]


def _titled(text: str, bundle: str) -> str:
    return f"{bundle}: {text}" if bundle else text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
