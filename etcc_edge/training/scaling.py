"""Scalers fitted on training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from etcc_edge.arrays import F32, F64
from etcc_edge.bundle.model import OPERATIONS, Derived, Scaler, derived_columns
from etcc_edge.errors import EtccError

_DERIVED_BITS = 16  # of a derived value's mantissa that the knots are fitted to; the others hold rounding


def fit_min_max(raw: F32) -> Scaler:
    """Minimum to 0 and maximum to 1 (the paper's equation 1), one input a feature."""
    maps = []
    for column in _columns(raw):
        x = np.unique([column.min(), column.max()]).astype(np.float64)
        maps.append((x, np.linspace(0, 1, len(x))))
    return _scaler(raw, maps, [1] * len(maps))


def fit_quantile(
    raw: F32,
    segments: Mapping[int, int],
    inputs: Sequence[Derived] = (),
    *,
    knots: int = 1024,
    atom_power: float = 0.5,
) -> Scaler:
    """Each feature to its weighted quantile, so that heavy tails and spikes leave the rest room.

    A distinct value that occurs c times weighs c ** ``atom_power``: 1 gives plain quantiles, 0 ranks of the
    distinct values. At most ``knots`` of them are kept. A feature (by its index) with none of the ``segments`` becomes
    no input, one with several as many inputs, each over an equal part of its quantiles; for ports, where near values
    mean different things. Derived ``inputs`` follow the features.
    """
    maps = []
    raw = np.concatenate([raw, _rounded(derived_columns(raw, inputs))], axis=1)
    for column in _columns(raw):
        value, count = np.unique(column, return_counts=True)
        weight = count.astype(np.float64) ** atom_power
        middle = np.cumsum(weight) - weight / 2
        span = middle[-1] - middle[0]
        u = (middle - middle[0]) / span if span else np.zeros(1)
        inner = np.minimum(np.searchsorted(u, np.linspace(0, 1, knots)[1:-1]), len(u) - 1)
        kept = np.unique(np.concatenate([[0, len(u) - 1], inner]))
        maps.append((value[kept].astype(np.float64), u[kept]))
    return _scaler(raw, maps, [segments.get(i, 1) for i in range(len(maps))], inputs)


def _rounded(values: F32) -> F32:
    mantissa, exponent = np.frexp(values)
    rounded: F32 = np.ldexp(np.round(mantissa * 2**_DERIVED_BITS) / 2**_DERIVED_BITS, exponent).astype(np.float32)
    return rounded


def _columns(raw: F32) -> list[F32]:
    """The finite values of each feature, at least one."""
    finite = [column[np.isfinite(column)] for column in raw.T]
    return [column if len(column) else np.zeros(1, np.float32) for column in finite]


def _scaler(raw: F32, maps: list[tuple[F64, F64]], segments: list[int], inputs: Sequence[Derived] = ()) -> Scaler:
    """Of the columns of ``raw``: features, then derived ``inputs``."""
    features = len(maps) - len(inputs)
    readings = [(i, 0, -1) for i in range(features)]
    readings += [(first, OPERATIONS.index(operation), second) for first, operation, second in inputs]
    reads: list[tuple[int, int, int]] = []
    xs: list[F32] = []
    ys: list[F32] = []
    missing: list[float] = []
    for reading, column, (x, y), parts in zip(readings, _columns(raw), maps, segments, strict=True):
        # A missing value is taken for the feature's median.
        typical = float(np.interp(np.median(column), x, y))
        for part in range(parts):
            scaled = np.clip(y * parts - part, 0, 1)
            # Of the knots at 0 and at 1, the innermost say it all.
            first, last = int(np.sum(scaled == 0)) - 1, int(np.sum(scaled < 1))
            own = slice(max(first, 0), last + 1)
            reads.append(reading)
            xs.append(x[own].astype(np.float32))
            ys.append(scaled[own].astype(np.float32))
            missing.append(min(max(typical * parts - part, 0.0), 1.0))
    if not reads:
        raise EtccError("the recipe reads none of these features; name others with --features, or take another recipe")
    starts = np.concatenate([[0], np.cumsum([len(x) for x in xs])]).astype(np.int64)
    sources, operations, second = np.array(reads, np.int64).T.copy()
    plain = Scaler(sources, starts, np.concatenate(xs), np.concatenate(ys), np.array(missing, np.float32))
    return replace(plain, operations=operations, second=second) if inputs else plain
