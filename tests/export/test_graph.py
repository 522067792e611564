"""ONNX graphs: the same network as PyTorch's, in the form that every target reads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch

from etcc_edge.bundle.network import Network, parse_network
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import EtccError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.parity import RECURRENT_TOLERANCE, TOLERANCE, check_parity, largest_difference
from etcc_edge.training.networks import PAPER, TorchNetwork

PAPER_NETWORKS = [
    pytest.param(text.replace("classes", "5" if protocol else "4"), id=f"{kind} {protocol or 'stage 1'}")
    for kind, table in PAPER.items()
    for protocol, text in table.items()
]
KINDS_OF_LAYER = [
    "flatten, dense 3",
    "conv 4 3, flatten",
    "conv 4 3, relu, flatten, dense 3",
    "tent 7, flatten, dense 3",
    "tent 16, conv 8 3, relu, max_pool 2, conv 4 2, flatten, dense 3",
    "max_pool 3, flatten, dense 3",
    "conv 4 41, flatten, dense 3",
    "lstm 8",
    "lstm 8, relu, dense 3",
    "lstm 8, lstm 5, dense 3",
    "lstm 8, lstm 6, lstm 5, dense 3",
    "tent 4, lstm 8, dense 3",
    "conv 4 3, relu, max_pool 2, lstm 8, dense 3",
    "lstm 6, conv 4 3, relu, lstm 5, dense 3",
    "flatten, dropout 0.5, dense 8, relu, dropout 0.5, dense 3, dropout 0.1",
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch's float64 LSTM on several threads is ten times slower where other work holds the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(text: str) -> Network:
    return parse_network(text.split(", "))


def trained(layers: Network, inputs: int) -> TorchNetwork:
    """Stands for a trained network: random weights large enough for logits that differ."""
    torch.manual_seed(11)
    network = TorchNetwork(layers, inputs)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return network


def engine(model: onnx.ModelProto) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(model.SerializeToString())


@pytest.mark.parametrize("text", [*PAPER_NETWORKS, *KINDS_OF_LAYER])
def test_the_graph_gives_pytorchs_logits(text: str) -> None:
    layers = network(text)
    torch_network = trained(layers, 41)
    opened = engine(build_onnx(layers, 41, torch_network.weights()))
    scaled = np.random.default_rng(5).random((300, 41), np.float32)
    scaled[:4] = [[0], [1], [0.5], [1e-7]]
    for flows in (scaled, scaled[:1]):
        difference = largest_difference(opened, torch_network.exact, flows)
        check_parity(text, difference)


@pytest.mark.parametrize("text", PAPER_NETWORKS)
def test_the_graph_is_one_that_old_tensorrt_reads(text: str) -> None:
    layers = network(text)
    model = build_onnx(layers, 41, trained(layers, 41).weights())
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [node.op_type for node in model.graph.node if node.domain] == []
    for value, width in ((model.graph.input[0], 41), (model.graph.output[0], 5 if "dense 5" in text else 4)):
        flows, columns = value.type.tensor_type.shape.dim
        assert (flows.dim_param, columns.dim_value) == ("flows", width)
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["scaled", "logits"]
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_a_convolution_is_2d_along_the_inputs_straight_on_its_weights() -> None:
    layers = network("conv 4 3, relu, conv 2 5, flatten")
    weights = trained(layers, 41).weights()
    graph = build_onnx(layers, 41, weights).graph
    initializers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kernels = [initializers[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert [kernel.shape for kernel in kernels] == [(4, 1, 1, 3), (2, 4, 1, 5)]
    np.testing.assert_array_equal(kernels[0], weights["0.weight"])


def test_dropout_is_not_exported() -> None:
    layers = network("flatten, dropout 0.5, dense 3")
    assert {node.op_type for node in build_onnx(layers, 9, trained(layers, 9).weights()).graph.node} == {
        "Reshape",
        "Flatten",
        "Gemm",
    }


def test_equal_networks_give_equal_files() -> None:
    layers = network("tent 4, conv 4 3, relu, flatten, dense 3")
    weights = trained(layers, 9).weights()
    first, second = (build_onnx(layers, 9, weights).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


# --- parity -------------------------------------------------------------------------------------------------


class ShiftedEngine:
    """The sum of the inputs, off by ``by``."""

    def __init__(self, by: float) -> None:
        self.by = by

    def run(self, scaled: np.ndarray) -> np.ndarray:
        return total(scaled.astype(np.float64)) + self.by


def total(scaled: np.ndarray) -> np.ndarray:
    return scaled.sum(axis=1, keepdims=True)


def test_a_difference_is_relative_to_logits_above_1() -> None:
    small, large = np.array([[0.25]], np.float32), np.array([[1000]], np.float32)
    assert largest_difference(ShiftedEngine(0.5), total, small) == pytest.approx(0.5)
    assert largest_difference(ShiftedEngine(0.5), total, large) == pytest.approx(0.5 / 1000)
    assert largest_difference(ShiftedEngine(-0.5), total, np.concatenate([large, small])) == pytest.approx(0.5)


def test_a_difference_is_found_in_any_block() -> None:
    scaled = np.full((10_000, 1), 1000, np.float32)
    for row in (0, 5000, 9999):
        odd = scaled.copy()
        odd[row] = 0.5
        assert largest_difference(ShiftedEngine(0.5), total, odd) == pytest.approx(0.5)


def test_parity_holds_to_the_tolerance_and_not_beyond() -> None:
    check_parity("stage1", 0.0)
    check_parity("stage1", TOLERANCE)
    with pytest.raises(EtccError, match=r"the exported stage1 differs from PyTorch by 8e-06, more than 4e-06"):
        check_parity("stage1", 2 * TOLERANCE)
    check_parity("stage1", RECURRENT_TOLERANCE, recurrent=True)
    with pytest.raises(EtccError, match=r"more than 0\.0001"):
        check_parity("stage1", 2 * RECURRENT_TOLERANCE, recurrent=True)


@pytest.mark.parametrize("by", [np.nan, np.inf, 1e-3])
def test_logits_that_are_wrong_or_no_numbers_are_never_in_parity(by: float) -> None:
    difference = largest_difference(ShiftedEngine(by), total, np.ones((3, 2), np.float32))
    with pytest.raises(EtccError, match="differs from PyTorch"):
        check_parity("stage1", difference)


def test_an_exported_network_with_other_weights_is_not_in_parity() -> None:
    layers = network("conv 4 3, relu, flatten, dense 3")
    torch_network = trained(layers, 9)
    weights = torch_network.weights()
    weights["3.bias"] = weights["3.bias"] + np.float32(1e-3)
    opened = engine(build_onnx(layers, 9, weights))
    difference = largest_difference(opened, torch_network.exact, np.random.default_rng(1).random((20, 9), np.float32))
    with pytest.raises(EtccError, match="differs from PyTorch"):
        check_parity("stage1", difference)
