"""A network and its weights as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from etcc_edge.arrays import F32
from etcc_edge.bundle.network import Network, classes, shapes

OPSET = 17  # the newest that TensorRT 8.6 and 8.5 read, which serve Pascal GPUs
IR_VERSION = 8

Weights = Mapping[str, F32]


class _Graph:
    """Nodes and initializers under construction; `add` returns the new node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


def build_onnx(network: Network, inputs: int, weights: Weights) -> onnx.ModelProto:
    """fp32 ONNX model: ``scaled`` float32 [n, inputs] to ``logits`` float32 [n, classes], n dynamic.

    Convolutions along the inputs are 2-D with kernel (1, k), so no reshape parts them from their weights; one as
    wide as its input is a Gemm.
    ``weights`` are named and shaped as PyTorch does, by layer index.
    """
    graph = _Graph()
    x = graph.add("Reshape", "image", "scaled", graph.constant("image_shape", np.array([-1, 1, 1, inputs], np.int64)))
    for i, (layer, before, _) in enumerate(shapes(network, inputs)):
        name = f"{layer.op}_{i}"

        def weight(part: str, i: int = i) -> F32:
            return weights[f"{i}.{part}"]

        if layer.op == "tent":
            bins = graph.constant(f"{name}_bins", np.array(layer.size, np.float32))
            edges = graph.constant(f"{name}_edges", np.arange(layer.size + 1, dtype=np.float32)[None, :, None, None])
            x = graph.add("Mul", f"{name}_stretched", x, bins)
            x = graph.add("Sub", f"{name}_shifted", x, edges)
            x = graph.add("Abs", f"{name}_distance", x)
            x = graph.add("HardSigmoid", name, x, alpha=-1.0, beta=1.0)  # max(0, 1 - x) in one pass
        elif layer.op == "conv" and layer.width == before.positions:
            # A kernel as wide as its input is a matrix, which every target multiplies several times faster.
            matrix = graph.constant(f"{name}_weight", weight("weight").reshape(layer.size, -1))
            x = graph.add("Flatten", f"{name}_row", x, axis=1)
            x = graph.add("Gemm", name, x, matrix, graph.constant(f"{name}_bias", weight("bias")), transB=1)
            flattened = next((later.op for later in network[i + 1 :] if later.op not in ("relu", "dropout")), "")
            if flattened != "flatten":
                shape = graph.constant(f"{name}_shape", np.array([-1, layer.size, 1, 1], np.int64))
                x = graph.add("Reshape", f"{name}_image", x, shape)
        elif layer.op == "conv":
            kernel = graph.constant(f"{name}_weight", weight("weight"))
            x = graph.add("Conv", name, x, kernel, graph.constant(f"{name}_bias", weight("bias")))
        elif layer.op == "dense":
            matrix = graph.constant(f"{name}_weight", weight("weight"))
            x = graph.add("Gemm", name, x, matrix, graph.constant(f"{name}_bias", weight("bias")), transB=1)
        elif layer.op == "relu":
            x = graph.add("Relu", name, x)
        elif layer.op == "max_pool":
            x = graph.add("MaxPool", name, x, kernel_shape=[1, layer.width], strides=[1, layer.width])
        elif layer.op == "flatten":
            x = graph.add("Flatten", name, x, axis=1)
        elif layer.op == "lstm":
            last = not any(later.op == "lstm" for later in network[i + 1 :])
            x = _add_lstm(graph, name, x, layer.size, {part: weight(f"{part}_l0") for part in _LSTM_PARTS}, last)
    graph.nodes[-1].output[0] = "logits"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["flows", inputs])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["flows", classes(network, inputs)])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="etcc-edge",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


_LSTM_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _add_lstm(graph: _Graph, name: str, x: str, size: int, weights: Weights, last: bool) -> str:
    """[n, channels, 1, positions] to the same with ``size`` channels, or with ``last`` to [n, size]."""

    def gates(array: F32) -> F32:
        # PyTorch stacks input, forget, cell, output; ONNX wants input, output, forget, cell.
        i, f, c, o = np.split(array, 4)
        return np.concatenate([i, o, f, c])[None]

    axis = graph.constant(f"{name}_row", np.array([2], np.int64))
    x = graph.add("Squeeze", f"{name}_rows", x, axis)
    x = graph.add("Transpose", f"{name}_steps", x, perm=[2, 0, 1])  # [positions, n, channels]
    parameters = [
        graph.constant(f"{name}_{part}", array)
        for part, array in (
            ("weight", gates(weights["weight_ih"])),
            ("recurrence", gates(weights["weight_hh"])),
            ("bias", np.concatenate([gates(weights["bias_ih"]), gates(weights["bias_hh"])], axis=1)),
        )
    ]
    outputs = ["", f"{name}_last"] if last else [f"{name}_sequence"]
    graph.nodes.append(helper.make_node("LSTM", [x, *parameters], outputs, name=name, hidden_size=size))
    direction = graph.constant(f"{name}_direction", np.array([0 if last else 1], np.int64))
    x = graph.add("Squeeze", f"{name}_output", outputs[-1], direction)
    if last:
        return x  # [n, size]
    x = graph.add("Transpose", f"{name}_channels", x, perm=[1, 2, 0])
    return graph.add("Unsqueeze", f"{name}_image", x, graph.constant(f"{name}_row_again", np.array([2], np.int64)))
