"""What an ONNX file holds, read from its protobuf wire format without the onnx package: whether it points at data
outside itself, and its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle.network import Network
from etcc_edge.errors import BundleError

# Message to the fields that lead to tensors, by field number (onnx.proto, IR version 8).
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
GRAPH, INITIALIZER = 7, 5  # of a model, of a graph
NAME, RAW_DATA = 8, 9  # of a tensor
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 32


def check_self_contained(model: bytes) -> None:
    """Raises BundleError for external data, and for bytes that are no protobuf message."""
    try:
        _check("model", memoryview(model), 0)
    except (IndexError, ValueError) as error:
        raise BundleError(f"is no ONNX file ({error})") from error


def check_same_weights(model: bytes, network: Network, weights: Mapping[str, F32]) -> None:
    """Raises BundleError where an fp32 file that is `check_self_contained` does not hold these weights of the network,
    named ``<layer index>.<name>`` as PyTorch shapes them, under the names that an export gives them."""
    initializers = _initializers(model)
    for name, array in exported(network, weights):
        data = initializers.get(name.encode(), memoryview(b""))
        if len(data) != array.nbytes or not np.array_equal(np.frombuffer(data, np.float32), array.ravel()):
            raise BundleError(f"holds another network than the weights: its {name} is not theirs")


def exported(network: Network, weights: Mapping[str, F32]) -> Iterator[tuple[str, F32]]:
    """Each weight as an export writes it, by its name there."""
    for i, layer in enumerate(network):
        if layer.op in ("conv", "dense"):
            for part in ("weight", "bias"):
                yield f"{layer.op}_{i}_{part}", weights[f"{i}.{part}"]
        elif layer.op == "lstm":
            ih, hh, bias_ih, bias_hh = (
                _onnx_gates(weights[f"{i}.{part}_l0"]) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            yield f"lstm_{i}_weight", ih
            yield f"lstm_{i}_recurrence", hh
            yield f"lstm_{i}_bias", np.concatenate([bias_ih, bias_hh])


def _onnx_gates(array: F32) -> F32:
    """From PyTorch's order of an LSTM's gates (input, forget, cell, output) to that of ONNX."""
    i, f, c, o = np.split(array, 4)
    return np.concatenate([i, o, f, c])


def _initializers(model: bytes) -> dict[bytes, memoryview]:
    """The main graph's raw data by name."""
    stored = {}
    for graph in _messages(memoryview(model), GRAPH):
        for tensor in _messages(graph, INITIALIZER):
            parts = {field: value for field, value in _fields(tensor) if isinstance(value, memoryview)}
            stored[bytes(parts.get(NAME, b""))] = parts.get(RAW_DATA, memoryview(b""))
    return stored


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == wanted and isinstance(value, memoryview))


def _check(kind: str, message: memoryview, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    for field, value in _fields(message):
        if kind == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
                raise BundleError("points at data outside the file")
        elif field in _FIELDS[kind]:
            if not isinstance(value, memoryview):
                raise ValueError("a message is expected")
            _check(_FIELDS[kind][field], value, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their varints or bytes; fixed-width values are passed over."""
    return ((span.field, span.value) for span in spans(message) if span.value is not None)


class Span(NamedTuple):
    """A field of a message."""

    field: int
    whole: memoryview  # its bytes, with the number and the length
    value: int | memoryview | None  # None for one of fixed width


def spans(message: memoryview) -> Iterator[Span]:
    """The fields in turn. Raises ValueError or IndexError where they are malformed."""
    end = 0
    while end < len(message):
        start = end
        tag, at = _varint(message, start)
        field, wire_type = tag >> 3, tag & 7
        value: int | memoryview | None = None
        if wire_type == 0:
            value, end = _varint(message, at)
        elif wire_type == 2:
            size, at = _varint(message, at)
            end = at + size
            value = message[at:end]
        elif wire_type in (1, 5):
            end = at + (8 if wire_type == 1 else 4)
        else:
            raise ValueError(f"wire type {wire_type}")
        if end > len(message):
            raise ValueError("cut short")
        yield Span(field, message[start:end], value)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
