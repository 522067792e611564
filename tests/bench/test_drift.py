"""Drift as training recorded it, and as it is measured on flows."""

from __future__ import annotations

from dataclasses import replace

from etcc_edge.bench import drift
from etcc_edge.bench.figures import DriftFigures
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.seen import Flows
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.native import open_engine
from making import raw_flows


def test_drift_without_flows_is_what_training_recorded_and_called_so() -> None:
    bundle = load_bundle("no-ports")
    figures = drift.recorded(bundle, "int8")
    assert figures is not None
    assert figures.source == "recorded at training"
    assert figures.change_points == bundle.metrics["drift"]["int8"]["end_to_end"]["change_points"]
    assert figures.verdict == ""
    strict = drift.recorded(bundle, "int8", max_drift=0)
    assert strict is not None
    assert "more than 0" in strict.verdict
    assert drift.recorded(replace(bundle, metrics={}), "int8") is None


def test_other_models_have_an_accuracy_where_the_flows_have_labels(tiny_bundle: Bundle) -> None:
    raw = raw_flows(60)
    result = open_cascade(tiny_bundle, Choice("native", "fp32", "")).run(raw)
    protocol, application = result.labels("protocol"), result.labels("application")
    application[:5] = "Gaming"  # which no network knows
    figures = drift.of_result(tiny_bundle, result, Flows(raw, protocol, application))
    known = int((result.codes[1][5:] >= 0).sum())
    assert figures == DriftFigures(source="measured", flows=known, accuracy=1.0)
    assert drift.of_result(tiny_bundle, result, Flows(raw)) is None


def test_drift_of_flows_without_labels_is_agreement(tiny_bundle: Bundle) -> None:
    raw = raw_flows(60)
    engines = {node.id: open_engine(tiny_bundle, node, "fp32") for node in tiny_bundle.nodes()}
    figures = drift.measured(tiny_bundle, engines, engines, Flows(raw), 0.5)
    assert (figures.flows, figures.agreement, figures.accuracy) == (60, 1, None)
