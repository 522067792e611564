"""Labels as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etcc_edge.arrays import F32, I8, I32, Bools


def column(values: npt.NDArray[Any], none: Bools, type_: pa.DataType) -> pa.Array:
    """Numbers [n] of a type as they lie in memory, null where ``none`` [n]. pyarrow.array would import pandas."""
    validity = pa.py_buffer(np.packbits(~none, bitorder="little")) if none.any() else None
    return pa.Array.from_buffers(type_, len(values), [validity, pa.py_buffer(np.ascontiguousarray(values))])


def texts(cells: Sequence[str]) -> pa.Array:
    """The same of text."""
    encoded = [cell.encode() for cell in cells]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(cells), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


class LabelColumns:
    """The columns that are added to flows, as `label_columns` names them: labels as dictionaries of text, null without
    label; confidences as float32, null without label; whether flows are known as bool."""

    def __init__(self, levels: Sequence[str], vocabulary: Sequence[Sequence[str]], *, known: bool = False) -> None:
        self._names = [texts(names) for names in vocabulary]
        fields = []
        for level in levels:
            fields.append(pa.field(f"etcc_{level}", pa.dictionary(pa.int32(), pa.string())))
            fields.append(pa.field(f"etcc_{level}_confidence", pa.float32()))
        self.fields: list[pa.Field] = [*fields, *([pa.field("etcc_known", pa.bool_())] if known else [])]

    def arrays(self, codes: I32, confidence: F32, known: I8 | None) -> list[pa.Array]:
        """Of codes and confidences [levels, n] and `Result.known` [n]."""
        arrays: list[pa.Array] = []
        for names, own, sure in zip(self._names, codes, confidence, strict=True):
            none = own < 0
            indices = column(np.maximum(own, 0), none, pa.int32())
            arrays.append(pa.DictionaryArray.from_arrays(indices, names))
            arrays.append(column(sure, none, pa.float32()))
        if known is not None:
            bits = pa.py_buffer(np.packbits(known == 1, bitorder="little"))
            present = pa.py_buffer(np.packbits(known >= 0, bitorder="little"))
            arrays.append(pa.Array.from_buffers(pa.bool_(), len(known), [present, bits]))
        return arrays
