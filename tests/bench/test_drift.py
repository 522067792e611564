"""Drift as training recorded it, and as it is measured on flows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from etcc_edge.bench import drift
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.fit import Flows, read_flows
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.native import open_engine


def test_drift_without_flows_is_what_training_recorded_and_called_so() -> None:
    bundle = load_bundle("default")
    figures = drift.recorded(bundle, "int8")
    assert figures is not None
    assert figures["source"] == "recorded at training"
    assert figures["change_points"] == bundle.metrics["drift"]["int8"]["end_to_end"]["change_points"]
    assert figures["verdict"] == ""
    strict = drift.recorded(bundle, "int8", max_drift=0)
    assert strict is not None
    assert "more than 0" in strict["verdict"]
    assert drift.recorded(replace(bundle, metrics={}), "int8") is None


def test_the_accuracy_of_other_models_counts_the_flows_that_the_drift_counts(tiny_bundle: Bundle, flows: Path) -> None:
    unseen = read_flows(flows, tiny_bundle)
    engines = {node.id: open_engine(tiny_bundle, node, "fp32") for node in tiny_bundle.nodes()}
    measured = drift.measured(tiny_bundle, engines, engines, unseen, 0.5)
    result = open_cascade(tiny_bundle, Choice("native", "fp32", "")).run(unseen.raw)
    again = drift.of_result(tiny_bundle, result, unseen)
    assert again is not None
    assert (again["flows"], again["accuracy"]) == (measured["flows"], measured["accuracy"])
    assert drift.of_result(tiny_bundle, result, Flows(unseen.raw)) is None
    assert drift.measured(tiny_bundle, engines, engines, Flows(unseen.raw), 0.5)["agreement"] == 1
