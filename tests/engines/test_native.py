"""The native engine: any network of the layer list gives PyTorch's logits, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcc_edge import _native
from etcc_edge.bundle import Bundle
from etcc_edge.bundle.network import Layer, Network, Shape, parse_network, shapes
from etcc_edge.engines import native
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import BackendError
from etcc_edge.export.graph import build_onnx
from etcc_edge.training.networks import PAPER

TOLERANCE = 1e-4  # of max(1, |logit|)
Weights = dict[str, np.ndarray]


def random_weights(network: Network, inputs: int, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for i, (layer, before, _) in enumerate(shapes(network, inputs)):
        if layer.op == "conv":
            shape: tuple[int, ...] = (layer.size, before.channels, 1, layer.width)
        elif layer.op == "dense":
            shape = (layer.size, before.channels)
        else:
            continue
        weights[f"{i}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        weights[f"{i}.bias"] = rng.normal(0, 0.4, layer.size)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def exact(network: Network, weights: Weights, scaled: np.ndarray) -> np.ndarray:
    """Logits in float64, by the layers' definitions."""
    x = scaled.astype(np.float64)[:, None, :]
    for i, layer in enumerate(network):
        weight, bias = weights.get(f"{i}.weight"), weights.get(f"{i}.bias")
        if layer.op == "tent":
            x = np.maximum(0, 1 - np.abs(layer.size * x - np.arange(layer.size + 1)[:, None]))
        elif layer.op == "conv":
            windows = np.lib.stride_tricks.sliding_window_view(x, layer.width, axis=2)
            x = np.tensordot(windows, weight[:, :, 0].astype(np.float64), axes=([1, 3], [1, 2])).transpose(0, 2, 1)
            x = x + bias[:, None]
        elif layer.op == "relu":
            x = np.maximum(x, 0)
        elif layer.op == "max_pool":
            kept = x.shape[2] // layer.width * layer.width
            x = x[:, :, :kept].reshape(*x.shape[:2], -1, layer.width).max(axis=3)
        elif layer.op == "flatten":
            x = x.reshape(len(x), -1)
        elif layer.op == "dense":
            x = x @ weight.astype(np.float64).T + bias
    return x


def engine(network: Network, inputs: int, weights: Weights, instruction_set: str) -> _native.Network:
    none = np.zeros(0, np.float32)
    layers = [
        (
            layer.op,
            layer.size,
            layer.width,
            weights.get(f"{i}.weight", none).ravel(),
            weights.get(f"{i}.bias", none).ravel(),
        )
        for i, layer in enumerate(network)
    ]
    return _native.Network(inputs, layers, instruction_set)


def worst(logits: np.ndarray, reference: np.ndarray) -> float:
    assert logits.shape == reference.shape
    return float((np.abs(logits - reference) / np.maximum(1, np.abs(reference))).max())


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, int]:
    """Layers that fit each other, and their number of inputs."""
    inputs = draw(st.integers(1, 45))
    layers: list[Layer] = []
    shape = Shape(1, inputs)
    for _ in range(draw(st.integers(0, 5))):
        layer = draw(
            st.one_of(
                st.just(Layer("relu")),
                st.just(Layer("dropout", rate=0.5)),
                st.builds(Layer, st.just("tent"), st.integers(1, 40)),
                st.builds(Layer, st.just("conv"), st.integers(1, 70), st.integers(1, 4)),
                st.builds(Layer, st.just("conv"), st.integers(1, 90), st.just(shape.positions)),
                st.builds(Layer, st.just("conv"), st.sampled_from([16, 33, 64]), st.just(3)),
                st.builds(lambda width: Layer("max_pool", width=width), st.integers(1, 8)),
            )
        )
        if layer.width > shape.positions or (layer.op == "tent" and shape.channels > 1):
            continue
        layers.append(layer)
        *_, (_, _, shape) = shapes(tuple(layers), inputs)
    layers.append(Layer("flatten"))
    for _ in range(draw(st.integers(0, 3))):
        layers.append(draw(st.builds(Layer, st.just("dense"), st.integers(1, 150))))
        if draw(st.booleans()):
            layers.append(Layer("relu"))
    return tuple(layers), inputs


@settings(max_examples=80, deadline=None)
@given(made=networks(), seed=st.integers(0, 99), flows=st.sampled_from([1, 7, 70]))
def test_any_network_gives_the_logits_of_its_definition(made: tuple[Network, int], seed: int, flows: int) -> None:
    network, inputs = made
    weights = random_weights(network, inputs, seed)
    scaled = np.random.default_rng(seed).random((flows, inputs), np.float32)
    scaled[np.random.default_rng(seed).random(scaled.shape) < 0.3] = 1
    reference = exact(network, weights, scaled)
    for instruction_set in _native.instruction_sets():
        assert worst(engine(network, inputs, weights, instruction_set).run(scaled), reference) <= TOLERANCE


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("protocol", PAPER["cnn"])
@pytest.mark.parametrize("inputs", [41, 21])
def test_the_papers_networks_give_onnx_runtimes_logits(protocol: str, inputs: int, instruction_set: str) -> None:
    network = parse_network(PAPER["cnn"][protocol].replace("classes", "5").split(", "))
    weights = random_weights(network, inputs, 3)
    scaled = np.random.default_rng(4).random((100, inputs), np.float32)
    reference = OnnxRuntimeEngine(build_onnx(network, inputs, weights).SerializeToString()).run(scaled)
    ours = engine(network, inputs, weights, instruction_set).run(scaled)
    assert worst(ours, reference) <= TOLERANCE
    assert worst(ours, exact(network, weights, scaled)) <= TOLERANCE


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize(
    "text",
    [
        "conv 64 3, relu, max_pool 2, conv 128 3, relu, flatten, dense 4",
        "conv 32 3, relu, conv 20 3, max_pool 3, flatten, dense 70, relu, dense 20",
        "tent 8, conv 30 41, relu, flatten, dense 5",
    ],
)
def test_a_flow_gets_the_same_bits_alone_as_among_others(text: str, instruction_set: str) -> None:
    network = parse_network(text.split(", "))
    made = engine(network, 41, random_weights(network, 41, 5), instruction_set)
    scaled = np.random.default_rng(6).random((150, 41), np.float32)
    among = made.run(scaled)
    np.testing.assert_array_equal(among, made.run(scaled))
    np.testing.assert_array_equal(among, np.concatenate([made.run(scaled[i : i + 1]) for i in range(150)]))
    np.testing.assert_array_equal(among[13:90], made.run(scaled[13:90]))


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
def test_a_value_that_is_no_number_is_not_hidden(instruction_set: str) -> None:
    network = parse_network("conv 16 3, relu, max_pool 2, flatten, dense 3".split(", "))
    scaled = np.random.default_rng(0).random((9, 8), np.float32)
    scaled[4, 2] = np.nan
    logits = engine(network, 8, random_weights(network, 8, 1), instruction_set).run(scaled)
    assert np.isnan(logits).any(axis=1).tolist() == [i == 4 for i in range(9)]


def test_the_portable_instruction_set_is_always_there_and_comes_last() -> None:
    assert _native.instruction_sets()[-1] == "portable"


def test_an_instruction_set_is_forced_by_the_environment(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle) -> None:
    monkeypatch.setenv(native.INSTRUCTION_SET, "portable")
    forced = native.open_engine(tiny_bundle, tiny_bundle.root, "fp32")
    scaled = np.random.default_rng(0).random((20, 6), np.float32)
    prefix = f"{tiny_bundle.root.id}/"
    weights = {n.removeprefix(prefix): w for n, w in tiny_bundle.weights.items() if n.startswith(prefix)}
    portable = engine(tiny_bundle.root.network, 6, weights, "portable")
    np.testing.assert_array_equal(forced.run(scaled), portable.run(scaled))
    monkeypatch.setenv(native.INSTRUCTION_SET, "mmx")
    with pytest.raises(BackendError, match=r"ETCC_EDGE_INSTRUCTION_SET is 'mmx', but this CPU has .*portable"):
        native.open_engine(tiny_bundle, tiny_bundle.root, "fp32")


def test_a_network_outside_the_layer_list_is_refused_with_its_reason(tiny_bundle: Bundle) -> None:
    assert native.why_not(tiny_bundle) == native.why_not() == ""
    root = dataclasses.replace(tiny_bundle.root, network=parse_network(["lstm 4", "dense 3"]))
    bundle = dataclasses.replace(tiny_bundle, root=root)
    assert native.why_not(bundle) == "it runs no lstm layers, which stage1 has"
    with pytest.raises(BackendError, match="native cannot run bundle tiny: it runs no lstm layers.*onnxruntime"):
        native.open_engine(bundle, bundle.root, "fp32")


@pytest.mark.parametrize(
    ("text", "change", "complaint"),
    [
        ("flatten, dense 3", {"1.weight": np.zeros(5, np.float32)}, "dense has weights of another shape"),
        ("conv 4 3, flatten", {"0.bias": np.zeros(3, np.float32)}, "conv has weights of another shape"),
        ("dense 3", {}, "dense needs a flat vector"),
        ("conv 4 9, flatten", {}, "conv is too wide"),
        ("max_pool 9, flatten", {}, "max_pool is too wide"),
        ("lstm 4", {}, "no layer lstm"),
    ],
)
def test_layers_that_do_not_fit_are_refused(text: str, change: Weights, complaint: str) -> None:
    network = parse_network(text.split(", "))
    with pytest.raises(ValueError, match=complaint):
        engine(network, 6, change or {"0.weight": np.zeros(108, np.float32), "0.bias": np.zeros(4, np.float32)}, "")


def test_scaled_inputs_of_another_width_are_refused() -> None:
    network = parse_network(["flatten"])
    with pytest.raises(ValueError, match="another number of inputs"):
        engine(network, 6, {}, "").run(np.zeros((3, 5), np.float32))
