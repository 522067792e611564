"""The lint finds each broken rule where it is, and nothing in what this package writes for a target."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from etcc_edge.bundle.network import parse_network
from etcc_edge.bundle.precision import FORMS, PRECISIONS
from etcc_edge.engines.gpu.plan import TENSORRT, TENSORRT_RTX, engine_plan
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.lint import TARGETS_OF, Breach, lint, refusals
from etcc_edge.export.quantize import export_forms
from etcc_edge.training.networks import PAPER, TorchNetwork

WIDE = "tent 8, conv 16 9, relu, flatten, dropout 0.3, dense 16, relu, dense 3"
NETWORKS = {"wide": WIDE, "lstm": "lstm 8, dense 3"} | {
    name or "stage1": text.replace("classes", "3") for name, text in PAPER["cnn"].items()
}
INPUTS = 9


def exported(text: str) -> dict[str, onnx.ModelProto]:
    network = parse_network(text.split(", "))
    fp32 = build_onnx(network, INPUTS, TorchNetwork(network, INPUTS).weights()).SerializeToString()
    rows = np.random.default_rng(0).random((40, INPUTS), np.float32)
    return {name: onnx.load_from_string(data) for name, data in export_forms(fp32, rows, rows).models.items()}


@pytest.mark.parametrize("text", NETWORKS.values(), ids=NETWORKS)
def test_what_is_exported_for_a_target_is_clean(text: str) -> None:
    models = exported(text)
    for form, model in models.items():
        assert {target: lint(model, target) for target in TARGETS_OF[form]} == {
            target: [] for target in TARGETS_OF[form]
        }
    assert list(refusals({("stage1", form): model.SerializeToString() for form, model in models.items()})) == []


@pytest.mark.parametrize(
    ("target", "library", "version", "capability"),
    [
        ("tensorrt-8", TENSORRT, (8, 6), 86),
        ("tensorrt-10", TENSORRT, (10, 4), 86),
        ("tensorrt-11", TENSORRT, (11, 0), 86),
        ("tensorrt-rtx", TENSORRT_RTX, (1, 7), 86),
        ("tensorrt-rtx/sm75", TENSORRT_RTX, (1, 7), 75),
    ],
)
def test_a_target_is_checked_on_the_forms_that_its_plans_build_from(
    target: str, library: str, version: tuple[int, int], capability: int
) -> None:
    plans = [engine_plan(library, version, capability, precision) for precision in PRECISIONS]
    assert {plan.form for plan in plans if plan.supported} == {f for f in FORMS if target in TARGETS_OF[f]}


def test_a_refusal_names_the_node_the_first_target_and_the_breach_once() -> None:
    broken = clean()
    gemm = quantized_bias(broken)
    files = {("stage1", "int8"): b"for CPUs", ("stage1", "int8-trt"): broken.SerializeToString()}
    assert list(refusals(files)) == [
        f"stage1 (int8-trt) would be refused by tensorrt-8: {gemm}: its bias is quantized; "
        "TensorRT wants it in floating point (bias)"
    ]
    new = copy.deepcopy(exported(WIDE)["fp16"])
    new.opset_import[0].version = 21
    lines = list(refusals({("stage2.vpn", "fp16"): new.SerializeToString()}))
    assert lines == [
        "stage2.vpn (fp16) would be refused by tensorrt-8: model: has opset 21, newer than 17 (opset)",
        "stage2.vpn (fp16) would be refused by tensorrt-10: model: has opset 21, newer than 20 (opset)",
    ]


@pytest.mark.parametrize("data", [b"no ONNX at all", b""])
def test_what_is_no_model_is_refused_in_one_line(data: bytes) -> None:
    (line,) = refusals({("stage1", "fp16"): data})
    assert line.startswith("stage1 (fp16) would be refused by tensorrt-8: model: is no valid ONNX file: ")
    assert "\n" not in line


def clean() -> onnx.ModelProto:
    return copy.deepcopy(_CLEAN)


_CLEAN = exported(WIDE)["int8-trt"]


def node_of(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def replace(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def zero_point_of_7(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    replace(model, node.input[2], np.array(7, np.int8))
    return node.name


def zero_point_of_uint8(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    replace(model, node.input[2], np.array(0, np.uint8))
    return node.name


def no_zero_point(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    del node.input[2]
    return node.name


def quantized_bias(model: onnx.ModelProto) -> str:
    gemm = node_of(model, "Gemm")
    size = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == gemm.input[2])
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ones(size, np.int32), "b"),
            numpy_helper.from_array(np.ones(size, np.float32), "b_scale"),
        ]
    )
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_again"], name="b_dq", axis=0))
    gemm.input[2] = "b_again"
    return gemm.name


def float_weight(model: onnx.ModelProto) -> str:
    gemm = node_of(model, "Gemm")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 81), np.float32), "plain"))
    gemm.input[1] = "plain"
    return gemm.name


def quantizer_without_dequantizer(model: onnx.ModelProto) -> str:
    quantize = node_of(model, "QuantizeLinear")
    model.graph.node.append(helper.make_node("Cast", [quantize.output[0]], ["odd"], name="odd", to=TensorProto.FLOAT))
    return quantize.name


def dequantizer_of_nothing_quantized(model: onnx.ModelProto) -> str:
    activation = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and "weight" not in n.input[0])
    activation.input[0] = "conv_1_row"
    return activation.name


def scale_of_0(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    replace(model, node.input[1], np.array(0, np.float32))
    # Q and DQ share the scale, and both are found.
    return node.name


def computed_scale(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    node.input[1] = model.graph.input[0].name
    return node.name


def activation_scales_by_channel(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    replace(model, node.input[1], np.ones(81, np.float32))
    return node.name


def fp16_scale_in_an_old_opset(model: onnx.ModelProto) -> str:
    node = node_of(model, "QuantizeLinear")
    replace(model, node.input[1], np.array(0.5, np.float16))
    return node.name


def new_opset(model: onnx.ModelProto) -> str:
    model.opset_import[0].version = 18
    return "model"


def foreign_domain(model: onnx.ModelProto) -> str:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return "model"


def dynamic_width(model: onnx.ModelProto) -> str:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    return "scaled"


def fixed_batch(model: onnx.ModelProto) -> str:
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    return "logits"


def odd_operator(model: onnx.ModelProto) -> str:
    node = node_of(model, "Abs")
    node.op_type = "Erf"
    return node.name


def data_elsewhere(model: onnx.ModelProto) -> str:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    return tensor.name


@pytest.mark.parametrize(
    ("rule", "break_it"),
    [
        ("zero points", zero_point_of_7),
        ("zero points", zero_point_of_uint8),
        ("zero points", no_zero_point),
        ("bias", quantized_bias),
        ("placement", float_weight),
        ("placement", quantizer_without_dequantizer),
        ("placement", dequantizer_of_nothing_quantized),
        ("scales", scale_of_0),
        ("scales", computed_scale),
        ("scales", activation_scales_by_channel),
        ("opset", fp16_scale_in_an_old_opset),
        ("opset", new_opset),
        ("opset", foreign_domain),
        ("dynamic axes", dynamic_width),
        ("dynamic axes", fixed_batch),
        ("operators", odd_operator),
        ("external data", data_elsewhere),
    ],
)
def test_each_rule_is_found_where_it_is_broken(rule: str, break_it: Callable[[onnx.ModelProto], str]) -> None:
    model = clean()
    assert lint(model, "tensorrt-8") == []
    where = break_it(model)
    assert (rule, where) in [(breach.rule, breach.where) for breach in lint(model, "tensorrt-8")]


@pytest.mark.parametrize("form", ["fp32", "int8-trt"])
def test_fp32_products_are_found_for_sm75_alone(form: str) -> None:
    model = exported(WIDE)[form]
    breaches = lint(model, "tensorrt-rtx/sm75")
    assert {breach.rule for breach in breaches} == {"fp32 products"}
    assert {breach.where for breach in breaches} == {"conv_1", "dense_5", "dense_7"}


def test_the_cpu_form_is_not_for_tensorrt() -> None:
    rules = {breach.rule for breach in lint(exported(WIDE)["int8"], "tensorrt-rtx")}
    assert {"opset", "operators", "zero points", "placement"} <= rules


def test_a_breach_reads_as_a_line() -> None:
    assert str(Breach("bias", "dense_1", "its bias is quantized")) == "dense_1: its bias is quantized (bias)"


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(ValueError, match="no target 'openvino'; there are tensorrt-8"):
        lint(clean(), "openvino")
