"""How far a precision is from fp32, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F32, I64, Bools, Integers, Text
from etcc_edge.bundle.model import Bundle
from etcc_edge.errors import BundleError
from etcc_edge.flows.labels import codes_of

from .cascade import RoutedCascade
from .engine import OpenEngine
from .result import Result

MAX_DRIFT = 0.5  # percentage points, end to end


@dataclass(frozen=True)
class Drift:
    """One comparison over ``flows`` flows. ``agreement``: share of flows with the same label, for the cascade
    both labels. ``accuracy`` and ``reference_accuracy`` (fractions) are None without true labels."""

    flows: int
    agreement: float
    accuracy: float | None = None
    reference_accuracy: float | None = None

    @property
    def change(self) -> float | None:
        """Percentage points of accuracy won (positive) or lost."""
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return 100 * (self.accuracy - self.reference_accuracy)

    @property
    def points(self) -> float:
        """Distance in percentage points: of accuracy either way, or of agreement from 100 without true labels."""
        return abs(self.change) if self.change is not None else 100 * (1 - self.agreement)


@dataclass(frozen=True)
class Comparison:
    """Of the whole cascade, and of each network by node id on the flows that are its own."""

    cascade: Drift
    networks: Mapping[str, Drift]

    def verdict(self, max_drift: float = MAX_DRIFT) -> str:
        """Empty where it passes, else the reason."""
        if not self.cascade.flows:
            return "no flow to compare on"
        if not self.cascade.points <= max_drift:
            what = "accuracy" if self.cascade.change is not None else "agreement"
            return f"{what} is {self.cascade.points:.2f} points from fp32's, more than {max_drift:g}"
        return ""


def agreement(first: Integers, second: Integers) -> float:
    """Share of equal codes, over all levels of both (shape [n] or [levels, n])."""
    same = np.atleast_2d(first == second).all(axis=0)
    return float(np.mean(same)) if same.size else float("nan")


def compare(
    bundle: Bundle,
    reference: OpenEngine,
    other: OpenEngine,
    raw: F32,
    protocol: Text | None = None,
    application: Text | None = None,
) -> Comparison:
    """Two ways of running a two-level bundle on raw features float32 [n, f], with their true labels if known.

    End to end counts the flows whose two labels the bundle knows; without true labels, all. A second network's
    own flows are those of its protocol, by the truth or else by the reference. Raises BundleError for a bundle of
    another depth.
    """
    if len(bundle.levels) != 2:
        raise BundleError(f"bundle {bundle.name} has {len(bundle.levels)} levels; precisions are compared over two")
    ours, theirs = RoutedCascade(bundle, reference).run(raw), RoutedCascade(bundle, other).run(raw)
    labelled = protocol is not None and application is not None
    true_protocol = codes_of(bundle.root.labels, protocol) if protocol is not None else ours.codes[0].astype(np.int64)
    networks = {}
    own = true_protocol >= 0
    networks[bundle.root.id] = _drift(theirs, ours, own, true_protocol if labelled else None)
    both_known = np.zeros(len(raw), bool)
    for label, child in bundle.root.children.items():
        own = true_protocol == bundle.root.labels.index(label)
        true = None
        if application is not None and labelled:
            true = codes_of(child.labels, application)
            own &= true >= 0
            both_known |= own
        if own.any():
            first, second = (RoutedCascade(bundle.below(label), opener).run(raw[own]) for opener in (reference, other))
            truth = None if true is None else true[own]
            networks[child.id] = _drift(second, first, np.ones(len(first), bool), truth)
    counted = both_known if labelled else np.ones(len(raw), bool)
    if not labelled:
        return Comparison(Drift(len(raw), agreement(ours.codes, theirs.codes)), networks)
    assert application is not None
    truth = np.stack([true_protocol, codes_of(bundle.vocabulary()[1], application)])
    right = [(result.codes == truth).all(axis=0)[counted] for result in (theirs, ours)]
    flows = int(counted.sum())
    same = agreement(ours.codes, theirs.codes)
    if not flows:
        return Comparison(Drift(0, same), networks)
    return Comparison(Drift(flows, same, float(right[0].mean()), float(right[1].mean())), networks)


def _drift(result: Result, reference: Result, rows: Bools, truth: I64 | None) -> Drift:
    """Of the first level."""
    theirs, ours = result.codes[0][rows], reference.codes[0][rows]
    if truth is None or not rows.any():
        return Drift(int(rows.sum()), agreement(ours, theirs))
    true = truth[rows]
    return Drift(len(true), agreement(ours, theirs), float(np.mean(theirs == true)), float(np.mean(ours == true)))
