"""The cascade over engines: every flow gets what its own path through the tree gives, and no network more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from etcc_edge.bundle import Bundle, Node
from etcc_edge.bundle.network import parse_network
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade, answer, open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.engine import Engine, OpenEngine
from etcc_edge.engines.onnxruntime import silent_library
from etcc_edge.export.graph import build_onnx
from etcc_edge.flows.batch import has_enough_values
from etcc_edge.flows.services import Service
from making import assert_same, bundle_of, unit_scaler


def odd_flows(n: int, seed: int = 3) -> np.ndarray:
    """Six features, some missing, some beyond the scaler's range."""
    rng = np.random.default_rng(seed)
    raw = rng.uniform(-200, 1200, (n, 6)).astype(np.float32)
    raw[rng.random(raw.shape) < 0.05] = np.nan
    return raw


def onnxruntime_engines(bundle: Bundle) -> OpenEngine:
    return BACKENDS["onnxruntime"].opener(bundle, "fp32")


@pytest.fixture(scope="module")
def even_bundle(tiny_bundle: Bundle) -> Bundle:
    """The tiny bundle, its root's biases moved so that random flows get every protocol, Tor too."""
    root = tiny_bundle.root
    weights = {n.removeprefix("stage1/"): w for n, w in tiny_bundle.weights.items() if n.startswith("stage1/")}
    logits = onnxruntime_engines(tiny_bundle)(root).run(root.scaler.transform(odd_flows(400)))
    last = f"{len(root.network) - 1}.bias"
    weights[last] = weights[last] - logits.mean(axis=0)
    model = build_onnx(root.network, 6, weights).SerializeToString()
    return dataclasses.replace(tiny_bundle, onnx={**tiny_bundle.onnx, ("stage1", "fp32"): model})


def row_by_row(bundle: Bundle, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One flow at a time down the tree, in plain numpy and ONNX Runtime."""
    sessions = {
        node.id: silent_library().InferenceSession(bundle.onnx[node.id, "fp32"], providers=["CPUExecutionProvider"])
        for node in bundle.nodes()
    }
    shape = (len(bundle.levels), len(raw))
    codes, confidence, energy = np.full(shape, -1), np.full(shape, np.nan), np.full(shape, np.nan)
    for i, flow in enumerate(raw):
        node: Node | None = bundle.root
        for level in range(len(bundle.levels)):
            if node is None:
                break
            scaled = np.where(np.isnan(flow), 0.5, np.clip(flow / 1000, 0, 1)).astype(np.float32)
            logits = sessions[node.id].run(None, {"scaled": scaled[None]})[0][0].astype(np.float64)
            label = node.labels[int(logits.argmax())]
            shares = np.exp(logits / node.temperature)
            codes[level, i] = bundle.vocabulary()[level].index(label)
            confidence[level, i] = shares.max() / shares.sum()
            energy[level, i] = -np.log(np.exp(logits).sum())
            node = node.children.get(label)
    return codes, confidence, energy


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_cascade_equals_one_flow_after_the_other(even_bundle: Bundle, temperature: float) -> None:
    bundle = dataclasses.replace(even_bundle, root=dataclasses.replace(even_bundle.root, temperature=temperature))
    raw = odd_flows(400)
    result = RoutedCascade(bundle, onnxruntime_engines(bundle), block=64).run(raw)
    codes, confidence, energy = row_by_row(bundle, raw)
    assert set(codes[0]) == {0, 1, 2}, "the flows should reach every network"
    np.testing.assert_array_equal(result.codes, codes)
    np.testing.assert_allclose(result.confidence, confidence, rtol=1e-5)
    np.testing.assert_allclose(result.energy, energy, rtol=1e-5, atol=1e-5)
    assert (result.codes.dtype, result.confidence.dtype, result.energy.dtype) == (
        np.int32,
        np.float32,
        np.float32,
    )


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("block", [1, 7, 100, 4096])
def test_the_answer_does_not_depend_on_blocks_and_threads(even_bundle: Bundle, block: int, threads: int) -> None:
    raw = odd_flows(500)
    opened = onnxruntime_engines(even_bundle)
    whole = RoutedCascade(even_bundle, opened, block=500).run(raw)
    assert_same(RoutedCascade(even_bundle, opened, block=block, threads=threads).run(raw), whole)


def test_a_flow_is_labelled_alone_as_among_others(even_bundle: Bundle) -> None:
    raw = odd_flows(50)
    cascade = RoutedCascade(even_bundle, onnxruntime_engines(even_bundle))
    among = cascade.run(raw)
    for i in range(len(raw)):
        alone = cascade.run(raw[i : i + 1])
        np.testing.assert_array_equal(alone.codes[:, 0], among.codes[:, i])


def test_a_label_without_network_ends_there(even_bundle: Bundle) -> None:
    result = RoutedCascade(even_bundle, onnxruntime_engines(even_bundle)).run(odd_flows(400))
    tor = result.labels("protocol") == "Tor"
    assert 0 < tor.sum() < 400
    assert set(result.labels("application")[tor]) == {""}
    assert "" not in result.labels("application")[~tor]
    assert np.isnan(result.confidence[1][tor]).all()
    assert np.isnan(result.energy[1][tor]).all()
    assert np.isfinite(result.confidence[0]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_no_flows_are_no_labels(even_bundle: Bundle, threads: int) -> None:
    result = RoutedCascade(even_bundle, onnxruntime_engines(even_bundle), threads=threads).run(odd_flows(0))
    assert len(result) == 0
    assert result.codes.shape == result.confidence.shape == (2, 0)
    assert result.labels("protocol").tolist() == []


@pytest.mark.parametrize("shape", [(3, 5), (3, 7), (6,), (1, 3, 6), (0, 5)])
def test_another_width_is_refused(even_bundle: Bundle, shape: tuple[int, ...]) -> None:
    cascade = RoutedCascade(even_bundle, onnxruntime_engines(even_bundle))
    with pytest.raises(ValueError, match=r"features must be \[n, 6\], not \["):
        cascade.run(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "form",
    [
        lambda raw: np.asfortranarray(raw),
        lambda raw: np.repeat(raw, 2, axis=0)[::2],
        lambda raw: raw.astype("f8"),
    ],
)
def test_the_form_of_the_array_does_not_matter(even_bundle: Bundle, form: Callable[[np.ndarray], np.ndarray]) -> None:
    raw = odd_flows(60)
    cascade = RoutedCascade(even_bundle, onnxruntime_engines(even_bundle))
    assert_same(cascade.run(form(raw)), cascade.run(raw))


def test_the_input_is_not_changed(even_bundle: Bundle) -> None:
    raw = odd_flows(60)
    raw.setflags(write=False)
    RoutedCascade(even_bundle, onnxruntime_engines(even_bundle), block=16, threads=2).run(raw)


# --- with fake engines --------------------------------------------------------------------------------------


class FakeEngine:
    """Answers what its scaled input ``first`` spells out, and records how many flows each call had."""

    def __init__(self, node: Node, first: int) -> None:
        self.node, self.first = node, first
        self.calls: list[int] = []

    def run(self, scaled: np.ndarray) -> np.ndarray:
        self.calls.append(len(scaled))
        wanted = np.rint(scaled[:, self.first] * 10).astype(int)
        logits = 5.0 * (np.arange(len(self.node.labels)) == wanted[:, None])
        logits[wanted == 9] = np.nan
        return logits.astype(np.float32)


class FakeEngines:
    """One `FakeEngine` a node; the node at depth d reads input d, 0.1 for its label 1, 0.9 for NaN logits."""

    def __init__(self, bundle: Bundle) -> None:
        self.opened = {node.id: FakeEngine(node, depth) for depth, node in bundle.root.walk()}

    def __call__(self, node: Node) -> Engine:
        return self.opened[node.id]

    def calls(self) -> dict[str, list[int]]:
        return {node_id: engine.calls for node_id, engine in self.opened.items()}


def inputs_of(*flows: tuple[int, ...]) -> np.ndarray:
    """Raw flows whose labels are given, one a level."""
    raw = np.zeros((len(flows), 6), np.float32)
    for i, labels in enumerate(flows):
        raw[i, : len(labels)] = 100 * np.array(labels)
    return raw


NON_VPN, TOR, VPN, NAN = 0, 1, 2, 9


def test_a_network_gets_its_own_flows_in_one_call_and_none_for_none(tiny_bundle: Bundle) -> None:
    fake = FakeEngines(tiny_bundle)
    result = RoutedCascade(tiny_bundle, fake, block=4).run(
        inputs_of((TOR,), (VPN, 1), (TOR,), (VPN, 0), (TOR,), (NON_VPN, 2), (TOR,), (NON_VPN, 0), (TOR,))
    )
    assert fake.calls() == {"stage1": [4, 4, 1], "stage2.vpn": [2], "stage2.non-vpn": [2]}
    assert result.labels("application").tolist() == ["", "Streaming", "", "Chat", "", "FTP", "", "Chat", ""]


@pytest.mark.parametrize("threads", [1, 2])
def test_no_network_is_run_without_flows(tiny_bundle: Bundle, threads: int) -> None:
    fake = FakeEngines(tiny_bundle)
    RoutedCascade(tiny_bundle, fake, threads=threads).run(inputs_of())
    assert fake.calls() == {"stage1": [], "stage2.vpn": [], "stage2.non-vpn": []}


def test_logits_that_are_not_finite_give_no_label_and_lead_nowhere(tiny_bundle: Bundle) -> None:
    fake = FakeEngines(tiny_bundle)
    result = RoutedCascade(tiny_bundle, fake).run(inputs_of((NAN, 1), (VPN, NAN), (VPN, 1)))
    assert fake.calls() == {"stage1": [3], "stage2.vpn": [2], "stage2.non-vpn": []}
    assert result.labels("protocol").tolist() == ["", "VPN", "VPN"]
    assert result.labels("application").tolist() == ["", "", "Streaming"]
    assert np.isnan(result.confidence).tolist() == [[True, False, False], [True, True, False]]
    assert np.isnan(result.energy).tolist() == [[True, False, False], [True, True, False]]


class BrokenEngine:
    def run(self, scaled: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_engine_is_no_missing_label(tiny_bundle: Bundle, threads: int) -> None:
    cascade = RoutedCascade(tiny_bundle, lambda _: BrokenEngine(), block=2, threads=threads)
    with pytest.raises(RuntimeError, match="out of memory"):
        cascade.run(odd_flows(9))


def test_a_result_without_marked_rows_keeps_the_others(tiny_bundle: Bundle) -> None:
    result = RoutedCascade(tiny_bundle, FakeEngines(tiny_bundle)).run(inputs_of((VPN, 1), (VPN, 0), (NON_VPN, 1)))
    bare = result.without(np.array([False, True, False]))
    assert bare.labels("protocol").tolist() == ["VPN", "", "Non-VPN"]
    assert bare.labels("application").tolist() == ["Streaming", "", "Email"]
    assert np.isnan(bare.confidence[:, 1]).all()
    assert np.isnan(bare.energy[:, 1]).all()
    assert result.labels("protocol").tolist() == ["VPN", "VPN", "Non-VPN"], "the original is unchanged"


@pytest.fixture
def three_levels() -> Bundle:
    """protocol → application → service; only VPN/Streaming and Tor/Chat go three deep."""
    network = parse_network(["flatten", "dense 2"])

    def node(node_id: str, labels: tuple[str, str], **children: Node) -> Node:
        return Node(node_id, labels, network, unit_scaler(6), 1.0, children)

    root = node(
        "stage1",
        ("Tor", "VPN"),
        VPN=node("stage2.vpn", ("Chat", "Streaming"), Streaming=node("stage3.vpn.streaming", ("Vimeo", "Netflix"))),
        Tor=node("stage2.tor", ("Email", "Chat"), Chat=node("stage3.tor.chat", ("IRC", "Netflix"))),
    )
    return bundle_of(root, ("protocol", "application", "service"), 6)


def test_three_levels_are_labelled(three_levels: Bundle) -> None:
    fake = FakeEngines(three_levels)
    result = RoutedCascade(three_levels, fake).run(inputs_of((1, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 1, 1)))
    assert result.vocabulary == (("Tor", "VPN"), ("Chat", "Streaming", "Email"), ("Vimeo", "Netflix", "IRC"))
    assert list(zip(*(result.labels(level).tolist() for level in result.levels), strict=True)) == [
        ("VPN", "Streaming", "Vimeo"),
        ("Tor", "Chat", "Netflix"),
        ("Tor", "Email", ""),
        ("VPN", "Chat", ""),
        ("VPN", "Streaming", "Netflix"),
    ]
    assert result.codes.tolist() == [[1, 0, 0, 1, 1], [1, 0, 2, 0, 1], [0, 1, -1, -1, 1]]
    assert fake.calls() == {
        "stage1": [5],
        "stage2.vpn": [3],
        "stage3.vpn.streaming": [2],
        "stage2.tor": [2],
        "stage3.tor.chat": [1],
    }


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
def test_a_service_gets_its_name_whatever_the_networks_say(even_bundle: Bundle, backend: str) -> None:
    features = ("ip_protocol", *even_bundle.features[1:])
    plain = dataclasses.replace(even_bundle, features=features)
    named = dataclasses.replace(plain, services=(Service("ICMP", (1,), ()), Service("IGMP", (2,), ())))
    raw = odd_flows(300)
    raw[:, 0] = np.arange(300) % 4
    raw[4, 1:] = np.nan  # no flow with too few values gets a label
    cascades = [open_cascade(bundle, choose(backend, "fp32")) for bundle in (plain, named)]
    before, after = answer(plain, cascades[0], raw), answer(named, cascades[1], raw)
    by_rule = np.isin(raw[:, 0], [1, 2]) & has_enough_values(raw)
    np.testing.assert_array_equal(after.codes[0], before.codes[0])
    np.testing.assert_array_equal(after.confidence[:, ~by_rule], before.confidence[:, ~by_rule])
    np.testing.assert_array_equal(after.labels("application")[~by_rule], before.labels("application")[~by_rule])
    expected = np.where(raw[by_rule, 0] == 1, "ICMP", "IGMP")
    np.testing.assert_array_equal(after.labels("application")[by_rule], expected)
    assert (after.confidence[1, by_rule] == 1).all()
    np.testing.assert_array_equal(after.at_least(1.0).codes[1] >= 0, by_rule)
