"""Networks and whole cascades in this package's own C++."""

from __future__ import annotations

import os

import etcc_edge._native as _native
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.errors import BackendError

INSTRUCTION_SET = "ETCC_EDGE_INSTRUCTION_SET"  # environment variable: forces one of `_native.instruction_sets()`


def why_not(bundle: Bundle | None = None, precision: str = "fp32") -> str:
    if precision == "int8" and not _native.has_int8(_instruction_set()):
        return "its int8 needs AVX2, AVX-512 or ARM's dot product instructions"
    nodes = [*bundle.nodes()] if bundle else []
    for node in nodes:
        if any(layer.op == "lstm" for layer in node.network):
            return f"it runs no lstm layers, which {node.id} has"
    if bundle and precision == "int8" and not any(_network(bundle, node, precision).int8_layers for node in nodes):
        return f"no layer of {bundle.name} is large enough to gain from int8"
    return ""


def open_engine(bundle: Bundle, node: Node, precision: str) -> _native.Network:
    """One network over scaled inputs, on one thread. Raises BackendError."""
    _check(bundle, precision)
    return _network(bundle, node, precision)


def open_fused(bundle: Bundle, precision: str, block: int, threads: int) -> _native.Cascade:
    """The whole tree over raw features. Raises BackendError."""
    _check(bundle, precision)
    nodes = [node for _, node in bundle.root.walk()]
    place = {node.id: i for i, node in enumerate(nodes)}
    vocabulary = bundle.vocabulary()
    native_nodes = [
        _native.Node(
            node.scaler.native,
            _layers(bundle, node),
            node.temperature,
            codes=[vocabulary[depth].index(label) for label in node.labels],
            children=[place[node.children[label].id] if label in node.children else -1 for label in node.labels],
        )
        for depth, node in bundle.root.walk()
    ]
    return _native.Cascade(
        native_nodes, len(bundle.levels), len(bundle.features), block, threads, _instruction_set(), precision == "int8"
    )


def _check(bundle: Bundle, precision: str) -> None:
    if reason := why_not(bundle, precision):
        raise BackendError(
            f"native cannot run bundle {bundle.name} at {precision}: {reason}; use --backend onnxruntime"
        )


def _network(bundle: Bundle, node: Node, precision: str) -> _native.Network:
    return _native.Network(node.scaler.inputs, _layers(bundle, node), _instruction_set(), precision == "int8")


def _layers(bundle: Bundle, node: Node) -> list[_native.Layer]:
    weights = bundle.weights_of(node)
    return [
        _native.Layer(layer.op, layer.size, layer.width, weights.get(f"{i}.weight"), weights.get(f"{i}.bias"))
        for i, layer in enumerate(node.network)
    ]


def _instruction_set() -> str:
    asked, known = os.environ.get(INSTRUCTION_SET, ""), _native.instruction_sets()
    if asked and asked not in known:
        raise BackendError(f"{INSTRUCTION_SET} is {asked!r}, but this CPU has {', '.join(known)}")
    return asked
