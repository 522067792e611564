"""Would TensorRT take this ONNX file? Its rules, checked on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

# Target to the newest opset that all of its versions read.
TARGETS = {"tensorrt-8": 17, "tensorrt-10": 20, "tensorrt-11": 20, "tensorrt-rtx": 20, "tensorrt-rtx/sm75": 20}

# Form to the targets that build from it (`engines.gpu.plan`).
TARGETS_OF: Mapping[str, tuple[str, ...]] = {
    "fp32": ("tensorrt-8", "tensorrt-10", "tensorrt-11", "tensorrt-rtx"),
    "fp16": tuple(TARGETS),
    "int8": (),
    "int8-trt": ("tensorrt-8",),
    "int8-trt-fp16": ("tensorrt-10", "tensorrt-11", "tensorrt-rtx", "tensorrt-rtx/sm75"),
}

# What this package writes, all of it in every target's set.
OPERATORS = frozenset(
    "Abs Add Cast Conv DequantizeLinear Flatten Gemm HardSigmoid LSTM MatMul MaxPool Mul QuantizeLinear Relu Reshape "
    "Squeeze Sub Transpose Unsqueeze".split()
)
_MULTIPLIES = ("Conv", "Gemm", "MatMul")
_FP16_QDQ_OPSET = 19


@dataclass(frozen=True)
class Breach:
    """A broken rule: its name, the node or tensor where, and what is wrong."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.rule})"


def lint(model: onnx.ModelProto, target: str) -> list[Breach]:
    """Every rule of a target of `TARGETS` that the model breaks, in its order. Raises ValueError for another."""
    if target not in TARGETS:
        raise ValueError(f"no target {target!r}; there are {', '.join(TARGETS)}")
    view = _View(model)
    breaches = [
        *_opsets(view, TARGETS[target]),
        *_axes(view),
        *_external_data(view),
        *_operators(view),
        *_quantization(view),
        *_placement(view),
        *_biases(view),
    ]
    if target.endswith("/sm75"):
        breaches += _fp32_products(view)
    return breaches


def refusals(files: Mapping[tuple[str, str], bytes]) -> Iterator[str]:
    """A line for each rule that an ONNX file breaks for a target that builds from its form, with the first such target.
    ``files`` are a bundle's, by node id and form."""
    for (node_id, form), data in files.items():
        targets: dict[Breach, str] = {}
        for target in TARGETS_OF.get(form, ()):
            for breach in _breaches(data, target):
                targets.setdefault(breach, target)
        yield from (f"{node_id} ({form}) would be refused by {target}: {breach}" for breach, target in targets.items())


def _breaches(data: bytes, target: str) -> list[Breach]:
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:  # the exceptions of protobuf and onnx share no base of their own
        return [Breach("format", "model", f"is no valid ONNX file: {str(error).strip().splitlines()[0]}")]
    return lint(model, target)


class _View:
    """A model's nodes by what they make and read."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.results = {value.name for value in model.graph.output}
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)

    def made_by(self, name: str, op: str) -> bool:
        return name in self.maker and self.maker[name].op_type == op

    def array(self, name: str) -> npt.NDArray[Any] | None:
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def of(self, *ops: str) -> Iterator[onnx.NodeProto]:
        return (node for node in self.nodes if node.op_type in ops)


def _opsets(view: _View, newest: int) -> Iterator[Breach]:
    for opset in view.model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            yield Breach("opset", "model", f"uses operators of {opset.domain}, which TensorRT lacks")
        elif opset.version > newest:
            yield Breach("opset", "model", f"has opset {opset.version}, newer than {newest}")


def _axes(view: _View) -> Iterator[Breach]:
    for value in (*view.model.graph.input, *view.model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims or dims[0].dim_value:
            yield Breach("dynamic axes", value.name, "has no dynamic batch axis")
        for axis, dim in list(enumerate(dims))[1:]:
            if not dim.dim_value:
                yield Breach("dynamic axes", value.name, f"axis {axis} is dynamic; only the batch may be")


def _external_data(view: _View) -> Iterator[Breach]:
    for name, tensor in view.constants.items():
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            yield Breach("external data", name, "lies outside the file")


def _operators(view: _View) -> Iterator[Breach]:
    for node in view.nodes:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            yield Breach("operators", node.name, f"{node.op_type} is outside the target's set")


def _quantization(view: _View) -> Iterator[Breach]:
    """Scales and zero points of every Q and DQ."""
    for node in view.of("QuantizeLinear", "DequantizeLinear"):
        scale = view.array(node.input[1])
        if scale is None:
            yield Breach("scales", node.name, "its scale is no constant")
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield Breach("scales", node.name, "a scale is not positive")
        elif scale.size > 1 and node.input[0] not in view.constants:
            yield Breach("scales", node.name, "activations have one scale, not one a channel")
        if scale is not None and scale.dtype == np.float16 and view.opset < _FP16_QDQ_OPSET:
            yield Breach("opset", node.name, f"fp16 scales need opset {_FP16_QDQ_OPSET}")
        if len(node.input) < 3 or not node.input[2]:
            if node.op_type == "QuantizeLinear":
                yield Breach("zero points", node.name, "without a zero point it makes uint8, not int8")
            continue
        zero = view.array(node.input[2])
        if zero is None:
            yield Breach("zero points", node.name, "its zero point is no constant")
        elif zero.any():
            yield Breach("zero points", node.name, "a zero point is not 0")
        elif zero.dtype != np.int8 and view.constants[node.input[2]].data_type != TensorProto.INT32:
            yield Breach("zero points", node.name, f"quantizes to {zero.dtype}, not int8")


def _placement(view: _View) -> Iterator[Breach]:
    """Q is read by DQ alone, DQ reads Q or a stored weight, and a product has both factors in int8 or none."""
    for node in view.of("QuantizeLinear"):
        readers = view.readers.get(node.output[0], [])
        if node.output[0] in view.results or not readers or any(r.op_type != "DequantizeLinear" for r in readers):
            yield Breach("placement", node.name, "QuantizeLinear must be followed by DequantizeLinear alone")
    for node in view.of("DequantizeLinear"):
        if node.input[0] not in view.constants and not view.made_by(node.input[0], "QuantizeLinear"):
            yield Breach("placement", node.name, "DequantizeLinear must follow QuantizeLinear or a stored weight")
    for node in view.of(*_MULTIPLIES):
        quantized = [view.made_by(name, "DequantizeLinear") for name in node.input[:2]]
        if len(set(quantized)) > 1:
            yield Breach("placement", node.name, f"only one of {node.op_type}'s two factors is quantized")


def _biases(view: _View) -> Iterator[Breach]:
    for node in view.of("Conv", "Gemm"):
        if len(node.input) > 2 and view.made_by(node.input[2], "DequantizeLinear"):
            yield Breach("bias", node.name, "its bias is quantized; TensorRT wants it in floating point")


def _fp32_products(view: _View) -> Iterator[Breach]:
    inferred = onnx.shape_inference.infer_shapes(view.model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {name: tensor.data_type for name, tensor in view.constants.items()}
    for node in view.of(*_MULTIPLIES, "LSTM"):
        if types.get(node.input[0]) == TensorProto.FLOAT:
            yield Breach("fp32 products", node.name, f"TensorRT-RTX has no fp32 {node.op_type} on sm_75; use fp16")
