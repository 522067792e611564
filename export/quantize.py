"""One fp32 network to fp16 and int8: for TensorRT, for TensorRT with fp16 around it, and for CPUs.

What TensorRT fuses is not what ONNX Runtime has integer kernels for, so there are two int8 forms from one
calibration. Both have weights symmetric by output, and int8 only where the work is.
"""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from etcc_edge.arrays import F32, I8
from etcc_edge.bundle.onnx_weights import codes_of
from etcc_edge.bundle.precision import Form
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine, silent_library
from etcc_edge.errors import EtccError

METHODS = ("minmax", "entropy", "percentile")

# AVX2 adds two products of an unsigned activation and a signed weight in 16 bits, and saturates. Of the two, one
# gives up a bit: then 2 · 127 · 127 and 2 · 255 · 64 both stay below 2 ** 15.
_TENT_LEVELS, _TENT_WEIGHT_LEVELS = 127, 127
_LEVELS, _WEIGHT_LEVELS = 255, 64

# A smaller layer stays as it is: in int8 it saves nothing and costs agreement.
_MIN_SHARE = 0.1

_FP16_OPSET = 19  # the first whose QuantizeLinear and DequantizeLinear take fp16
_CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Exported:
    """ONNX files of one network by form, and how its int8 was calibrated."""

    models: Mapping[Form, bytes]
    notes: Mapping[str, Any] = field(default_factory=dict)


def export_forms(fp32: bytes, calibration: F32, choosing: F32) -> Exported:
    """Every form of a network that it can have, from its fp32 ONNX file.

    ``calibration`` and ``choosing`` are scaled inputs float32 [n, inputs], neither of test rows: the first sets
    the ranges, the second chooses among `METHODS` by the least difference from fp32. A network whose work lies
    in LSTM layers gets no int8.
    """
    model = onnx.load_from_string(fp32)
    models: dict[Form, bytes] = {"fp32": fp32, "fp16": to_fp16(model).SerializeToString()}
    if not quantizable(model):
        return Exported(models, {"method": "none: no convolution or dense layer does 10 % of the work"})
    trials = {
        method: quantize(model, calibration, method) for method in (METHODS if needs_ranges(model) else ("exact",))
    }
    differences = {method: logit_difference(fp32, trial["int8"], choosing) for method, trial in trials.items()}
    method = min(differences, key=differences.__getitem__)
    notes = {
        "method": method,
        "calibration_flows": len(calibration),
        "choosing_flows": len(choosing),
        "logit_difference": differences,
    }
    return Exported(models | trials[method], notes)


def logit_difference(reference: bytes, other: bytes, scaled: F32) -> float:
    """Root mean square of the difference of two models' logits, over the reference's spread about its row means."""
    ours = OnnxRuntimeEngine(reference).run(scaled).astype(np.float64)
    theirs = OnnxRuntimeEngine(other).run(scaled).astype(np.float64)
    spread = np.sqrt(np.mean((ours - ours.mean(axis=1, keepdims=True)) ** 2))
    return float(np.sqrt(np.mean((theirs - ours) ** 2)) / max(spread, 1e-9))


# --- what is quantized --------------------------------------------------------------------------------------


def quantizable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the Conv and Gemm nodes that do at least 10 % of the network's multiply-adds."""
    work = dict(_work(model))
    total = sum(work.values())
    heavy = {name for name, macs in work.items() if macs >= _MIN_SHARE * total}
    return tuple(n.name for n in model.graph.node if n.name in heavy and n.op_type in ("Conv", "Gemm"))


def _work(model: onnx.ModelProto) -> Iterator[tuple[str, int]]:
    shapes = _shapes(model)
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            yield node.name, math.prod(weights[node.input[1]]) * shapes[node.output[0]][-1]
        elif node.op_type == "Gemm":
            yield node.name, math.prod(weights[node.input[1]])
        elif node.op_type == "LSTM":
            steps = shapes[node.input[0]][0]
            yield node.name, (math.prod(weights[node.input[1]]) + math.prod(weights[node.input[2]])) * steps


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [*inferred.value_info, *inferred.output, *inferred.input]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _tents(model: onnx.ModelProto) -> set[str]:
    """Tensors that hold tents, which lie in 0 … 1: the tent itself and what only reshapes it."""
    tents = {node.output[0] for node in model.graph.node if node.op_type == "HardSigmoid"}
    for node in model.graph.node:
        if node.op_type in ("Flatten", "Reshape") and node.input[0] in tents:
            tents.add(node.output[0])
    return tents


def needs_ranges(model: onnx.ModelProto) -> bool:
    """Does some quantized layer read anything but tents, whose range is known, or write int8 as a Conv does?"""
    tents, chosen = _tents(model), quantizable(model)
    layers = [node for node in model.graph.node if node.name in chosen]
    return any(node.input[0] not in tents or node.op_type == "Conv" for node in layers)


# --- fp16 ---------------------------------------------------------------------------------------------------


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network in fp16 between fp32 inputs and fp32 logits; tents are made in fp32.

    fp16 holds an input to 2^-11, of which a tent's 32 bins would make 1/64 of its height.
    """
    half = copy.deepcopy(model)
    graph = half.graph
    ops = [node.op_type for node in graph.node]
    start = ops.index("HardSigmoid") + 1 if "HardSigmoid" in ops else 0
    # A tent's int8 codes come from fp32 as well.
    while start < len(ops) and ops[start] in ("Flatten", "QuantizeLinear") and "HardSigmoid" in ops:
        start += 1
    before, after = list(graph.node[:start]), list(graph.node[start:])
    outside = {name for node in before for name in node.input}
    floats = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    halves: dict[str, str] = {}
    for node in after:
        for i, name in enumerate(node.input):
            if name not in floats:
                continue
            if name not in halves:
                halves[name] = f"{name}_fp16" if name in outside else name
                tensor = numpy_helper.from_array(_half(numpy_helper.to_array(floats[name])), halves[name])
                if name in outside:
                    graph.initializer.append(tensor)
                else:
                    floats[name].CopyFrom(tensor)
            node.input[i] = halves[name]
    entering = before[-1].output[0] if before else graph.input[0].name
    casts = []
    if not before or before[-1].op_type != "QuantizeLinear":
        casts = [_cast(entering, f"{entering}_fp16", TensorProto.FLOAT16)]
        _rename_inputs(after, entering, f"{entering}_fp16")
    result = graph.output[0].name
    after[-1].output[0] = f"{result}_fp16"
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*before, *casts, *after, _cast(f"{result}_fp16", result, TensorProto.FLOAT)])
    onnx.checker.check_model(half, full_check=True)
    return half


def _half(array: F32) -> npt.NDArray[np.float16]:
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise EtccError("a weight exceeds fp16's range: this network has no fp16 form")
    return array.astype(np.float16)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)


def _rename_inputs(nodes: list[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new


# --- int8 ---------------------------------------------------------------------------------------------------


def quantize(model: onnx.ModelProto, calibration: F32, method: str) -> dict[Form, bytes]:
    """The three int8 forms. ``method`` is one of `METHODS`, or ``exact`` where every range is known."""
    ranges = calibrate(model, calibration, method) if method != "exact" else {}
    tensorrt = _for_tensorrt(model, ranges)
    around = copy.deepcopy(tensorrt)
    around.opset_import[0].version, around.ir_version = _FP16_OPSET, 9
    return {
        "int8": _for_cpu(model, ranges).SerializeToString(),
        "int8-trt": tensorrt.SerializeToString(),
        "int8-trt-fp16": to_fp16(around).SerializeToString(),
    }


Ranges = Mapping[str, tuple[float, float]]


def calibrate(model: onnx.ModelProto, calibration: F32, method: str) -> Ranges:
    """Least and greatest value to represent, by tensor, for what quantized layers read and write."""
    silent_library()
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        blocks = iter(np.array_split(calibration, max(1, len(calibration) // 512)))

        def get_next(self) -> dict[str, F32] | None:
            block = next(self.blocks, None)
            return None if block is None else {model.graph.input[0].name: np.ascontiguousarray(block)}

    kinds = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        onnx.save_model(model, source)
        calibrator = create_calibrator(
            str(source), ["Conv", "Gemm", "Relu"], str(Path(folder) / "augmented.onnx"), calibrate_method=kinds[method]
        )
        with contextlib.redirect_stdout(None):  # the histogram calibrators print
            calibrator.collect_data(Reader())
            ranges = calibrator.compute_data()
    return {
        name: (min(float(np.min(data.range_value[0])), 0.0), max(float(np.max(data.range_value[1])), 0.0))
        for name, data in ranges.items()
    }


class _Quantizer:
    """Adds quantized tensors to a copy of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = copy.deepcopy(model)
        self.graph = self.model.graph
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        if name not in self.arrays:
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
            self.arrays[name] = array
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        if all(output not in node.output for node in self.nodes):
            self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, levels: int) -> tuple[I8, F32]:
        """Codes shaped as the weight, and a scale an output."""
        return codes_of(self.arrays[name], levels)

    def stored_weight(self, name: str, levels: int) -> tuple[F32, str]:
        """Scales of the weight, and the tensor that DequantizeLinear makes of its codes."""
        codes, scales = self.weight(name, levels)
        parts = [
            self.constant(f"{name}_codes", codes),
            self.constant(f"{name}_scale", scales),
            self.constant(f"{name}_zero", np.zeros(len(scales), np.int8)),
        ]
        return scales, self.add("DequantizeLinear", parts, f"{name}_again", axis=0)

    def through_int8(self, name: str, scale: np.float32, zero: np.integer[Any]) -> str:
        """The tensor after QuantizeLinear and DequantizeLinear."""
        pair = [self.constant(f"{name}_scale", np.array(scale)), self.constant(f"{name}_zero", np.array(zero))]
        self.add("QuantizeLinear", [name, *pair], f"{name}_codes")
        return self.add("DequantizeLinear", [f"{name}_codes", *pair], f"{name}_again")

    def finish(self) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(kept)
        onnx.checker.check_model(self.model)
        return self.model


def _for_tensorrt(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """Explicit quantization: int8 with zero point 0 into each chosen layer, weights stored in int8, fp32 biases."""
    chosen, tents = set(quantizable(model)), _tents(model)
    quantizer = _Quantizer(model)
    for node in list(quantizer.graph.node):
        if node.name in chosen:
            name, weight = node.input[:2]
            scale = 1 / 127 if name in tents else max(*map(abs, ranges[name]), 1e-12) / 127
            node.input[0] = quantizer.through_int8(name, np.float32(scale), np.int8(0))
            _, node.input[1] = quantizer.stored_weight(weight, 127)
        quantizer.nodes.append(node)
    return quantizer.finish()


def _for_cpu(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """uint8 activations and int8 weights: a Gemm as ONNX Runtime's own integer product, a Conv between Q/DQ pairs,
    which it turns into QLinearConv."""
    chosen, tents = set(quantizable(model)), _tents(model)
    quantizer = _Quantizer(model)
    nodes = _pools_first(list(quantizer.graph.node), chosen)
    stored: dict[str, str] = {}  # what a Conv writes is read through int8, or it would stay a float Conv

    def affine(name: str) -> tuple[np.float32, np.uint8]:
        if name in tents:
            return np.float32(1 / _TENT_LEVELS), np.uint8(0)
        low, high = ranges[name]
        scale = np.float32(max(high - low, 1e-12) / _LEVELS)
        return scale, np.uint8(np.clip(np.rint(-low / scale), 0, _LEVELS))

    written = set()
    for node in nodes:
        source = node.input[0]
        for i, name in enumerate(node.input):
            node.input[i] = stored.get(name, name)
        if node.name not in chosen:
            quantizer.nodes.append(node)
        else:
            scale, zero = affine(source)
            levels = _TENT_WEIGHT_LEVELS if source in tents else _WEIGHT_LEVELS
            if node.op_type == "Gemm":
                _integer_gemm(quantizer, node, scale, zero, levels)
            else:
                if source not in stored:
                    node.input[0] = quantizer.through_int8(source, scale, zero)
                _integer_conv(quantizer, node, scale, levels)
                readers = [reader for reader in nodes if node.output[0] in reader.input]
                follows = len(readers) == 1 and readers[0].op_type == "Relu"
                written.add(readers[0].output[0] if follows else node.output[0])
        if node.output[0] in written:
            stored[node.output[0]] = quantizer.through_int8(node.output[0], *affine(node.output[0]))
    quantizer.model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    return quantizer.finish()


def _pools_first(nodes: list[onnx.NodeProto], chosen: set[str]) -> list[onnx.NodeProto]:
    """Relu and MaxPool before a chosen Conv change places, which changes no value: ONNX Runtime would else pool
    the integers, in a kernel many times slower than that for floats."""
    moved = list(nodes)
    for i, (relu, pool, conv) in enumerate(zip(nodes, nodes[1:], nodes[2:], strict=False)):
        if (relu.op_type, pool.op_type) == ("Relu", "MaxPool") and conv.name in chosen and conv.op_type == "Conv":
            relu.input[0], relu.output[0], pool.input[0], pool.output[0] = (
                f"{relu.input[0]}_pooled",
                pool.output[0],
                relu.input[0],
                f"{relu.input[0]}_pooled",
            )
            moved[i], moved[i + 1] = pool, relu
    return moved


def _integer_gemm(quantizer: _Quantizer, node: onnx.NodeProto, scale: np.float32, zero: np.uint8, levels: int) -> None:
    source, weight, bias = node.input
    codes, scales = quantizer.weight(weight, levels)
    pair = [
        quantizer.constant(f"{node.name}_in_scale", np.array(scale)),
        quantizer.constant(f"{node.name}_in_zero", np.array(zero)),
    ]
    quantizer.add("QuantizeLinear", [source, *pair], f"{node.name}_in_codes")
    parts = [
        f"{node.name}_in_codes",
        quantizer.constant(f"{weight}_codes", codes.T),
        pair[0],
        quantizer.constant(f"{weight}_scale", scales),
        pair[1],
        "",
        bias,
    ]
    quantizer.nodes.append(
        helper.make_node("MatMulIntegerToFloat", parts, node.output, name=node.name, domain=_CONTRIB)
    )


def _integer_conv(quantizer: _Quantizer, node: onnx.NodeProto, scale: np.float32, levels: int) -> None:
    _, weight, bias = node.input
    scales, node.input[1] = quantizer.stored_weight(weight, levels)
    steps = scales * scale
    parts = [f"{bias}_codes", f"{bias}_scale"]
    quantizer.constant(parts[0], np.rint(quantizer.arrays[bias].astype(np.float64) / steps).astype(np.int32))
    quantizer.constant(parts[1], steps)
    node.input[2] = quantizer.add("DequantizeLinear", parts, f"{bias}_again", axis=0)
    quantizer.nodes.append(node)
