"""Does an ONNX file point at data outside itself? Read from its protobuf wire format, without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_MAX_DEPTH = 32


def check_self_contained(model: bytes) -> None:
    """Raises BundleError for external data, and for bytes that are no protobuf message."""
    try:
        _check("model", memoryview(model), 0)
    except (IndexError, ValueError) as error:
        raise BundleError(f"is no ONNX file ({error})") from error


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
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            number, at = _varint(message, at)
            yield field, number
        elif wire_type == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("cut short")
            yield field, message[at : at + size]
            at += size
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
