"""The native engine: any network of the layer list gives PyTorch's logits, on every instruction set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.bundle import Bundle
from etcc_edge.bundle.network import Layer, Network, Shape, parse_network, shapes
from etcc_edge.engines import native
from etcc_edge.engines.choice import Choice, choose
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import BackendError
from etcc_edge.export.graph import build_onnx
from etcc_edge.training.networks import PAPER
from making import Weights, native_layers, random_weights

TOLERANCE = 1e-4  # of max(1, |logit|)
INT8 = [name for name in _native.instruction_sets() if _native.has_int8(name)]


def in_8_bits(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution [n, outputs, positions] of x [n, channels, positions] ≥ 0 in 8-bit codes, of activations by flow
    and of weights [outputs, channels, width] by output; float32 is rounded as the kernels round it."""
    x, levels = x.astype(np.float32), np.float32(127)
    largest = x.max(axis=(1, 2), keepdims=True)
    codes = np.floor(x * (levels / largest) + np.float32(0.5)).astype(np.int32)
    weight_scale = np.abs(weight).max(axis=(1, 2)) / levels
    weight_codes = np.rint(weight / weight_scale[:, None, None]).astype(np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(codes, weight.shape[2], axis=2)
    sums = np.tensordot(windows, weight_codes, axes=([1, 3], [1, 2])).transpose(0, 2, 1)
    return sums.astype(np.float32) * (weight_scale[:, None] * (largest / levels)) + bias[:, None]


def exact(network: Network, weights: Weights, scaled: np.ndarray, int8: Sequence[int] = ()) -> np.ndarray:
    """Logits in float64, by the layers' definitions; the layers numbered in ``int8`` in 8 bits."""
    x = scaled.astype(np.float64)[:, None, :]
    for i, layer in enumerate(network):
        weight, bias = weights.get(f"{i}.weight"), weights.get(f"{i}.bias")
        if i in int8:
            flat = x.ndim == 2
            x = in_8_bits(x.reshape(*x.shape[:2], -1), weight.reshape(*weight.shape[:2], -1), bias)
            x = (x[:, :, 0] if flat else x).astype(np.float64)
        elif layer.op == "tent":
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


def engine(
    network: Network, inputs: int, weights: Weights, instruction_set: str, int8: bool = False
) -> _native.Network:
    return _native.Network(inputs, native_layers(network, weights), instruction_set, int8)


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
@given(drawn=networks(), seed=st.integers(0, 99), flows=st.sampled_from([1, 7, 70]))
def test_any_network_gives_the_logits_of_its_definition(drawn: tuple[Network, int], seed: int, flows: int) -> None:
    network, inputs = drawn
    weights = random_weights(network, inputs, seed)
    scaled = np.random.default_rng(seed).random((flows, inputs), np.float32)
    scaled[np.random.default_rng(seed).random(scaled.shape) < 0.3] = 1
    reference = exact(network, weights, scaled)
    for instruction_set in _native.instruction_sets():
        assert worst(engine(network, inputs, weights, instruction_set).run(scaled), reference) <= TOLERANCE
        in_int8 = engine(network, inputs, weights, instruction_set, int8=True)
        assert worst(in_int8.run(scaled), reference) <= (0.1 if in_int8.int8_layers else TOLERANCE)


@pytest.mark.parametrize("instruction_set", INT8)
@pytest.mark.parametrize(
    ("text", "int8"),
    [
        ("conv 64 3, relu, max_pool 2, conv 128 3, relu, dropout 0.25, flatten, dense 4", [3]),
        ("conv 64 3, relu, conv 40 5, max_pool 3, relu, flatten, dense 70, relu, dense 24, relu, dense 90", [2, 6]),
        ("conv 33 1, relu, max_pool 4, flatten, dense 300, relu, dense 260", [4, 6]),
        ("conv 16 2, relu, conv 17 3, relu, flatten, dense 300", [2, 5]),
    ],
)
def test_int8_gives_the_logits_of_its_codes(text: str, int8: list[int], instruction_set: str) -> None:
    network = parse_network(text.split(", "))
    weights = random_weights(network, 41, 8)
    # What the first codes are made of is then exact in float32.
    coarse = {name: np.rint(weight * 64) / 64 for name, weight in weights.items()}
    scaled = np.rint(np.random.default_rng(9).random((70, 41), np.float32) * 64) / 64
    native_network = engine(network, 41, coarse, instruction_set, int8=True)
    assert native_network.int8_layers == len(int8)
    assert worst(native_network.run(scaled), exact(network, coarse, scaled, int8)) <= 1e-5
    assert worst(native_network.run(scaled), exact(network, coarse, scaled)) > 1e-3


@pytest.mark.parametrize("instruction_set", INT8)
@pytest.mark.parametrize("protocol", PAPER["cnn"])
def test_int8_is_near_fp32_on_the_papers_networks(protocol: str, instruction_set: str) -> None:
    network = parse_network(PAPER["cnn"][protocol].replace("classes", "5").split(", "))
    weights = random_weights(network, 41, 3)
    scaled = np.random.default_rng(4).random((100, 41), np.float32)
    reference = exact(network, weights, scaled)
    native_network = engine(network, 41, weights, instruction_set, int8=True)
    assert native_network.int8_layers == {"": 1, "tor": 2, "nonvpn": 2}.get(protocol, 0)
    assert worst(native_network.run(scaled), reference) <= 0.03


@pytest.mark.parametrize("instruction_set", INT8)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_int8_hides_no_value_that_is_no_number(value: float, instruction_set: str) -> None:
    network = parse_network("conv 64 3, relu, conv 32 3, relu, flatten, dense 3".split(", "))
    scaled = np.random.default_rng(0).random((9, 41), np.float32)
    scaled[4, 2] = value
    weights = random_weights(network, 41, 1)
    logits = engine(network, 41, weights, instruction_set, int8=True).run(scaled)
    assert np.isnan(logits).any(axis=1).tolist() == [i == 4 for i in range(9)]
    assert np.isfinite(
        engine(network, 41, weights, instruction_set, int8=True).run(np.zeros((2, 41), np.float32))
    ).all()


@pytest.mark.parametrize("instruction_set", INT8)
def test_where_all_that_int8_reads_is_zero_the_biases_remain(instruction_set: str) -> None:
    network = parse_network("conv 64 3, relu, flatten, dense 30".split(", "))
    weights = random_weights(network, 41, 1)
    weights["0.weight"][:] = 0
    for bias, logits in ((0.0, weights["3.bias"]), (-1.0, weights["3.bias"])):
        weights["0.bias"][:] = bias
        native_network = engine(network, 41, weights, instruction_set, int8=True)
        np.testing.assert_array_equal(native_network.run(np.ones((2, 41), np.float32)), [logits, logits])


@pytest.mark.parametrize("instruction_set", INT8)
def test_weights_that_are_not_finite_stay_fp32(instruction_set: str) -> None:
    network = parse_network("conv 64 3, relu, flatten, dense 30".split(", "))
    weights = random_weights(network, 41, 1)
    assert engine(network, 41, weights, instruction_set, int8=True).int8_layers == 1
    weights["3.weight"][4, 5] = np.inf
    assert engine(network, 41, weights, instruction_set, int8=True).int8_layers == 0


@pytest.mark.parametrize(
    "text",
    [
        "conv 64 3, flatten, dense 200",
        "tent 9, conv 64 41, relu, flatten, dense 5",
        "conv 3300 1, relu, flatten, dense 17",
    ],
)
def test_a_layer_that_reads_values_below_0_or_few_or_too_many_has_no_int8(text: str) -> None:
    network = parse_network(text.split(", "))
    assert engine(network, 41, random_weights(network, 41, 1), "", int8=True).int8_layers == 0


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


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize(
    "text",
    [
        "conv 64 3, relu, max_pool 2, conv 128 3, relu, flatten, dense 4",
        "conv 32 3, relu, conv 20 3, max_pool 3, flatten, dense 70, relu, dense 20",
        "tent 8, conv 30 41, relu, flatten, dense 5",
    ],
)
def test_a_flow_gets_the_same_bits_alone_as_among_others(text: str, instruction_set: str, int8: bool) -> None:
    network = parse_network(text.split(", "))
    native_network = engine(network, 41, random_weights(network, 41, 5), instruction_set, int8)
    scaled = np.random.default_rng(6).random((150, 41), np.float32)
    among = native_network.run(scaled)
    np.testing.assert_array_equal(among, native_network.run(scaled))
    np.testing.assert_array_equal(among, np.concatenate([native_network.run(scaled[i : i + 1]) for i in range(150)]))
    np.testing.assert_array_equal(among[13:90], native_network.run(scaled[13:90]))


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
    weights = tiny_bundle.weights_of(tiny_bundle.root)
    portable = engine(tiny_bundle.root.network, 6, weights, "portable")
    np.testing.assert_array_equal(forced.run(scaled), portable.run(scaled))
    monkeypatch.setenv(native.INSTRUCTION_SET, "mmx")
    with pytest.raises(BackendError, match=r"ETCC_EDGE_INSTRUCTION_SET is 'mmx', but this CPU has .*portable"):
        native.open_engine(tiny_bundle, tiny_bundle.root, "fp32")


def test_int8_is_refused_with_its_reason_where_nothing_gains(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle
) -> None:
    monkeypatch.setenv(native.INSTRUCTION_SET, "portable")
    assert native.why_not(None, "int8") == "its int8 needs AVX2, AVX-512 or ARM's dot product instructions"
    monkeypatch.delenv(native.INSTRUCTION_SET)
    if native.why_not(None, "int8"):
        pytest.skip("this CPU has no int8")
    assert native.why_not(tiny_bundle, "int8") == "no layer of tiny is large enough to gain from int8"
    with pytest.raises(BackendError, match="cannot run bundle tiny at int8: no layer of tiny is large enough"):
        native.open_fused(tiny_bundle, "int8", 64, 1)
    assert choose("auto", "int8", tiny_bundle) == Choice(
        "onnxruntime",
        "int8",
        "the fastest that this machine has at int8; not native: no layer of tiny is large enough to gain from int8",
    )


def test_a_network_outside_the_layer_list_is_refused_with_its_reason(tiny_bundle: Bundle) -> None:
    assert native.why_not(tiny_bundle) == native.why_not() == ""
    root = dataclasses.replace(tiny_bundle.root, network=parse_network(["lstm 4", "dense 3"]))
    bundle = dataclasses.replace(tiny_bundle, root=root)
    assert native.why_not(bundle) == "it runs no lstm layers, which stage1 has"
    with pytest.raises(
        BackendError, match=r"native cannot run bundle tiny at fp32: it runs no lstm layers.*onnxruntime"
    ):
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
