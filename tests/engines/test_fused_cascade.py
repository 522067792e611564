"""The fused cascade gives the routed answer: any scaler, any tree, any block and any number of threads."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.bundle import Bundle, Node, Scaler, load_bundle, shipped_bundles
from etcc_edge.bundle.network import parse_network
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade, open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.native import INSTRUCTION_SET, open_engine
from etcc_edge.engines.result import Result
from etcc_edge.flows.text.reader import FlowFile
from making import assert_same, bundle_of, random_weights, raw_flows, with_derived

NATIVE = Choice("native", "fp32", "")
INT8 = Choice("native", "int8", "")
NETWORKS = (
    "conv 16 3, relu, conv 20 3, relu, max_pool 2, flatten",
    "tent 7, conv 12 inputs, relu, flatten, dense 9, relu",
    "flatten",
    "tent 3, conv 5 2, relu, flatten",
)
# With layers that gain from int8.
WIDE_NETWORKS = (
    "tent 7, conv 120 inputs, relu, flatten, dense 200, relu",
    "conv 64 2, relu, conv 100 2, relu, flatten, dense 90, relu",
)


def small_scaler(rng: np.random.Generator, features: int) -> Scaler:
    """Features with one knot to many, some in overlapping or adjoining segments, some read by no input."""
    sources, xs, ys = [], [], []
    for feature in range(features):
        knots = np.unique(rng.integers(-40, 40, rng.integers(1, 12))).astype(np.float32)
        y = np.sort(rng.random(len(knots)))
        y[0], y[-1] = 0, 1 if len(knots) > 1 else 0
        parts = rng.choice([0, 1, 1, 2, 5]) if feature else 3
        for part in range(parts):
            scaled = np.clip(y * parts - part, 0, 1)
            own = slice(max(int(np.sum(scaled == 0)) - 1, 0), int(np.sum(scaled < 1)) + 1)
            sources.append(feature)
            xs.append(knots[own])
            ys.append(scaled[own].astype(np.float32))
    starts = np.concatenate([[0], np.cumsum([len(x) for x in xs])]).astype(np.int64)
    missing = rng.random(len(sources), np.float32)
    plain = Scaler(np.array(sources, np.int64), starts, np.concatenate(xs), np.concatenate(ys), missing)
    if rng.random() < 0.3:
        return plain
    return with_derived(plain, rng.integers(0, 4, len(sources)), rng.integers(0, features, len(sources)))


def random_bundle(seed: int, networks: tuple[str, ...] = NETWORKS) -> Bundle:
    rng = np.random.default_rng(seed)
    features = int(rng.integers(4, 9))
    weights: dict[str, np.ndarray] = {}

    def node(node_id: str, labels: tuple[str, ...], **children: Node) -> Node:
        scaler = small_scaler(rng, features)
        text = networks[int(rng.integers(len(networks)))].replace("inputs", str(scaler.inputs))
        if scaler.inputs < 6 and "conv 20" in text:
            text = "flatten"
        network = parse_network([*text.split(", "), f"dense {len(labels)}"])
        own = random_weights(network, scaler.inputs, rng, spread=0.5)
        weights.update({f"{node_id}/{name}": array for name, array in own.items()})
        return Node(node_id, labels, network, scaler, float(rng.choice([1.0, 2.5])), children)

    deep = node("deep", ("x", "y"))
    root = node("root", ("a", "b", "c"), a=node("a", ("y", "x"), y=deep), c=node("c", ("z", "y", "x")))
    return bundle_of(root, ("first", "second", "third"), features, weights=weights)


def odd_flows(features: int, n: int, seed: int = 0) -> np.ndarray:
    """Values on knots, between them, beyond them, missing and huge."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(-60, 60, (n, features)).astype(np.float32)
    whole = rng.random(raw.shape) < 0.4
    raw[whole] = np.round(raw[whole])
    raw[rng.random(raw.shape) < 0.05] = np.nan
    raw[rng.random(raw.shape) < 0.02] = 3e38
    raw[rng.random(raw.shape) < 0.02] = -np.inf
    raw[rng.random(raw.shape) < 0.02] = rng.choice(np.array([0, 1e-45, 1e-38, -1e-40], np.float32))
    return raw


def routed(bundle: Bundle, raw: np.ndarray, precision: str = "fp32") -> Result:
    return RoutedCascade(bundle, lambda node: open_engine(bundle, node, precision)).run(raw)


def assert_close(ours: Result, theirs: Result) -> None:
    """The same labels, but where two were equally good up to rounding."""
    np.testing.assert_allclose(ours.energy[0], theirs.energy[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.confidence[0], theirs.confidence[0], rtol=2e-4, atol=1e-4)
    same = ours.codes == theirs.codes
    assert same[0].mean() > 0.99
    agreed = np.logical_and.accumulate(same, axis=0)
    assert agreed.mean() > 0.99
    for part in ("confidence", "energy"):
        a, b = getattr(ours, part)[agreed], getattr(theirs, part)[agreed]
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4, equal_nan=True)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_it_gives_the_routed_answer_for_any_scaler_and_tree(instruction_set: str, seed: int) -> None:
    bundle = random_bundle(seed)
    raw = odd_flows(len(bundle.features), 300, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(INSTRUCTION_SET, instruction_set)
        assert_close(open_cascade(bundle, NATIVE).run(raw), routed(bundle, raw))


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), flows=st.sampled_from([1, 4, 5, 64, 200]))
def test_a_scaled_value_is_the_scalers_to_the_bit(instruction_set: str, seed: int, flows: int) -> None:
    scaler = small_scaler(np.random.default_rng(seed), 5)
    labels = tuple(f"input {i}" for i in range(scaler.inputs))
    bundle = bundle_of(Node("root", labels, parse_network(["flatten"]), scaler), ("input",), 5)
    raw = odd_flows(5, flows, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(INSTRUCTION_SET, instruction_set)
        assert_same(open_cascade(bundle, NATIVE).run(raw), routed(bundle, raw))


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 7, 100, 4096])
def test_the_bits_depend_on_neither_blocks_nor_threads(
    block: int, threads: int, instruction_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INSTRUCTION_SET, instruction_set)
    bundle = random_bundle(5)
    raw = odd_flows(len(bundle.features), 500)
    whole = open_cascade(bundle, NATIVE, block=500).run(raw)
    assert_same(open_cascade(bundle, NATIVE, block=block, threads=threads).run(raw), whole)


@pytest.mark.skipif(not _native.has_int8(), reason="this CPU has no int8")
def test_int8_gives_the_routed_int8_answer_for_any_blocks_and_threads() -> None:
    bundle = random_bundle(5, WIDE_NETWORKS)
    raw = odd_flows(len(bundle.features), 500)
    whole = open_cascade(bundle, INT8, block=500).run(raw)
    for block, threads in ((1, 1), (7, 2), (100, 3), (4096, 1)):
        assert_same(open_cascade(bundle, INT8, block=block, threads=threads).run(raw), whole)
    by_node = routed(bundle, raw, "int8")
    assert (whole.codes == by_node.codes).mean() > 0.99
    np.testing.assert_allclose(whole.energy[0], by_node.energy[0], atol=0.03)
    fp32 = open_cascade(bundle, NATIVE).run(raw)
    assert (whole.codes == fp32.codes).mean() > 0.97
    assert (whole.energy[0] != fp32.energy[0]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_one_flow_gets_what_it_gets_among_others(threads: int) -> None:
    bundle = random_bundle(6)
    raw = odd_flows(len(bundle.features), 40)
    cascade = open_cascade(bundle, NATIVE, threads=threads)
    among = cascade.run(raw)
    for i in range(len(raw)):
        alone = cascade.run(raw[i : i + 1])
        np.testing.assert_array_equal(alone.codes[:, 0], among.codes[:, i])
        np.testing.assert_array_equal(alone.confidence[:, 0], among.confidence[:, i])


def test_several_callers_may_share_it() -> None:
    bundle = random_bundle(7)
    cascade = open_cascade(bundle, NATIVE, block=64, threads=2)
    batches = [odd_flows(len(bundle.features), 700, seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(cascade.run, batches))
    for batch, result in zip(batches, together, strict=True):
        assert_same(result, cascade.run(batch))


def test_it_still_answers_after_a_fork() -> None:
    bundle = random_bundle(8)
    raw = odd_flows(len(bundle.features), 700)
    cascade = open_cascade(bundle, NATIVE, block=64, threads=2)
    expected = cascade.run(raw)
    child = os.fork()
    if child == 0:
        same = np.array_equal(cascade.run(raw).codes, expected.codes)
        del cascade
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_no_flows_are_no_labels(threads: int, tiny_bundle: Bundle) -> None:
    result = open_cascade(tiny_bundle, NATIVE, threads=threads).run(np.zeros((0, 6), np.float32))
    assert result.codes.shape == result.confidence.shape == result.energy.shape == (2, 0)


@pytest.mark.parametrize("shape", [(3, 5), (3, 7), (6,), (1, 3, 6), (0, 5)])
def test_another_width_is_refused(tiny_bundle: Bundle, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must be \[n, 6\], not \["):
        open_cascade(tiny_bundle, NATIVE).run(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "form", [np.asfortranarray, lambda raw: np.repeat(raw, 2, axis=0)[::2], lambda raw: raw.astype("f8")]
)
def test_the_form_of_the_array_does_not_matter(tiny_bundle: Bundle, form: object) -> None:
    raw = raw_flows(60)
    raw.setflags(write=False)
    cascade = open_cascade(tiny_bundle, NATIVE)
    assert_same(cascade.run(form(raw)), cascade.run(raw))  # type: ignore[operator]


def test_logits_that_are_not_finite_give_no_label_and_lead_nowhere(tiny_bundle: Bundle) -> None:
    last = f"stage1/{len(tiny_bundle.root.network) - 1}.weight"
    weights = {**tiny_bundle.weights, last: np.full_like(tiny_bundle.weights[last], np.inf)}
    result = open_cascade(dataclasses.replace(tiny_bundle, weights=weights), NATIVE).run(np.ones((5, 6), np.float32))
    assert (result.codes == -1).all()
    assert np.isnan(result.confidence).all()
    assert np.isnan(result.energy).all()


@pytest.mark.skipif(not _native.has_int8(), reason="this CPU has no int8")
def test_int8_labels_real_flows_as_fp32_does(real_flows: Path) -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    with FlowFile(real_flows / "iscx-tor-vpn-15s" / "flows.csv") as flows:
        raw = np.concatenate([batch.features for batch in flows.batches(bundle.features)])
    fp32, int8 = (open_cascade(bundle, choice, threads=2).run(raw) for choice in (NATIVE, INT8))
    assert (fp32.codes == int8.codes).all(axis=0).mean() > 0.998


@pytest.mark.parametrize("name", shipped_bundles())
def test_the_shipped_bundles_label_as_onnx_runtime_does(name: str, real_flows: Path) -> None:
    bundle = load_bundle(name)
    file = "iscx-tor-vpn-15s" if "15s" in name else "cicdarknet2020-part"
    with FlowFile(real_flows / file / "flows.csv") as flows:
        raw = np.concatenate([batch.features for batch in flows.batches(bundle.features)])[::4]
    ours = open_cascade(bundle, NATIVE, threads=2).run(raw)
    theirs = RoutedCascade(bundle, BACKENDS["onnxruntime"].opener(bundle, "fp32")).run(raw)
    np.testing.assert_array_equal(ours.codes, theirs.codes)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-5)
    np.testing.assert_allclose(ours.energy, theirs.energy, atol=1e-5, rtol=1e-5)
