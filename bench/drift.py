"""What a precision costs in accuracy: on the user's flows, or as the bundle recorded it at training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.seen import Flows, Truth
from etcc_edge.engines import gate
from etcc_edge.engines.cascade import RoutedCascade
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.result import Result
from etcc_edge.evaluation.metrics import Confusion
from etcc_edge.flows.labels import codes_of

from .figures import DriftFigures, Move, NetworkDrift

MOST_MOVES = 5
_MEASURED, _RECORDED = "measured", "recorded at training"


def measured(
    bundle: Bundle, reference: Mapping[str, Engine], other: Mapping[str, Engine], flows: Flows, max_drift: float
) -> DriftFigures:
    """Drift of engines, by node id, from the reference's on flows with or without labels.

    Accuracies are end to end, of each network on its own flows; None without labels. ``moves`` are the pairs of labels
    that most flows moved between.
    """
    labels = (flows.protocol, flows.application)
    comparison = gate.compare(bundle, lambda n: reference[n.id], lambda n: other[n.id], flows.raw, *labels)
    ours, theirs = (
        RoutedCascade(bundle, lambda node, engines=engines: engines[node.id]).run(flows.raw)  # type: ignore[misc]
        for engines in (reference, other)
    )
    networks: dict[str, NetworkDrift] = {}
    for node in bundle.nodes():
        scaled = node.scaler.transform(flows.raw)
        change = float(np.abs(reference[node.id].run(scaled) - other[node.id].run(scaled)).max())
        drift = comparison.networks.get(node.id)
        networks[node.id] = replace(_network(drift) if drift else NetworkDrift(), largest_logit_change=change)
    cascade = comparison.cascade
    return DriftFigures(
        source=_MEASURED,
        flows=cascade.flows,
        agreement=cascade.agreement,
        accuracy=cascade.accuracy,
        reference_accuracy=cascade.reference_accuracy,
        change_points=cascade.change,
        networks=networks,
        recall_change_points=_recall_changes(bundle, ours, theirs, flows),
        moves=_moves(ours, theirs),
        verdict=comparison.verdict(max_drift),
    )


def of_result(bundle: Bundle, result: Result, flows: Flows) -> DriftFigures | None:
    """The accuracy end to end of other models than the bundle's networks, over the flows that `gate.compare` counts;
    None without labels."""
    if flows.protocol is None or flows.application is None:
        return None
    truth = Truth.of(bundle, flows.protocol, flows.application)
    counted, right = truth.counted, truth.right(result.codes)
    return DriftFigures(source=_MEASURED, flows=int(counted.sum()), accuracy=float(right[counted].mean()))


def recorded(bundle: Bundle, precision: str, max_drift: float = gate.MAX_DRIFT) -> DriftFigures | None:
    """The drift that the bundle recorded at training; None where it recorded none."""
    accuracy = bundle.metrics.get("test", {}).get("end_to_end", {}).get("accuracy")
    if precision == "fp32":
        return None if accuracy is None else DriftFigures(source=_RECORDED, accuracy=accuracy, verdict="")
    comparison = gate.recorded(bundle, precision)
    if comparison is None:
        return None
    cascade = comparison.cascade
    return DriftFigures(
        source=_RECORDED,
        flows=cascade.flows,
        agreement=cascade.agreement,
        accuracy=None if accuracy is None or cascade.change is None else accuracy + cascade.change / 100,
        change_points=cascade.change,
        networks={name: _network(drift) for name, drift in comparison.networks.items()},
        verdict=comparison.verdict(max_drift),
    )


def _network(drift: gate.Drift) -> NetworkDrift:
    return NetworkDrift(
        flows=drift.flows,
        agreement=drift.agreement,
        accuracy=drift.accuracy,
        reference_accuracy=drift.reference_accuracy,
        change_points=drift.change,
    )


def _moves(ours: Result, theirs: Result) -> list[Move]:
    changed = np.flatnonzero((ours.codes != theirs.codes).any(axis=0))
    pairs = [
        ["/".join(parts) for parts in zip(*(result.labels(level)[changed] for level in result.levels), strict=True)]
        for result in (ours, theirs)
    ]
    most = Counter(zip(*pairs, strict=True)).most_common(MOST_MOVES)
    return [Move(from_=before, to=after, flows=flows) for (before, after), flows in most]


def _recall_changes(bundle: Bundle, ours: Result, theirs: Result, flows: Flows) -> dict[str, dict[str, float]]:
    """Percentage points of each label's recall, over the whole cascade."""
    if flows.protocol is None or flows.application is None:
        return {}
    by_level = {}
    for i, truth in enumerate((flows.protocol, flows.application)):
        labels = bundle.vocabulary()[i]
        true = codes_of(labels, truth)
        before, after = (Confusion.of(labels, true, result.codes[i]).recall for result in (ours, theirs))
        changes = dict(zip(labels, (100 * (after - before)).tolist(), strict=True))
        by_level[bundle.levels[i]] = {label: change for label, change in changes.items() if not np.isnan(change)}
    return by_level
