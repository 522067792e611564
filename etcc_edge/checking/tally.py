"""What one pass over a flows file adds up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np

from etcc_edge.arrays import F64, I32, U64, Bools, Floats
from etcc_edge.checking.result import AbsoluteTimes, FeatureValues
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.features import header_key
from etcc_edge.flows.identity import feature_hashes, row_hashes
from etcc_edge.flows.table import TableBatch, TableFlows
from etcc_edge.flows.text.header import cell_number
from etcc_edge.flows.text.reader import TextBatch

_ABSOLUTE_US = (1e15, 5e15)  # times since 1970 in the years 2001 to 2128; no flow lasts 30 years


class _Codes:
    """Texts to small integers, in order of appearance."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def of(self, texts: Iterable[str]) -> I32:
        index = self.index
        return np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int32)


class Tally:
    """What one pass over a file adds up, of the rows that can be read."""

    def __init__(self, file: ColumnFlows[Any], labels: Mapping[str, int], date: int | None) -> None:
        columns = file.reading.columns
        self.names = list(columns)
        self._feature_text = [columns[name] for name in self.names]
        # Absolute times are looked for in every column that is a time, and in those called idle.
        self._idle = {
            file.columns[i]: i
            for i, cell in enumerate(file.columns)
            if "idle" in header_key(cell) and i not in columns.values()
        }
        self._labels = dict(labels)
        self._date = date
        more = [*self._idle.values(), *labels.values(), *([] if date is None else [date])]
        # A table's row is what its columns hold.
        more += range(len(file.columns)) if isinstance(file, TableFlows) else []
        self.texts = list(dict.fromkeys([*self._feature_text, *more]))
        self._compared = np.array([is_compared(name) for name in self.names])
        self._is_time = np.array([feature_table()[name].unit == "us" for name in self.names])
        f = len(self.names)
        self.flows = 0
        self._missing, self._infinite, self._negative = (np.zeros(f, np.int64) for _ in range(3))
        self._absolute = np.zeros(f, np.int64)
        self._absolute_idle = dict.fromkeys(self._idle, 0)
        self._low, self._high = np.full(f, np.inf, np.float32), np.full(f, -np.inf, np.float32)
        self._rows: list[U64] = []
        self._features: list[U64] = []
        self.label_text = {level: _Codes() for level in labels}
        self.day_text = _Codes()
        self._label_codes: dict[str, list[I32]] = {level: [] for level in labels}
        self._days: list[I32] = []

    def add(self, batch: TextBatch | TableBatch) -> None:
        """A batch with the features ``names`` and the text columns ``texts``."""
        readable = batch.readable
        values = batch.features[readable]
        nan = np.isnan(values)
        self.flows += len(values)
        for i in np.flatnonzero(nan.any(axis=0)).tolist():
            cells = np.array(self._text(batch, self._feature_text[i]), object)[readable][nan[:, i]]
            infinite = sum(map(_is_infinite, cells))
            self._infinite[i] += infinite
            self._missing[i] += len(cells) - infinite
        self._negative += (values < 0).sum(axis=0)
        self._absolute += _are_absolute(values).sum(axis=0)
        for name, column in self._idle.items():
            self._absolute_idle[name] += int(_are_absolute(_numbers(self._text(batch, column)))[readable].sum())
        self._low = np.fmin(self._low, np.fmin.reduce(values, axis=0, initial=np.inf))
        self._high = np.fmax(self._high, np.fmax.reduce(values, axis=0, initial=-np.inf))
        self._rows.append(row_hashes(batch.row_bytes())[readable])
        self._features.append(feature_hashes(values[:, self._compared]))
        for level, column in self._labels.items():
            text = compress(self._text(batch, column), readable)
            self._label_codes[level].append(self.label_text[level].of(text))
        if self._date is not None:
            text = compress(self._text(batch, self._date), readable)
            self._days.append(self.day_text.of(_day(cell[:10]) for cell in text))

    def _text(self, batch: TextBatch | TableBatch, column: int) -> list[str]:
        return batch.text(self.texts.index(column))

    @property
    def rows(self) -> U64:
        """uint64 [n], by the bytes of each row."""
        return np.concatenate([np.empty(0, np.uint64), *self._rows])

    @property
    def features(self) -> U64:
        """uint64 [n], by each row's features, ports aside."""
        return np.concatenate([np.empty(0, np.uint64), *self._features])

    def label_codes(self, level: str) -> I32:
        """int32 [n], by ``label_text``."""
        return np.concatenate([np.empty(0, np.int32), *self._label_codes[level]])

    def days(self) -> I32:
        """int32 [n], by ``day_text``; [0] without a column of timestamps."""
        return np.concatenate([np.empty(0, np.int32), *self._days])

    def values(self) -> dict[str, FeatureValues]:
        """By feature."""
        values = {}
        for i, name in enumerate(self.names):
            low, high = (float(f"{bound:.7g}") for bound in (self._low[i], self._high[i]))
            values[name] = FeatureValues(
                unit=feature_table()[name].unit,
                missing=int(self._missing[i]),
                infinite=int(self._infinite[i]),
                negative=int(self._negative[i]),
                constant=bool(self.flows > 0 and self._low[i] >= self._high[i]),
                min=low if low <= high else None,
                max=high if low <= high else None,
            )
        return values

    def absolute_times(self) -> dict[str, AbsoluteTimes]:
        """By column, where there are any."""
        features = {
            name: AbsoluteTimes(int(self._absolute[i]), name)
            for i, name in enumerate(self.names)
            if self._is_time[i] and self._absolute[i]
        }
        return features | {name: AbsoluteTimes(n, None) for name, n in self._absolute_idle.items() if n}


def _are_absolute(values: Floats) -> Bools:
    return np.asarray((values >= _ABSOLUTE_US[0]) & (values <= _ABSOLUTE_US[1]))


def _is_infinite(cell: str) -> bool:
    """Whether a cell without a value is a number, too large for one; else it is empty, ? or NaN."""
    value = cell_number(cell)
    return value == value


def _numbers(cells: list[str]) -> F64:
    return np.fromiter(map(cell_number, cells), np.float64, len(cells))


@lru_cache(maxsize=1 << 12)
def _day(start: str) -> str:
    """The date that a timestamp starts with, in its own order of day and month; empty if there is none."""
    date = re.match(r"(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})", start)
    return "-".join(str(int(part)) for part in date.groups()) if date else ""


def is_compared(feature: str) -> bool:
    """Whether flows that differ in this feature are different flows; ports are not looked at."""
    return feature_table()[feature].family != "port"
