"""Rows of Arrow columns as lines of CSV. Needs pyarrow (extra ``arrow``)."""

from __future__ import annotations

from functools import cache
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from etcc_edge.arrays import F32, I8, I32
from etcc_edge.flows.arrow.chunk import as_text
from etcc_edge.flows.arrow.labels import LabelColumns, texts
from etcc_edge.flows.arrow.own import OwnColumns
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.text.header import csv_cell


class CsvSink:
    """Rows of Arrow columns as lines of CSV, labels as a text file's labelled file has them."""

    def __init__(self, out: BinaryIO, own: OwnColumns, labels: LabelColumns) -> None:
        self._out, self._own, self._labels = out, own, labels
        self.texts = own.kept
        names = [*own.schema.names, *(label.name for label in labels.fields)]
        out.write((",".join(map(csv_cell, names)) + "\n").encode())

    def format(self, batch: Batch, codes: I32, confidence: F32, known: I8 | None) -> pa.Buffer | None:
        labels = self._labels.arrays(codes, confidence, known)
        cells = [_as_cells(array) for array in [*self._own.arrays(batch), *map(_as_label, labels)]]
        lines = pc.binary_join_element_wise(*cells, _large(","), null_handling="replace", null_replacement="")
        lines = pc.binary_join_element_wise(lines, _large(""), _large("\n"))  # the newline joins each with nothing
        return lines.buffers()[2]

    def write(self, formatted: pa.Buffer | None) -> None:
        if formatted is not None:
            self._out.write(formatted)

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        pass


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


_TENTHOUSANDTHS = 10_000


@cache
def _confidences() -> pa.Array:
    return texts([f"{place / _TENTHOUSANDTHS:.4f}" for place in range(_TENTHOUSANDTHS + 1)])


def _as_label(array: pa.Array) -> pa.Array:
    """A label column as a text file has it: confidences with four decimals, 1 and 0 for known."""
    if pa.types.is_boolean(array.type):
        return array.cast(pa.int8())
    if not pa.types.is_floating(array.type):
        return array
    # The product is exact in float64, and halves go to the even digit.
    places = pc.round(pc.multiply(array.cast(pa.float64()), float(_TENTHOUSANDTHS)), round_mode="half_to_even")
    return _confidences().take(places.cast(pa.int32()))


def _as_cells(array: pa.Array) -> pa.Array:
    """As text, in quotes where it must be."""
    text = as_text(array)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return text
    odd = pc.match_substring_regex(text, '[",\r\n]')
    if not pc.any(odd).as_py():
        return text
    quoted = pc.binary_join_element_wise(_large('"'), pc.replace_substring(text, '"', '""'), _large('"'), _large(""))
    return pc.if_else(odd, quoted, text)
