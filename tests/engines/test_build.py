"""Building engines: what is measured, what is kept out, and what is taken instead."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.network import parse_network
from etcc_edge.bundle.seen import Flows, read_flows, trained_flows
from etcc_edge.engines import build, native
from etcc_edge.engines.build import WHOLE, Judgement, Outcome, Row, build_engines
from etcc_edge.engines.engine import OpenEngine
from etcc_edge.engines.gate import Drift
from etcc_edge.engines.gpu import tensorrt_rtx
from etcc_edge.engines.gpu.cache import EngineCache
from etcc_edge.engines.gpu.plan import engine_plan
from etcc_edge.engines.onnxruntime import open_engine
from etcc_edge.errors import BackendError, FlowsError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import export_forms
from etcc_edge.flows.truth import read_features
from making import random_weights, raw_flows

HEADER = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat"


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Bundle) -> Bundle:
    """The tiny bundle in every form, calibrated on random flows."""
    rows = np.random.default_rng(0).random((64, 6), np.float32)
    files: dict[tuple[str, str], bytes] = {}
    for node in tiny_bundle.nodes():
        exported = export_forms(tiny_bundle.onnx[node.id, "fp32"], rows, rows)
        files |= {(node.id, form): data for form, data in exported.models.items()}
    return dataclasses.replace(tiny_bundle, onnx=files)


def with_bad(bundle: Bundle, precision: str) -> Bundle:
    """Its ``precision`` takes the least likely protocol for the likeliest."""
    model = onnx.load_from_string(bundle.onnx["stage1", "fp32"])
    model.graph.node[-1].output[0] = "positive"
    model.graph.node.append(onnx.helper.make_node("Neg", ["positive"], ["logits"]))
    return dataclasses.replace(bundle, onnx={**bundle.onnx, ("stage1", precision): model.SerializeToString()})


def flows() -> Flows:
    return Flows(raw_flows(300, seed=3))


def whole(outcome: Outcome, precision: str, target: str = "cpu") -> Row:
    return next(r for r in outcome.rows if (r.network, r.precision, r.target) == (WHOLE, precision, target))


def agreement(row: Row) -> float:
    assert row.drift
    assert not row.recorded
    return row.drift.agreement


def test_on_a_cpu_int8_and_fp32_are_built_and_gated(bundle: Bundle) -> None:
    outcome = build_engines(bundle, here=["onnxruntime"], flows=flows(), max_drift=3)
    assert outcome.taken == {"onnxruntime cpu": "int8"}
    assert outcome.passed
    assert [(row.network, row.precision) for row in outcome.rows] == [
        (network, precision)
        for precision in ("int8", "fp32")
        for network in ("stage1", "stage2.non-vpn", "stage2.vpn", WHOLE)
    ]
    assert agreement(whole(outcome, "fp32")) == 1.0
    assert whole(outcome, "int8").passed
    assert all((row.speed or 0) > 0 for row in outcome.rows if row.precision == "int8" and row.network != WHOLE)
    assert all(row.size == len(bundle.onnx[row.network, row.precision]) for row in outcome.rows if row.network != WHOLE)


@pytest.fixture(scope="module")
def wide(bundle: Bundle) -> Bundle:
    """The tiny bundle with a network that is large enough to gain from int8."""
    network = parse_network("flatten, relu, dense 300, relu, dense 200, relu, dense 2".split(", "))
    vpn = dataclasses.replace(bundle.root.children["VPN"], network=network)
    root = dataclasses.replace(bundle.root, children={**bundle.root.children, "VPN": vpn})
    own = random_weights(network, 6, 1, spread=0.2)
    onnx = {**bundle.onnx, (vpn.id, "fp32"): build_onnx(network, 6, own).SerializeToString()}
    weights = {name: array for name, array in bundle.weights.items() if not name.startswith(vpn.id)}
    weights |= {f"{vpn.id}/{name}": array for name, array in own.items()}
    return dataclasses.replace(bundle, root=root, weights=weights, onnx=onnx)


@pytest.mark.skipif(bool(native.why_not(None, "int8")), reason="native has no int8 on this CPU")
def test_the_native_engine_is_gated_on_the_flows_alone(wide: Bundle) -> None:
    outcome = build_engines(wide, here=["native"], flows=flows(), max_drift=3)
    assert outcome.taken == {"native cpu": "int8"}
    assert "passed" in whole(outcome, "int8").verdict
    assert agreement(whole(outcome, "fp32")) == 1.0
    # The bundle's figures are of the ONNX file.
    row = whole(build_engines(at_training(wide, "int8", -0.7), here=["native"]), "int8")
    assert (row.drift, row.passed, row.verdict.split(";")[0]) == (None, None, "not gated here")


def test_a_precision_that_a_backend_lacks_for_a_bundle_is_a_note(bundle: Bundle) -> None:
    outcome = build_engines(bundle, here=["native", "onnxruntime"], precisions=["int8"])
    assert outcome.taken == {"onnxruntime cpu": "int8"}
    outcome = build_engines(bundle, here=["native"])
    assert outcome.taken == {"native cpu": "fp32"}
    assert outcome.notes[0].startswith("native has no int8 here: ")
    with pytest.raises(BackendError, match="nothing can be built here: native: "):
        build_engines(bundle, here=["native"], precisions=["int8"])


def test_what_drifts_is_kept_out_and_the_next_precision_taken(bundle: Bundle) -> None:
    outcome = build_engines(with_bad(bundle, "int8"), here=["onnxruntime"], flows=flows())
    assert outcome.taken == {"onnxruntime cpu": "fp32"}
    assert whole(outcome, "int8").verdict.startswith("kept out: agreement is ")
    assert whole(outcome, "int8").passed is False
    assert outcome.passed


def test_where_nothing_passes_nothing_is_taken(bundle: Bundle) -> None:
    outcome = build_engines(with_bad(bundle, "int8"), precisions=["int8"], flows=flows())
    assert outcome.taken == {"onnxruntime cpu": None}
    assert not outcome.passed


def test_a_precision_that_is_not_there_is_kept_out_with_the_reason(tiny_bundle: Bundle) -> None:
    outcome = build_engines(tiny_bundle, here=["onnxruntime"], flows=flows())
    assert whole(outcome, "int8").verdict == "kept out: bundle tiny holds no int8 ONNX file for stage1"
    assert outcome.taken == {"onnxruntime cpu": "fp32"}


def test_a_damaged_file_is_kept_out(bundle: Bundle) -> None:
    damaged = dataclasses.replace(bundle, onnx={**bundle.onnx, ("stage1", "int8"): b"no ONNX"})
    outcome = build_engines(damaged, here=["onnxruntime"], flows=flows())
    assert whole(outcome, "int8").verdict.startswith("kept out: ONNX Runtime cannot load the network")
    assert outcome.taken == {"onnxruntime cpu": "fp32"}


def at_training(bundle: Bundle, onnx: str, change: float) -> Bundle:
    figures = {"flows": 100, "agreement": 0.99, "change_points": change}
    drift = {onnx: {"end_to_end": figures, "networks": {"stage1": figures}}}
    return dataclasses.replace(bundle, metrics={"drift": drift})


def test_without_flows_the_figures_of_training_stand_in(bundle: Bundle) -> None:
    row = whole(build_engines(at_training(bundle, "int8", -0.2)), "int8")
    assert row.drift
    assert (row.drift.change, row.drift.agreement, row.recorded, row.passed) == (-0.2, 0.99, True, None)
    assert row.verdict.startswith("not gated here")
    outcome = build_engines(at_training(bundle, "int8", -0.7), here=["onnxruntime"])
    assert whole(outcome, "int8").verdict == "kept out: at training accuracy is 0.70 points from fp32's, more than 0.5"
    assert outcome.taken == {"onnxruntime cpu": "fp32"}


def test_a_precision_slower_than_fp32_is_said_to_be(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_speed", lambda *_: 0.8)
    row = whole(build_engines(bundle, flows=flows(), max_drift=3), "int8")
    assert row.verdict == "passed; slower than fp32 in stage1, stage2.non-vpn, stage2.vpn"


def test_the_first_precision_that_is_not_kept_out_is_taken() -> None:
    kept_out = Judgement("tensorrt", "gpu", "fp16", passed=False, reason="too far")
    first, second = (Judgement("tensorrt", "gpu", precision, passed=True) for precision in ("int8", "fp32"))
    outcome = Outcome()
    outcome.add("tensorrt gpu", [kept_out, first, second])
    assert outcome.taken == {"tensorrt gpu": "int8"}
    assert [row.verdict for row in outcome.rows] == ["kept out: too far", "passed", "passed, not the first"]
    outcome.add("native cpu", [kept_out])
    assert outcome.taken["native cpu"] is None
    assert not outcome.passed


def test_a_judgement_adds_up_its_networks() -> None:
    networks = [Row(name, "int8", "native", "cpu", size=10, seconds=0.5) for name in ("stage1", "stage2.vpn")]
    drift = Drift(10, 0.9)
    *rows, row = Judgement("native", "cpu", "int8", networks, drift, passed=True).rows(taken=True)
    assert (row.network, row.size, row.seconds, row.drift) == (WHOLE, 20, 1.0, drift)
    assert all(network.passed for network in rows)


def test_without_a_gpu_it_says_what_one_would_add(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_rtx, "why_not_compile", lambda: "the package tensorrt-rtx is not installed")
    (line,) = build_engines(bundle, here=["onnxruntime"]).notes
    assert line.startswith("for a GPU: the package tensorrt-rtx is not installed")


def test_what_is_compiled_for_another_gpu_is_not_said_to_run(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt-rtx")
    cache = EngineCache(tmp_path / "engines")
    outcome = build_engines(bundle, targets=[75, 86], here=(), cache=cache)
    assert outcome.taken == {"tensorrt-rtx sm75": "fp16", "tensorrt-rtx sm86": "fp16"}
    assert whole(outcome, "fp16", "sm75").verdict == "compiled, not run"
    assert "no fp32 matrices on sm_75" in whole(outcome, "fp32", "sm75").verdict
    assert whole(outcome, "fp32", "sm86").verdict == "compiled, not run"
    assert all(row.passed is not True for row in outcome.rows)
    drifting = build_engines(at_training(bundle, "fp16", 2.0), targets=[75], here=(), cache=cache)
    assert drifting.taken == {"tensorrt-rtx sm75": "int8"}


class Gpu:
    """A GPU backend in a test's hands: ONNX Runtime behind another name, without fp32."""

    device = "gpu"
    preference = ("fp16", "int8", "fp32")

    def why_not(self, bundle: Bundle, precision: str) -> str:
        return ""

    def opener(self, bundle: Bundle, precision: str) -> OpenEngine:
        if precision == "fp32":
            raise BackendError("no fp32 here")
        return lambda node: open_engine(bundle, node, precision)


def test_on_a_gpu_the_figures_of_training_are_those_of_the_file_that_it_builds_from(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BACKENDS", {"tensorrt": Gpu()})
    monkeypatch.setattr(build, "_planned", lambda *_: engine_plan("tensorrt", (10, 0), 86, "int8"))
    outcome = build_engines(at_training(bundle, "int8-trt-fp16", -0.7), here=["tensorrt"], precisions=["int8"])
    assert "at training accuracy is 0.70 points" in whole(outcome, "int8", "gpu").verdict


def test_where_no_backend_is_there_it_says_why(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "why_not", lambda *_: "no GPU")
    monkeypatch.setattr(build, "BACKENDS", {"tensorrt": Gpu()})
    with pytest.raises(BackendError, match="nothing can be built here: tensorrt: no GPU"):
        build_engines(bundle, here=["tensorrt"])
    monkeypatch.setattr(tensorrt_rtx, "why_not_compile", lambda: "the package tensorrt-rtx is not installed")
    with pytest.raises(BackendError, match="targets cannot be compiled for: the package tensorrt-rtx"):
        build_engines(bundle, targets=[75])


def test_on_a_gpu_engines_are_gated_against_the_cpus_fp32(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BACKENDS", {"tensorrt": Gpu()})
    outcome = build_engines(with_bad(bundle, "fp16"), here=["tensorrt"], flows=flows(), max_drift=3)
    assert outcome.taken == {"tensorrt gpu": "int8"}
    assert whole(outcome, "fp16", "gpu").verdict.startswith("kept out: agreement is")
    assert whole(outcome, "int8", "gpu").verdict == "passed"
    assert whole(outcome, "fp32", "gpu").verdict == "kept out: no fp32 here"
    assert outcome.notes == []


def flow_lines(n: int) -> list[str]:
    return [f"{i + 1}000,900,200,100,700,10" for i in range(n)]


def test_unlabelled_flows_are_gated_by_agreement(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "flows.csv").write_text("\n".join([HEADER, *flow_lines(20), ""]))
    unseen = read_flows(tmp_path / "flows.csv", bundle)
    assert unseen.raw.shape == (20, 6)
    assert unseen.protocol is None


def test_unlabelled_flows_that_were_trained_on_gate_nothing(bundle: Bundle, tmp_path: Path) -> None:
    lines = flow_lines(20)
    (tmp_path / "flows.csv").write_text("\n".join([HEADER, *lines, ""]))
    raw, identity = read_features(tmp_path / "flows.csv", bundle.features)
    assert identity is None
    trained = trained_flows(None, raw[:15])
    unseen = read_flows(tmp_path / "flows.csv", dataclasses.replace(bundle, trained=trained))
    assert unseen.raw.shape == (5, 6)


def test_a_file_without_flows_gates_nothing(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "flows.csv").write_text(HEADER + "\n")
    with pytest.raises(FlowsError, match="holds no flow"):
        read_flows(tmp_path / "flows.csv", bundle)
