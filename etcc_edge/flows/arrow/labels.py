"""Labels as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from etcc_edge.arrays import F32, I8, I32


class LabelColumns:
    """The columns that are added to flows, as `label_columns` names them: labels as dictionaries of text, null without
    label; confidences as float32, null without label; whether flows are known as bool."""

    def __init__(self, levels: Sequence[str], vocabulary: Sequence[Sequence[str]], *, known: bool = False) -> None:
        self._names = [pa.array(names, pa.string()) for names in vocabulary]
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
            mask = none if none.any() else None
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(own, mask=mask), names))
            arrays.append(pa.array(sure, mask=np.isnan(sure) if mask is not None else None))
        if known is not None:
            arrays.append(pa.array(known == 1, mask=known < 0))
        return arrays
