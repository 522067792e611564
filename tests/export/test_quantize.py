"""fp16 and int8 forms of a network: near fp32, in integer kernels, safe from 16-bit saturation."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from etcc_edge.bundle.network import parse_network
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import (
    METHODS,
    Exported,
    calibrate,
    export_forms,
    logit_difference,
    quantizable,
    quantize,
    to_fp16,
)
from etcc_edge.training.networks import PAPER, TorchNetwork
from making import integer_kernels

WIDE = "tent 32, conv 80 41, relu, flatten, dropout 0.3, dense 64, relu, dense 5"
CONVOLUTIONS = {
    "wide": WIDE,
    "narrow": "tent 8, conv 16 3, relu, max_pool 2, conv 8 3, flatten, dense 5",
    **{name or "stage1": text for name, text in PAPER["cnn"].items()},
}
INT8 = ("int8", "int8-trt", "int8-trt-fp16")


def fp32_model(text: str) -> bytes:
    import torch

    torch.manual_seed(3)
    network = parse_network(text.replace("classes", "5").split(", "))
    return build_onnx(network, 41, TorchNetwork(network, 41).weights()).SerializeToString()


def flows(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 41), np.float32)


@functools.cache
def exported(name: str) -> Exported:
    return export_forms(fp32_model(CONVOLUTIONS[name]), flows(300), flows(200, 1))


def arrays(model: bytes | onnx.ModelProto) -> Mapping[str, np.ndarray]:
    loaded = onnx.load_from_string(model) if isinstance(model, bytes) else model
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in loaded.graph.initializer}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("form", ["fp16", *INT8])
def test_each_form_is_near_fp32(name: str, form: str) -> None:
    forms = exported(name)
    difference = logit_difference(forms.models["fp32"], forms.models[form], flows(400, 2))
    assert 0 < difference < (0.002 if form == "fp16" else 0.03)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_cpu_int8_runs_on_integer_kernels_where_the_work_is(name: str) -> None:
    forms = exported(name)
    heavy = quantizable(onnx.load_from_string(forms.models["fp32"]))
    kernels = integer_kernels(forms.models["int8"], flows(64))
    assert sum(kernels.values()) == len(heavy) > 0
    assert integer_kernels(forms.models["fp32"], flows(64)) == {}


def test_tensorrts_int8_is_explicit_symmetric_and_without_integer_biases() -> None:
    for name in CONVOLUTIONS:
        for form in ("int8-trt", "int8-trt-fp16"):
            held = arrays(exported(name).models[form])
            assert all(not array.any() for key, array in held.items() if key.endswith("_zero"))
            assert {array.dtype for array in held.values()} <= {np.dtype(t) for t in ("f2", "f4", "i1", "i8")}


def test_tents_have_steps_of_exactly_1_in_127_and_need_no_calibration() -> None:
    forms = exported("wide")
    assert forms.notes["method"] == "exact"
    for form in ("int8", "int8-trt"):
        scales = [a for key, a in arrays(forms.models[form]).items() if key.endswith("_scale") and not a.ndim]
        assert scales == [np.float32(1 / 127)]


def test_weights_are_stored_once_and_narrow() -> None:
    sizes = {form: len(model) for form, model in exported("wide").models.items()}
    assert sizes["fp16"] < 0.52 * sizes["fp32"]
    assert all(sizes[form] < 0.31 * sizes["fp32"] for form in INT8)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_no_two_products_leave_16_bits(name: str) -> None:
    """AVX2's vpmaddubsw adds two products u8 · s8 in 16 bits, saturating. Which two is ONNX Runtime's affair."""
    model = onnx.load_from_string(exported(name).models["int8"])
    held = arrays(model)
    sources = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "MatMulIntegerToFloat":
            weight = held[node.input[1]].astype(np.int64)
        elif node.op_type == "Conv" and (dequantized := sources.get(node.input[1])) is not None:
            weight = held[dequantized.input[0]].astype(np.int64).reshape(len(held[dequantized.input[0]]), -1)
        else:
            continue
        tent = name == "wide" or (node.name == "conv_1" and name == "narrow")
        activation = 127 if tent else 255
        assert 2 * activation * np.abs(weight).max() < 2**15


def test_a_worst_case_flow_does_not_saturate() -> None:
    """Every weight at its largest, every tent at 1: int8 still gives fp32's sum."""
    network = parse_network(["tent 1", "conv 16 64", "relu", "flatten"])
    weights = {"1.weight": np.ones((16, 2, 1, 64), np.float32), "1.bias": np.zeros(16, np.float32)}
    fp32 = build_onnx(network, 64, weights).SerializeToString()
    forms = export_forms(fp32, np.ones((8, 64), np.float32), np.ones((8, 64), np.float32))
    assert logit_difference(fp32, forms.models["int8"], np.ones((1, 64), np.float32)) < 1e-6


def test_fp16_keeps_fp32_at_both_ends_and_in_the_tents() -> None:
    half = to_fp16(onnx.load_from_string(fp32_model(WIDE)))
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    before = itertools.takewhile(lambda node: node.op_type != "Cast", half.graph.node)
    assert [node.op_type for node in before] == ["Reshape", "Mul", "Sub", "Abs", "HardSigmoid", "Flatten"]
    assert [a.dtype for key, a in arrays(half).items() if "weight" in key] == [np.float16] * 3


def test_a_weight_beyond_fp16_is_refused() -> None:
    network = parse_network(["flatten", "dense 2"])
    weights = {"1.weight": np.full((2, 3), 1e5, np.float32), "1.bias": np.zeros(2, np.float32)}
    with pytest.raises(Exception, match="exceeds fp16's range"):
        to_fp16(build_onnx(network, 3, weights))


def test_an_lstm_has_fp16_but_no_int8_and_says_why() -> None:
    forms = export_forms(fp32_model("lstm 16, dense classes"), flows(10), flows(10))
    assert set(forms.models) == {"fp32", "fp16"}
    assert "10 %" in forms.notes["method"]


def test_the_method_is_the_one_nearest_to_fp32_on_the_choosing_flows() -> None:
    notes = exported("tor").notes
    assert set(notes["logit_difference"]) == set(METHODS)
    assert notes["logit_difference"][notes["method"]] == min(notes["logit_difference"].values())


def test_a_range_covers_the_calibration_flows() -> None:
    network = parse_network(["flatten", "dense 2"])
    weights = {"1.weight": np.ones((2, 3), np.float32), "1.bias": np.zeros(2, np.float32)}
    model = build_onnx(network, 3, weights)
    ranges = calibrate(model, np.array([[0, 0.25, 0.5], [0, 0, 4]], np.float32), "minmax")
    assert ranges["flatten_0"] == (0.0, 4.0)


def test_equal_calibration_gives_equal_files() -> None:
    model = onnx.load_from_string(fp32_model(CONVOLUTIONS["vpn"]))
    assert quantize(model, flows(50), "minmax") == quantize(model, flows(50), "minmax")


def test_pooling_before_an_integer_convolution_stays_in_floats() -> None:
    ops = [node.op_type for node in onnx.load_from_string(exported("stage1").models["int8"]).graph.node]
    assert ops[ops.index("MaxPool") : ops.index("MaxPool") + 3] == ["MaxPool", "Relu", "QuantizeLinear"]
