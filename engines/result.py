"""What a cascade answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from etcc_edge.arrays import F32, I8, I32, Bools, Text
from etcc_edge.bundle.model import Bundle

MOST_OUTSIDE = np.float32(0.5)
"""Confidence, at most, of a label of a flow with a feature beyond the trained range."""


@dataclass(frozen=True)
class Result:
    """Labels of n flows at each of L levels (protocol, application).

    ``codes``: int32 [L, n] into ``vocabulary``; -1: no label, because no network leads there or a logit was
    not finite. ``confidence``: float32 [L, n], the label's calibrated probability given the label above it;
    NaN without label. ``energy``: float32 [L, n], -log(sum(exp(logit))), lower for flows like the trained
    ones; NaN without network. ``outside``: bool [n], where that was looked at: a feature of the flow lies beyond the
    range that the bundle was trained on. ``by_rule``: bool [n], where the bundle has services: the last label is the
    name of the flow's service.
    """

    levels: tuple[str, ...]
    vocabulary: tuple[tuple[str, ...], ...]
    codes: I32
    confidence: F32
    energy: F32
    outside: Bools | None = None
    by_rule: Bools | None = None

    @classmethod
    def empty(cls, levels: tuple[str, ...], vocabulary: tuple[tuple[str, ...], ...], n: int) -> Result:
        """Room for n flows' labels, not yet set."""
        shape = (len(levels), n)
        return cls(
            levels, vocabulary, np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(shape, np.float32)
        )

    def __len__(self) -> int:
        return int(self.codes.shape[1])

    def labels(self, level: str) -> Text:
        """The labels of one level as text [n], empty where there is none. Raises ValueError for another level."""
        if level not in self.levels:
            raise ValueError(f"no level {level!r}; there are {', '.join(self.levels)}")
        i = self.levels.index(level)
        names: Text = np.array([*self.vocabulary[i], ""], np.str_)[self.codes[i]]
        return names

    def known(self, threshold: float | None) -> I8:
        """int8 [n]: 1 where the first level's energy does not exceed ``threshold``, so that the flow may be of a
        trained protocol; 0 where it does; -1 without label or threshold."""
        if threshold is None:
            return np.full(len(self), -1, np.int8)
        known: I8 = np.where(self.codes[0] < 0, -1, self.energy[0] <= np.float32(threshold)).astype(np.int8)
        return known

    def at_least(self, confidence: float) -> Result:
        """The same with no label below the first level where the product of all confidences is lower; names of
        services stay."""
        unsure = ~(np.where(np.isnan(self.confidence), 1, self.confidence).prod(axis=0) >= confidence)
        if self.by_rule is not None:
            unsure &= ~self.by_rule
        codes, kept = self.codes.copy(), self.confidence.copy()
        codes[1:, unsure] = -1
        kept[1:, unsure] = np.nan
        return replace(self, codes=codes, confidence=kept)

    def without(self, rows: Bools) -> Result:
        """The same with no label for the marked rows."""
        if not rows.any():
            return self
        codes, confidence, energy = self.codes.copy(), self.confidence.copy(), self.energy.copy()
        codes[:, rows] = -1
        confidence[:, rows] = energy[:, rows] = np.nan
        return replace(self, codes=codes, confidence=confidence, energy=energy)

    def doubting(self, outside: Bools) -> Result:
        """The same with confidences of `MOST_OUTSIDE` at most for flows beyond the trained range, marked in
        ``outside``: no flow that confidences were fitted on lies there."""
        confidence = self.confidence
        if np.count_nonzero(outside):
            confidence = np.where(outside, np.minimum(confidence, MOST_OUTSIDE), confidence)
        return Result(self.levels, self.vocabulary, self.codes, confidence, self.energy, outside, self.by_rule)

    def named(self, service: I32, names: Sequence[str]) -> Result:
        """The same where flows of a service have its name as last label, with confidence 1. ``service``: int32 [n],
        into ``names``, -1 for none."""
        by_rule = service >= 0
        if not np.count_nonzero(by_rule):
            return replace(self, by_rule=by_rule)
        codes, confidence, energy = self.codes.copy(), self.confidence.copy(), self.energy.copy()
        of_name = np.array([self.vocabulary[-1].index(name) for name in names], np.int32)
        codes[-1, by_rule] = of_name[service[by_rule]]
        confidence[-1, by_rule] = 1
        energy[-1, by_rule] = np.nan
        return replace(self, codes=codes, confidence=confidence, energy=energy, by_rule=by_rule)


class Cascade(Protocol):
    def run(self, raw: F32) -> Result:
        """Labels of raw features float32 [n, f], in the bundle's order and units; NaN: no value."""


def as_rows(raw: F32, bundle: Bundle) -> F32:
    """``raw`` as C-contiguous float32 [n, f]. Raises ValueError for another number of features than the bundle's."""
    raw = np.ascontiguousarray(raw, np.float32)
    if raw.ndim != 2 or raw.shape[1] != len(bundle.features):
        raise ValueError(f"features must be [n, {len(bundle.features)}], not {list(raw.shape)}")
    return raw
