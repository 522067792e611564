"""The weights of ONNX files: a bundle keeps them once, among its tensors. Its ONNX files are written without them and
filled in when they are read.

Protobuf's wire format is read and written here, so that no onnx package is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np

from etcc_edge.arrays import F32, I8
from etcc_edge.bundle.network import Network
from etcc_edge.bundle.onnx_scan import GRAPH, INITIALIZER, NAME, RAW_DATA, Span, exported, spans
from etcc_edge.errors import BundleError

_DATA_TYPE, _DOC_STRING = 2, 12  # of a tensor
_DATA = frozenset((4, 5, 6, 7, RAW_DATA, 10, 11))  # where a tensor may hold its values
_FLOAT, _INT8, _FLOAT16 = 1, 3, 10


def codes_of(weight: F32, levels: int) -> tuple[I8, F32]:
    """A weight [outputs, …] as codes of its shape within ±``levels``, and a scale an output."""
    by_output = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scale = (np.maximum(by_output, np.finfo(np.float32).tiny * levels) / levels).astype(np.float32)
    codes = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(codes, -levels, levels).astype(np.int8), scale


# The forms in which a file may hold a weight, by name and kind of tensor. A tensor of codes whose values are left out
# says in its doc_string which of them it is.
_CODES: Mapping[bytes, tuple[int, bool]] = {
    f"{levels} levels{', transposed' * turned}".encode(): (levels, turned)
    for levels, turned in product((127, 64), (False, True))
}


class Weights:
    """A network's weights, named ``<layer index>.<name>`` as PyTorch shapes them, as its ONNX files hold them."""

    def __init__(self, network: Network, weights: Mapping[str, F32]) -> None:
        self._arrays = {name.encode(): array for name, array in exported(network, weights)}
        self._codes: dict[tuple[bytes, int], I8] = {}  # [outputs, the rest], which several files hold

    def values(self, name: bytes, kind: int, form: bytes) -> bytes | None:
        """Raw data of the initializer of that name, data type and doc_string; None where it is no weight."""
        if kind in (_FLOAT, _FLOAT16) and not form and name in self._arrays:
            with np.errstate(over="ignore"):
                return self._arrays[name].astype(np.float32 if kind == _FLOAT else np.float16).tobytes()
        weight = self._arrays.get(name.removesuffix(b"_codes")) if name.endswith(b"_codes") else None
        if kind != _INT8 or form not in _CODES or weight is None:
            return None
        levels, turned = _CODES[form]
        if (name, levels) not in self._codes:
            self._codes[name, levels] = codes_of(weight.reshape(len(weight), -1), levels)[0]
        codes = self._codes[name, levels]
        return (codes.T if turned else codes).tobytes()


def without_weights(model: bytes, weights: Weights) -> bytes:
    """The file without the values that `with_weights` restores to the byte."""

    def strip(tensor: list[Span]) -> bytes:
        parts = _parts(tensor)
        raw = bytes(_bytes(parts.get(RAW_DATA)))
        for form in (b"", *_CODES) if len(raw) and _DOC_STRING not in parts else ():
            if _values(parts, form, weights) == raw:
                kept = [whole for field, whole, _ in tensor if field != RAW_DATA]
                return b"".join([*kept, _message(_DOC_STRING, form) if form else b""])
        return b"".join(whole for _, whole, _ in tensor)

    stub = _with_tensors(model, strip)
    return stub if with_weights(stub, weights, len(model) + len(stub)) == model else model


def with_weights(stub: bytes, weights: Weights, most: int) -> bytes:
    """The whole file. Raises BundleError where it would have more than ``most`` bytes."""
    room = most - len(stub)

    def fill(tensor: list[Span]) -> bytes:
        nonlocal room
        parts = _parts(tensor)
        form = bytes(_bytes(parts.get(_DOC_STRING)))
        values = None if _DATA & parts.keys() else _values(parts, form, weights)
        if values is None:
            return b"".join(whole for _, whole, _ in tensor)
        room -= len(values)
        if room < 0:
            raise BundleError(f"would have more than {most} bytes with its weights")
        before = [whole for field, whole, _ in tensor if field < RAW_DATA]
        after = [whole for field, whole, _ in tensor if field > RAW_DATA and field != _DOC_STRING]
        return b"".join([*before, _message(RAW_DATA, values), *after])

    return _with_tensors(stub, fill)


def _values(parts: Mapping[int, int | memoryview], form: bytes, weights: Weights) -> bytes | None:
    kind = parts.get(_DATA_TYPE)
    return weights.values(bytes(_bytes(parts.get(NAME))), kind, form) if isinstance(kind, int) else None


def _parts(tensor: list[Span]) -> dict[int, int | memoryview]:
    return {field: value for field, _, value in tensor if value is not None}


def _bytes(value: int | memoryview | None) -> memoryview:
    return value if isinstance(value, memoryview) else memoryview(b"")


def _with_tensors(model: bytes, change: Callable[[list[Span]], bytes]) -> bytes:
    """The model with each initializer of its main graph changed."""

    def graph(message: memoryview) -> bytes:
        return _changed(message, INITIALIZER, lambda tensor: change(list(spans(tensor))))

    return _changed(memoryview(model), GRAPH, graph)


def _changed(message: memoryview, wanted: int, change: Callable[[memoryview], bytes]) -> bytes:
    parts: list[bytes | memoryview] = []
    for field, whole, value in spans(message):
        is_wanted = field == wanted and isinstance(value, memoryview)
        parts.append(_message(field, change(_bytes(value))) if is_wanted else whole)
    return b"".join(parts)


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
