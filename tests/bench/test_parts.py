"""Stages, peaks, energy, files for whole processes, recorded drift, and contenders that are not there."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench import drift, processes
from etcc_edge.bench.contenders import backends as contenders
from etcc_edge.bench.contenders import trees
from etcc_edge.bench.machine import roofline
from etcc_edge.bench.machine.environment import EnergyMeter, OthersWatch, environment
from etcc_edge.bench.stages import STAGES, Stopwatch, fused_seconds, stage_figures, stage_seconds
from etcc_edge.bench.studies.yardstick import paper_bundle
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.fit import Flows, read_flows
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.native import open_engine
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile


class SlowEngine:
    """Takes 1 s of a fake clock in the first network, 10 s in the others."""

    def __init__(self, bundle: Bundle, node: Any, clock: Any) -> None:
        self._engine, self._clock = open_engine(bundle, node, "fp32"), clock
        self._seconds = 1.0 if node.id == "stage1" else 10.0

    def run(self, scaled: np.ndarray) -> np.ndarray:
        self._clock.now += self._seconds
        return self._engine.run(scaled)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows.csv"
    path.write_text("".join(sample_rows(50, 1)))
    return path


def test_each_stage_is_given_its_own_time(flows: Path, tiny_bundle: Bundle, clock: Any) -> None:
    seconds = stage_seconds(flows, tiny_bundle, lambda n: SlowEngine(tiny_bundle, n, clock), Stopwatch(clock), 1000)
    assert list(seconds) == list(STAGES)
    assert seconds["stage 1"] == 1
    assert seconds["stage 2"] in (10, 20)
    assert seconds["parse"] == seconds["scale"] == seconds["route"] == seconds["write"] == 0


def test_a_cascade_in_one_call_is_told_apart_by_its_first_stage_alone(
    flows: Path, tiny_bundle: Bundle, clock: Any
) -> None:
    class Slow:
        def __init__(self, bundle: Bundle) -> None:
            self.bundle = bundle

        def run(self, raw: np.ndarray) -> Any:
            clock.now += 5 if self.bundle.root.children else 2
            return open_cascade(self.bundle, Choice("native", "fp32", ""), block=64).run(raw)

    seconds = fused_seconds(flows, tiny_bundle, Slow, Stopwatch(clock))
    assert (seconds["stage 1"], seconds["stage 2"]) == (2, 3)


def test_shares_are_of_the_whole() -> None:
    made = stage_figures(lambda: dict.fromkeys(STAGES, 2.0), flows=6, turns=3)
    assert sum(made["share"].values()) == pytest.approx(1)
    assert made["us_a_flow"]["parse"] == pytest.approx(2e6 / 6)
    assert made["flows_per_s"] == pytest.approx(0.5)


def test_work_counts_what_a_backend_multiplies(tiny_bundle: Bundle) -> None:
    mix = {"VPN": 0.25, "Non-VPN": 0.75}
    native, dense = (roofline.work(tiny_bundle, mix, name)["multiply_adds_a_flow"] for name in ("native", "other"))
    # VPN's `tent 4, conv 4 2` over six inputs: 5 outputs, 4 channels, 2 taps, of 5 tents two that are not zero.
    assert dense - native == pytest.approx(0.25 * 5 * 4 * 2 * (5 - 2))
    shares = roofline.shares(
        {"multiply_adds_a_flow": 100.0, "weight_bytes": 80.0, "values_bytes_a_flow": 2.0},
        1000,
        8,
        {"multiply_adds_per_s": 1e6, "bytes_per_s": 1e5},
    )
    assert (shares["multiply_add_share"], shares["memory_share"]) == (pytest.approx(0.1), pytest.approx(0.12))


def test_energy_is_counted_over_all_packages_and_past_the_counters_end(tmp_path: Path) -> None:
    for zone, joules in (("intel-rapl:0", 5), ("intel-rapl:1", 7), ("intel-rapl:0:0", 1000)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{joules}000000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    meter = EnergyMeter(tmp_path)
    before = meter.joules()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("8000000")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("1000000")
    assert meter.why_not == ""
    assert meter.between(before, meter.joules()) == pytest.approx(3 + 4)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert "no RAPL counters" in EnergyMeter(tmp_path / "none").why_not
    (tmp_path / "intel-rapl:0").mkdir()
    assert "cannot be read" in EnergyMeter(tmp_path).why_not


def test_the_environment_names_no_folder() -> None:
    share = OthersWatch().share()
    assert share is None or 0 <= share <= 1
    text = str(environment())
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[2]) not in text


@pytest.mark.parametrize("wanted", [1, 30, 1000])
def test_a_cut_file_holds_the_first_flows(flows: Path, tmp_path: Path, wanted: int) -> None:
    processes.cut_file(str(flows), wanted, tmp_path / "cut.csv")
    assert (tmp_path / "cut.csv").read_text().splitlines() == flows.read_text().splitlines()[: wanted + 1]
    with FlowFile(tmp_path / "cut.csv") as file:
        assert sum(len(batch) for batch in file.batches(["flow_duration"])) == min(wanted, 50)


def test_a_process_that_fails_is_a_row_with_the_error() -> None:
    works = processes.Process("works", "fp32", "baseline", ["true"])
    fails = processes.Process("fails", "fp32", "baseline", ["false"])
    processes.run_in_turn([works, fails], 2)
    assert (len(works.runs), len(fails.runs)) == (2, 0)
    assert "failed" in processes.process_figures(fails, 10)["error"]
    made = processes.process_figures(works, 10)
    assert made["flows_per_s"] > 0
    assert made["peak_bytes"] > 0


def test_drift_without_flows_is_what_training_recorded_and_called_so() -> None:
    bundle = load_bundle("default")
    made = drift.recorded(bundle, "int8")
    assert made is not None
    assert made["source"] == "recorded at training"
    assert made["change_points"] == bundle.metrics["drift"]["int8"]["end_to_end"]["change_points"]
    assert made["verdict"] == ""
    assert "kept" not in made
    strict = drift.recorded(bundle, "int8", max_drift=0)
    assert strict is not None
    assert "more than 0" in strict["verdict"]
    assert drift.recorded(replace(bundle, metrics={}), "int8") is None


def test_every_backend_and_precision_is_a_contender_with_a_reason_where_it_is_absent() -> None:
    found = {c.key: c for c in contenders.backends(load_bundle("default"))}
    assert {"native fp32", "onnxruntime int8", "tensorrt fp16", "tensorrt-rtx int8"} <= found.keys()
    assert found["native fp32"].why_not == ""
    assert found["onnxruntime int8"].size < found["onnxruntime fp32"].size / 2  # type: ignore[operator]
    for contender in found.values():
        assert contender.why_not or contender.opener


def test_a_library_that_is_missing_is_a_reason_that_names_the_extra(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = contenders.baselines(tiny_bundle, {"xgboost": "not fitted: no flows"}, compiled=True)
    assert [c.why_not for c in found] == ["not measured: pip install 'etcc-edge[bench]'"] * 2 + ["not fitted: no flows"]
    (script, _) = processes.scripts("default", Path("flows.csv"), 1, "cicdarknet2020")
    assert "etcc-edge[bench]" in script.why_not


def test_pytorch_gives_the_bundles_labels(tiny_bundle: Bundle) -> None:
    raw = np.random.default_rng(0).uniform(0, 1000, (200, 6)).astype(np.float32)
    torch = contenders.baselines(tiny_bundle, {}, compiled=False)[0].open(1, {"block": 64})
    native = open_cascade(tiny_bundle, Choice("native", "fp32", ""))
    assert np.array_equal(torch.run(raw).codes, native.run(raw).codes)


def test_the_choice_that_is_fastest_is_taken(fake: Any, clock: Any) -> None:
    slow, fast = (fake("native", lambda flows, s=s: s).open(1, {}) for s in (2.0, 1.0))
    made = replace(
        fake("native", lambda flows: 1.0),
        open=lambda threads, setting: fast if setting["block"] == 128 else slow,
        choices=({"block": 32}, {"block": 128}, {"block": 512}),
    )
    cascade, setting = contenders.tuned(made, 1, np.zeros((200, 6), np.float32), clock)
    assert cascade is fast
    assert setting == {"block": 128}


@pytest.mark.slow
def test_the_yardstick_runs_everywhere_and_gives_every_protocol(flows: Path) -> None:
    bundle = paper_bundle()
    assert len(bundle.root.children) == 4
    with FlowFile(flows) as file:
        raw = np.concatenate([batch.features for batch in file.batches(bundle.features)])
    native, routed = (open_cascade(bundle, Choice(name, "fp32", "")).run(raw) for name in ("native", "onnxruntime"))
    assert np.array_equal(native.codes, routed.codes)
    assert set(native.codes[0].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("name", "classes"), [("small xgboost", 3), ("small xgboost", 2), ("random forest", 3)])
def test_trees_give_the_labels_that_their_library_gives(tiny_bundle: Bundle, name: str, classes: int) -> None:
    pytest.importorskip(trees.TREES[name][0], reason="needs the extra bench")
    raw = np.random.default_rng(0).uniform(0, 1000, (60, 6)).astype(np.float32)
    label = (raw[:, 0] * classes / 1001).astype(int)
    fitted = trees.make(name, 0).fit(raw, label)
    root = replace(tiny_bundle.root, labels=tuple("abc"[:classes]), children={})
    bundle = replace(tiny_bundle, root=root, levels=("protocol",))
    result = trees.TreesCascade(bundle, {root.id: fitted}, 1).run(raw)
    assert np.array_equal(result.codes[0], fitted.predict(raw))
    assert result.confidence[0] == pytest.approx(fitted.predict_proba(raw).max(axis=1), abs=1e-6)


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
