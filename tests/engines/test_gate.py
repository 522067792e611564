"""Drift between two ways of running a bundle, and the verdict on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from etcc_edge.bundle import Bundle, Node
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.gate import Comparison, Drift, RecordedDrift, agreement, compare, recorded
from etcc_edge.engines.onnxruntime import open_engine
from etcc_edge.errors import BundleError
from making import raw_flows


def fp32(bundle: Bundle):
    return lambda node: open_engine(bundle, node, "fp32")


class Turned:
    """An engine whose first ``share`` of flows get another label."""

    def __init__(self, engine: Engine, share: float) -> None:
        self._engine, self._share = engine, share

    def run(self, scaled: np.ndarray) -> np.ndarray:
        logits = self._engine.run(scaled)
        n = round(self._share * len(logits))
        logits[:n] = np.roll(logits[:n], 1, axis=1)
        return logits


def labels_of(bundle: Bundle, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from etcc_edge.engines.cascade import RoutedCascade

    result = RoutedCascade(bundle, fp32(bundle)).run(raw)
    return result.labels("protocol"), result.labels("application")


def test_the_same_engine_does_not_drift(tiny_bundle: Bundle) -> None:
    raw = raw_flows(200)
    for truth in ((), labels_of(tiny_bundle, raw)):
        comparison = compare(tiny_bundle, fp32(tiny_bundle), fp32(tiny_bundle), raw, *truth)
        assert comparison.cascade.points == 0
        assert comparison.cascade.agreement == 1
        assert all(drift.agreement == 1 for drift in comparison.networks.values())
        assert comparison.verdict() == ""


def test_turned_labels_cost_their_share(tiny_bundle: Bundle) -> None:
    raw = raw_flows(200)

    def turned(node: Node) -> Engine:
        engine = open_engine(tiny_bundle, node, "fp32")
        return Turned(engine, 0.1) if node.id == "stage1" else engine

    comparison = compare(tiny_bundle, fp32(tiny_bundle), turned, raw)
    assert comparison.cascade.agreement == pytest.approx(0.9)
    assert comparison.networks["stage1"].agreement == pytest.approx(0.9)
    assert comparison.verdict() == "agreement is 10.00 points from fp32's, more than 0.5"
    assert comparison.verdict(10.5) == ""
    protocol, application = labels_of(tiny_bundle, raw)
    labelled = compare(tiny_bundle, fp32(tiny_bundle), turned, raw, protocol, application)
    assert labelled.cascade.reference_accuracy == 1
    assert labelled.cascade.flows == (application != "").sum()
    assert labelled.networks["stage1"].change == pytest.approx(-10)
    assert "accuracy is" in labelled.verdict()


def test_a_gain_is_a_drift_too() -> None:
    drift = Drift(100, 0.9, accuracy=0.95, reference_accuracy=0.9)
    assert drift.change == pytest.approx(5)
    assert Comparison(drift, {}).verdict().startswith("accuracy is 5.00 points")


def test_labels_that_change_among_wrong_ones_do_not_pass_for_no_change() -> None:
    comparison = Comparison(Drift(1000, 0.2, accuracy=0.09, reference_accuracy=0.09), {})
    assert comparison.verdict() == "80.00 % of the flows change a label, more than 5"
    assert Comparison(Drift(1000, 0.96, accuracy=0.09, reference_accuracy=0.09), {}).verdict() == ""
    assert Comparison(Drift(1000, float("nan"), accuracy=0.09, reference_accuracy=0.09), {}).verdict() != ""


def test_a_record_of_training_holds_the_change_without_the_accuracies(tiny_bundle: Bundle) -> None:
    whole = {"flows": 100, "agreement": 0.98, "change_points": -0.7}
    unlabelled = {"flows": 60, "agreement": 0.99, "change_points": None}
    metrics = {"drift": {"int8": {"end_to_end": whole, "networks": {"stage1": unlabelled}}}}
    comparison = recorded(dataclasses.replace(tiny_bundle, metrics=metrics), "int8")
    assert comparison is not None
    assert comparison.cascade == RecordedDrift(100, 0.98, change=-0.7)
    assert comparison.cascade.points == 0.7
    assert comparison.cascade.accuracy is comparison.cascade.reference_accuracy is None
    assert comparison.networks["stage1"].points == pytest.approx(1)
    assert comparison.verdict() == "accuracy is 0.70 points from fp32's, more than 0.5"
    assert comparison.verdict(0.7) == ""


def test_what_training_did_not_measure_has_no_record(tiny_bundle: Bundle) -> None:
    assert recorded(tiny_bundle, "int8") is None
    assert recorded(dataclasses.replace(tiny_bundle, metrics={"drift": {}}), "int8") is None


def test_a_bundle_of_another_depth_is_refused(tiny_bundle: Bundle) -> None:
    alone = dataclasses.replace(tiny_bundle, levels=("protocol",))
    with pytest.raises(BundleError, match="has 1 levels"):
        compare(alone, fp32(alone), fp32(alone), raw_flows(200))


def test_nothing_passes_on_no_flows(tiny_bundle: Bundle) -> None:
    assert compare(tiny_bundle, fp32(tiny_bundle), fp32(tiny_bundle), raw_flows(0)).verdict() != ""
    nan = Comparison(Drift(10, float("nan")), {})
    assert nan.verdict() != ""


def test_agreement_is_the_share_of_flows_equal_on_every_level() -> None:
    assert agreement(np.array([1, 2, -1, 3]), np.array([1, 2, -1, 4])) == 3 / 4
    assert agreement(np.array([[1, 1, 2], [0, 0, -1]]), np.array([[1, 1, 2], [0, 1, -1]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_flows_agree_on_nothing(shape: tuple[int, ...]) -> None:
    assert np.isnan(agreement(np.zeros(shape, np.int32), np.zeros(shape, np.int32)))
