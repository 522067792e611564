"""The footer of a Parquet file, joined with another's: the columns of both, over the same row groups.

A footer is a Thrift structure in the compact protocol. Only what has to change is taken apart; all else, such as what
is known of a column's pages, passes as it is. Field numbers are those of parquet.thrift of the Parquet format 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from etcc_edge.errors import EtccError

MAGIC = b"PAR1"
TAIL_BYTES = 8  # the footer's length, and the magic

_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13


class _Meta:  # FileMetaData
    schema, rows, row_groups, key_values, column_orders = 2, 3, 4, 5, 7


class _Group:  # RowGroup
    columns, bytes, rows, packed_bytes = 1, 2, 3, 6


class _Chunk:  # ColumnChunk, whose pages ColumnMetaData places
    offset, pages = 2, 3
    offsets_of_pages = (9, 10, 11, 14)  # of data, index, dictionary, Bloom filter


_CHILDREN = 5  # of SchemaElement


class _Field(NamedTuple):
    number: int
    type: int
    value: bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _integer(value: bytes) -> int:
    raw, _ = _varint(value, 0)
    return raw >> 1 ^ -(raw & 1)


def _as_integer(value: int) -> bytes:
    return _as_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """The type and number of a list's elements, and where the first is."""
    size, kind = data[at] >> 4, data[at] & 0xF
    return (kind, size, at + 1) if size < 15 else (kind, *_varint(data, at + 1))


def _skip(data: bytes, at: int, kind: int) -> int:
    """Where the value of this type that begins at ``at`` ends."""
    if kind in (_TRUE, _FALSE):
        return at
    if kind == _BYTE:
        return at + 1
    if kind < _DOUBLE:
        while data[at] >= 0x80:
            at += 1
        return at + 1
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        size, at = _varint(data, at)
        return at + size
    if kind == _STRUCT:
        while (head := data[at]) != 0:
            at = at + 1 if head >> 4 else _varint(data, at + 1)[1]
            at = _skip(data, at, head & 0xF)
        return at + 1
    if kind in (_LIST, _SET):
        inner, size, at = _list_head(data, at)
        for _ in range(size):
            at = at + 1 if inner in (_TRUE, _FALSE) else _skip(data, at, inner)
        return at
    if kind == _UUID:
        return at + 16
    raise IndexError(f"no type {kind}")


def _fields(data: bytes, at: int = 0) -> list[_Field]:
    """The fields of the structure at ``at``."""
    fields, number = [], 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            raw, at = _varint(data, at)
            number = raw >> 1 ^ -(raw & 1)
        end = _skip(data, at, head & 0xF)
        fields.append(_Field(number, head & 0xF, data[at:end]))
        at = end
    return fields


def _as_struct(fields: Iterable[_Field]) -> bytes:
    out, last = bytearray(), 0
    for number, kind, value in fields:
        step = number - last
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _as_integer(number)
        out += value
        last = number
    return bytes(out) + b"\0"


def _elements(value: bytes) -> list[bytes]:
    kind, size, at = _list_head(value, 0)
    elements = []
    for _ in range(size):
        end = _skip(value, at, kind)
        elements.append(value[at:end])
        at = end
    return elements


def _as_list(elements: list[bytes]) -> bytes:
    size = len(elements)
    return (bytes([size << 4 | _STRUCT]) if size < 15 else bytes([0xF0 | _STRUCT]) + _as_varint(size)) + b"".join(
        elements
    )


def _replaced(fields: list[_Field], values: dict[int, bytes]) -> bytes:
    return _as_struct(field._replace(value=values.get(field.number, field.value)) for field in fields)


def _text(value: str) -> bytes:
    data = value.encode()
    return _as_varint(len(data)) + data


def joined(footer: bytes, added: bytes, *, shift: int, key_values: dict[str, str]) -> bytes:
    """``footer`` with the columns of ``added`` after its own; their pages lie ``shift`` bytes behind where ``added``
    says. ``key_values``: new values of its metadata, where it has these keys.

    Raises EtccError for a footer that is none, and where the row groups of the two differ.
    """
    try:
        return _joined(footer, added, shift, key_values)
    except (IndexError, KeyError, StopIteration, ValueError) as error:
        raise EtccError("the description at the end of the file is damaged") from error


def _joined(footer: bytes, added: bytes, shift: int, key_values: dict[str, str]) -> bytes:
    fields, others = _fields(footer), {field.number: field.value for field in _fields(added)}
    own = {field.number: field.value for field in fields}
    root, *columns = _elements(own[_Meta.schema])
    more = _elements(others[_Meta.schema])[1:]
    root_fields = _fields(root)
    children = _integer(next(field.value for field in root_fields if field.number == _CHILDREN))
    values = {
        _Meta.schema: _as_list(
            [_replaced(root_fields, {_CHILDREN: _as_integer(children + len(more))}), *columns, *more]
        ),
        _Meta.row_groups: _as_list(
            [
                _group(one, other, shift)
                for one, other in zip(
                    _elements(own[_Meta.row_groups]), _elements(others[_Meta.row_groups]), strict=True
                )
            ]
        ),
    }
    if _Meta.column_orders in own:
        values[_Meta.column_orders] = _as_list(
            [*_elements(own[_Meta.column_orders]), *_elements(others[_Meta.column_orders])]
        )
    if _Meta.key_values in own:
        pairs = []
        for pair in _elements(own[_Meta.key_values]):
            parts = _fields(pair)
            size, at = _varint(parts[0].value, 0)
            key = parts[0].value[at : at + size].decode("utf-8", "replace")
            pairs.append(_replaced(parts, {2: _text(key_values[key])}) if key in key_values else pair)
        values[_Meta.key_values] = _as_list(pairs)
    return _replaced(fields, values)


def _group(group: bytes, added: bytes, shift: int) -> bytes:
    fields, others = _fields(group), {field.number: field.value for field in _fields(added)}
    own = {field.number: field.value for field in fields}
    if own[_Group.rows] != others[_Group.rows]:
        raise EtccError("its row groups do not have the rows that its footer says")
    more = [_shifted(chunk, shift) for chunk in _elements(others[_Group.columns])]
    values = {_Group.columns: _as_list([*_elements(own[_Group.columns]), *more])}
    for size in (_Group.bytes, _Group.packed_bytes):
        if size in own and size in others:
            values[size] = _as_integer(_integer(own[size]) + _integer(others[size]))
    return _replaced(fields, values)


def _shifted(chunk: bytes, shift: int) -> bytes:
    fields = _fields(chunk)
    values = {}
    for field in fields:
        if field.number == _Chunk.offset:
            values[field.number] = _later(field.value, shift)
        elif field.number == _Chunk.pages:
            parts = _fields(field.value)
            offsets = {
                part.number: _later(part.value, shift) for part in parts if part.number in _Chunk.offsets_of_pages
            }
            values[field.number] = _replaced(parts, offsets)
    return _replaced(fields, values)


def _later(offset: bytes, shift: int) -> bytes:
    """An offset; 0 stands for none."""
    value = _integer(offset)
    return _as_integer(value + shift) if value else offset
