"""The tables of evaluations, as text: a column group a bundle. The evaluations of one list are of one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from etcc_edge.evaluation.result import (
    FIFTH,
    PARTS,
    Confidence,
    Curve,
    Evaluation,
    FileEvaluation,
    Interval,
    Known,
    Part,
    Score,
    WindowScore,
)
from etcc_edge.reports.numbers import NONE, percent
from etcc_edge.reports.tables import Table

SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
# What is drawn anew for intervals: one, and several with the reason.
UNITS = {
    "session": ("session", "sessions, since flows of one are alike"),
    "flow-id": ("Flow ID", "Flow IDs, since flows of one are alike"),
    "flow": ("flow", "flows"),
}
_LABEL_SCORES = [SCORES[name] for name in ("precision", "recall", "f1")]


def titles(evaluations: Sequence[FileEvaluation]) -> list[str]:
    """What each bundle's columns are headed: nothing for one alone, its place where two have one name."""
    if len(evaluations) == 1:
        return [""]
    names = [f"{e.bundle} ({e.network})" if e.network else e.bundle for e in evaluations]
    often = Counter(names)
    return [name if often[name] == 1 else e.location for name, e in zip(names, evaluations, strict=True)]


def networks(evaluations: Sequence[Evaluation]) -> dict[str, list[Score | None]]:
    """The score of each network, by bundle; None where a bundle has no such network."""
    protocols = dict.fromkeys(protocol for e in evaluations for protocol in e.stage2)
    return {
        "protocol": [e.protocol for e in evaluations],
        **{f"{protocol} applications": [e.stage2.get(protocol) for e in evaluations] for protocol in protocols},
    }


def stages(evaluations: Sequence[FileEvaluation]) -> dict[str, list[Confidence | None]]:
    """The confidences of each network and of the pair of labels, by bundle; None where a bundle has no such network."""
    by_network = networks(scores_of(evaluations))
    return {
        **{name: [score.confidence if score else None for score in scores] for name, scores in by_network.items()},
        "end to end": [e.scores.end_to_end.confidence for e in evaluations],
    }


def scores_of(evaluations: Sequence[FileEvaluation]) -> list[Evaluation]:
    return [e.scores for e in evaluations]


def score_table(evaluations: Sequence[FileEvaluation], names: Sequence[str] = tuple(SCORES), sign: str = "") -> Table:
    """The rows of `score_rows` with their head."""
    columns = _columns(titles(evaluations), ["flows", *(SCORES[name] for name in names)])
    return Table("By stage", columns, score_rows(scores_of(evaluations), names, sign))


def score_rows(
    evaluations: Sequence[Evaluation], names: Sequence[str] = tuple(SCORES), sign: str = ""
) -> list[list[str]]:
    """What is scored, over how many flows, and how well (the named ones of `SCORES`; accuracies with intervals). The
    rows of applications are the paper's Tables 4 and 5."""

    def cells(score: Score | None) -> list[str]:
        if score is None:
            return [NONE] * (1 + len(names))
        texts = {
            "accuracy": with_interval(score.accuracy, score.accuracy_interval, sign),
            "precision": percent(score.precision, sign),
            "recall": percent(score.recall, sign),
            "f1": percent(score.f1, sign),
        }
        return [str(score.flows), *(texts[name] for name in names)]

    def alone(flows: str, value: float | None, limits: Interval | None) -> list[str]:
        return [flows, with_interval(value, limits, sign), *[""] * (len(names) - 1)]

    ends = [(e.end_to_end, str(e.end_to_end.flows), str(e.flows)) for e in evaluations]
    rows = {name: _joined(map(cells, scores)) for name, scores in networks(evaluations).items()}
    rows["applications, mean"] = _joined(
        alone("", e.mean_stage2_accuracy, e.mean_stage2_accuracy_interval) for e in evaluations
    )
    rows["protocol, known application"] = _joined(
        alone(known, end.protocol_accuracy, end.protocol_accuracy_interval) for end, known, _ in ends
    )
    rows["end to end, known application"] = _joined(
        alone(known, end.accuracy, end.accuracy_interval) for end, known, _ in ends
    )
    rows["end to end, all flows"] = _joined(
        alone(every, end.strict_accuracy, end.strict_accuracy_interval) for end, _, every in ends
    )
    return [[name, *row] for name, row in rows.items()]


PART_HEADS = ["flows", "bytes", "protocol", "both", "by bytes", "given", "bytes given", "right of given", "strict"]


def part_rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Both labels by part of the flows, under `PART_HEADS`: what is right of all, by flows and by bytes, how many have
    an application that is given, and what is right of those."""

    def cells(part: Part | None) -> list[str]:
        if part is None:
            return [NONE] * len(PART_HEADS)
        return [
            str(part.flows),
            percent(part.share_of_bytes),
            with_interval(part.protocol_accuracy, part.protocol_accuracy_interval),
            with_interval(part.accuracy, part.accuracy_interval),
            percent(part.accuracy_by_bytes),
            percent(part.given),
            percent(part.given_share_of_bytes),
            with_interval(part.given_accuracy, part.given_accuracy_interval),
            percent(part.strict_accuracy),
        ]

    names = [name for name in PARTS if any(name in e.parts for e in evaluations)]
    return [[PARTS[name], *_joined(cells(e.parts.get(name)) for e in evaluations)] for name in names]


def part_table(evaluations: Sequence[FileEvaluation]) -> Table:
    columns = _columns(titles(evaluations), PART_HEADS)
    return Table("Both labels, by part of the flows (%)", columns, part_rows(scores_of(evaluations)))


def windows_text(windows: WindowScore) -> str:
    """The score of hosts' windows in a sentence."""
    return (
        f"summed over a host's foreground flows of 5 minutes, the application is right in "
        f"{with_interval(windows.accuracy, windows.accuracy_interval)} % of {windows.windows} windows; of the surer "
        f"half, in {percent(windows.accuracy_of_surer_half)} %"
    )


def attribution_table(evaluations: Sequence[FileEvaluation]) -> Table:
    """Where flows end up, as shares of those whose two labels the bundle knows."""
    parts = [e.scores.end_to_end.attribution for e in evaluations]
    rows = {
        "both labels right": [part.both_right for part in parts],
        "stage 1 wrong": [part.stage1_wrong for part in parts],
        "stage 1 right, stage 2 wrong": [part.stage2_wrong for part in parts],
        "stage 1 wrong: a protocol without application network": [part.no_application_network for part in parts],
    }
    cells = [[name, *map(percent, shares)] for name, shares in rows.items()]
    return Table("Where errors come from, end to end (%)", _columns(titles(evaluations), ["share"]), cells)


def application_tables(evaluations: Sequence[FileEvaluation]) -> list[Table]:
    """Precision and recall by application and protocol, a table a bundle: the paper's Tables 6 and 7."""
    tables = []
    for title, e in zip(titles(evaluations), evaluations, strict=True):
        stage2 = e.scores.stage2
        scores = [score.by_label for score in stage2.values()]
        rows = []
        for name in e.scores.mean_by_application:
            own = [by_label.get(name) for by_label in scores]
            precisions = [percent(score.precision if score else None) for score in own]
            recalls = [percent(score.recall if score else None) for score in own]
            rows.append([name, *precisions, *recalls])
        columns = [("", ""), *((score, protocol) for score in ("precision", "recall") for protocol in stage2)]
        tables.append(Table(_titled("Applications by protocol (%)", title), columns, rows))
    return tables


def mean_table(evaluations: Sequence[FileEvaluation]) -> Table:
    """Precision, recall and F1 of each application, the mean over its protocols: the paper's Table 8."""
    names = list(dict.fromkeys(name for e in evaluations for name in e.scores.mean_by_application))
    columns: list[Mapping[str, float | None]] = []
    for e in evaluations:
        means = e.scores.mean_by_application
        columns += [
            _with_mean({name: score.precision for name, score in means.items()}),
            _with_mean({name: score.recall for name, score in means.items()}),
            _with_mean({name: score.f1 for name, score in means.items()}),
        ]
    rows = [[name, *(percent(column.get(name)) for column in columns)] for name in [*names, "mean"]]
    return Table("Applications, mean over protocols (%)", _columns(titles(evaluations), _LABEL_SCORES), rows)


def _with_mean(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    known = [value for value in figures.values() if value is not None]
    return {**figures, "mean": float(np.mean(known)) if known else None}


def label_tables(evaluations: Sequence[FileEvaluation]) -> list[Table]:
    """Support, precision, recall and F1 of each label, a table a network."""
    tables = []
    for name, scores in networks(scores_of(evaluations)).items():
        labels = list(dict.fromkeys(label for score in scores if score for label in score.labels))
        rows = [[label, *_joined(_of_label(score, label) for score in scores)] for label in labels]
        columns = _columns(titles(evaluations), ["flows", *_LABEL_SCORES])
        tables.append(Table(f"{_capital(name)} (%)", columns, rows))
    return tables


def _of_label(score: Score | None, label: str) -> list[str]:
    if score is None or label not in score.labels:
        return [NONE] * (1 + len(_LABEL_SCORES))
    own = score.by_label[label]
    return [str(score.support(label)), percent(own.precision), percent(own.recall), percent(own.f1)]


def confusion_tables(evaluations: Sequence[FileEvaluation], numbered: bool = False) -> list[Table]:
    """Share of each true label (row) that got each label (column), a table a network and bundle: the paper's
    Figure 6. ``numbered``: columns are headed by their label's number, to be narrow."""
    return [
        _confusion_table(_titled(f"{_capital(name)}, % of each true label", title), score, numbered)
        for name, scores in networks(scores_of(evaluations)).items()
        for title, score in zip(titles(evaluations), scores, strict=True)
        if score is not None
    ]


def _confusion_table(title: str, score: Score, numbered: bool) -> Table:
    labels = score.labels
    counts = np.array(score.confusion, np.int64).reshape(len(labels), len(labels) + 1)
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
    columns = [("", "true"), *(("given", head) for head in heads), *none, ("", "flows")]
    return Table(title, columns, rows, [[0.0, *shares[i, :shown].tolist(), 0.0] for i in range(len(labels))])


def calibration_table(evaluations: Sequence[FileEvaluation]) -> Table:
    rows = [
        [name, *(percent(confidence.calibration_error if confidence else None) for confidence in confidences)]
        for name, confidences in stages(evaluations).items()
    ]
    return Table("Calibration error (%)", _columns(titles(evaluations), ["error"]), rows)


def coverage_table(evaluations: Sequence[FileEvaluation]) -> Table:
    """Accuracy by the share that is refused with the least confidence that is left, and its mean over all shares."""
    by_stage = stages(evaluations)
    curves = [
        confidence.risk_coverage if confidence else None
        for confidences in zip(*by_stage.values(), strict=True)
        for confidence in confidences
    ]
    refused = evaluations[0].scores.end_to_end.confidence.risk_coverage.refused
    rows = [[f"{100 * share:.0f}", *(_left(curve, i) for curve in curves)] for i, share in enumerate(refused)]
    rows.append(["mean", *(percent(curve.area if curve else None) for curve in curves)])
    columns = [("", "refused"), *_columns(titles(evaluations), list(by_stage))[1:]]
    return Table("Accuracy of the flows that are left (%), with their least confidence", columns, rows)


def _left(curve: Curve | None, i: int) -> str:
    if curve is None:
        return NONE
    least = curve.confidence[i]
    return percent(curve.accuracy[i]) + ("" if least is None else f" ({least:.4f})")


def remarks(evaluation: FileEvaluation) -> list[str]:
    """Where the errors come from, what refusing gains and how far confidences hold, a line each."""
    end = evaluation.scores.end_to_end
    parts, curve = end.attribution, end.confidence.risk_coverage
    least = curve.confidence[curve.refused.index(FIFTH)]
    errors = ", ".join(
        f"{name} {percent(confidence.calibration_error, ' %')}"
        for name, (confidence,) in stages([evaluation]).items()
        if confidence is not None
    )
    return [
        f"end to end: {percent(parts.both_right, ' %')} both right, {percent(parts.stage1_wrong, ' %')} stage 1 "
        f"wrong, {percent(parts.stage2_wrong, ' %')} only stage 2 wrong, "
        f"{percent(parts.no_application_network, ' %')} no application network",
        f"at 80 % coverage: {percent(end.confidence.accuracy_at_80_coverage, ' %')} both right"
        + ("" if least is None else f" (confidence of the pair {least:.2f} or more)"),
        f"calibration error: {errors}",
        *_known(evaluation.scores.known),
    ]


def _known(known: Known | None) -> list[str]:
    if known is None:
        return []
    line = f"called unknown (etcc_known 0): {percent(known.false_rejection, ' %')} of the known protocols' flows"
    if known.unknown_flows:
        line += f", {percent(known.detected, ' %')} of {known.unknown_flows} flows of other protocols"
        if known.auroc is not None:
            line += f" (AUROC {known.auroc:.3f})"
    return [line]


def with_interval(value: float | None, limits: Interval | None, sign: str = "") -> str:
    return percent(value, sign) + (f" ({percent(limits[0])}–{percent(limits[1])})" if limits else "")


def _columns(groups: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    return [("", ""), *((group, name) for group in groups for name in names)]


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return [cell for part in parts for cell in part]


def _titled(text: str, bundle: str) -> str:
    return f"{bundle}: {text}" if bundle else text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
