"""The shipped bundles in every form: whole, calibrated on training flows, near fp32 on their test flows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from taught import parts_of, taught_flows

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.bundle.precision import FORMS, Form
from etcc_edge.bundle.seen import learnt_applications, seen_in_training
from etcc_edge.engines.gate import MAX_DRIFT, Comparison, compare
from etcc_edge.engines.onnxruntime import open_engine
from etcc_edge.export.calibration import sample
from etcc_edge.export.forms import node_labels
from etcc_edge.export.lint import refusals
from etcc_edge.export.quantize import quantizable
from etcc_edge.flows.truth import LabelledFlows, read_labelled
from making import integer_kernels

REDUCED = [form for form in FORMS if form != "fp32"]


@pytest.fixture(scope="module", params=shipped_bundles())
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(scope="module")
def flows(bundle: Bundle, real_flows: Path) -> LabelledFlows:
    if bundle.name == "wire":
        pytest.skip("the corpus that it learnt from is not kept")
    return taught_flows(bundle, real_flows)


def test_every_network_has_every_form(bundle: Bundle) -> None:
    assert set(bundle.onnx) == {(node.id, form) for node in bundle.nodes() for form in FORMS}


def test_no_target_would_refuse_a_file_that_is_for_it(bundle: Bundle) -> None:
    assert list(refusals(bundle.onnx)) == []


def test_int8_runs_on_integer_kernels(bundle: Bundle) -> None:
    import onnx

    for node in bundle.nodes():
        rows = np.random.default_rng(0).random((32, node.scaler.inputs), np.float32)
        heavy = quantizable(onnx.load_from_string(bundle.onnx[node.id, "fp32"]))
        assert sum(integer_kernels(bundle.onnx[node.id, "int8"], rows).values()) == len(heavy) > 0


def test_calibration_flows_are_training_flows_and_known_by_their_hash(bundle: Bundle, flows: LabelledFlows) -> None:
    parts = parts_of(bundle, flows)
    for node, labels in node_labels(bundle, flows):
        chosen = sample(flows.features, labels, flows.hashes(), parts.train, parts.test)
        assert bundle.training["quantization"][node.id]["calibration_fingerprint"] == chosen.fingerprint
        assert not seen_in_training(bundle, flows.identity, flows.features).held_back[chosen.rows].any()


@pytest.mark.parametrize("form", REDUCED)
def test_drift_on_test_flows_is_small_and_as_the_bundle_says(bundle: Bundle, flows: LabelledFlows, form: Form) -> None:
    test = parts_of(bundle, flows).test
    learnt = learnt_applications(bundle, flows.application, flows.service)
    comparison: Comparison = compare(
        bundle,
        lambda node: open_engine(bundle, node, "fp32"),
        lambda node: open_engine(bundle, node, form),
        flows.features[test],
        flows.protocol[test],
        learnt[test],
    )
    assert comparison.cascade.points <= MAX_DRIFT
    assert comparison.cascade.agreement >= 0.99
    assert all(drift.agreement >= 0.985 for drift in comparison.networks.values())
    recorded = bundle.metrics["drift"][form]["end_to_end"]
    assert recorded["flows"] == comparison.cascade.flows
    # Another CPU may round a tie otherwise.
    assert recorded["agreement"] == pytest.approx(comparison.cascade.agreement, abs=2e-3)
    assert recorded["change_points"] == pytest.approx(comparison.cascade.change, abs=0.2)


@pytest.mark.parametrize("form", REDUCED)
def test_wire_keeps_its_labels_in_every_form_on_flows_of_one_of_its_sources(real_flows: Path, form: Form) -> None:
    bundle = load_bundle("wire")
    flows = read_labelled(real_flows / "vnat-part/flows.csv", bundle.features)
    comparison: Comparison = compare(
        bundle,
        lambda node: open_engine(bundle, node, "fp32"),
        lambda node: open_engine(bundle, node, form),
        flows.features,
        flows.protocol,
        learnt_applications(bundle, flows.application, flows.service),
    )
    assert comparison.cascade.points <= MAX_DRIFT
    assert comparison.cascade.agreement >= 0.99
