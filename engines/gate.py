"""How far a precision is from fp32, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, Integers, Text
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.seen import Truth
from etcc_edge.errors import BundleError

from .cascade import RoutedCascade
from .engine import OpenEngine

MAX_DRIFT = 0.5  # percentage points, end to end
MOST_CHANGED = 10  # times as many percent of the flows may change a label


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
class RecordedDrift(Drift):
    """As a bundle's metrics hold it: the change of accuracy (percentage points) without the two accuracies."""

    change: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Of the whole cascade, and of each network by node id on the flows that are its own."""

    cascade: Drift
    networks: Mapping[str, Drift]

    def verdict(self, max_drift: float = MAX_DRIFT) -> str:
        """Empty where it passes, else the reason. With true labels, changes from one wrong label to another cost no
        accuracy, so that the agreement has a bound of its own."""
        if not self.cascade.flows:
            return "no flow to compare on"
        if not self.cascade.points <= max_drift:
            what = "accuracy" if self.cascade.change is not None else "agreement"
            return f"{what} is {self.cascade.points:.2f} points from fp32's, more than {max_drift:g}"
        changed = 100 * (1 - self.cascade.agreement)
        if self.cascade.change is not None and not changed <= MOST_CHANGED * max_drift:
            return f"{changed:.2f} % of the flows change a label, more than {MOST_CHANGED * max_drift:g}"
        return ""


def recorded(bundle: Bundle, form: str) -> Comparison | None:
    """How far the bundle's ONNX files of one form were from fp32 on the test rows at training; None where that was
    not measured."""
    record = bundle.metrics.get("drift", {}).get(form)
    if record is None:
        return None
    networks = {name: _from_record(figures) for name, figures in record["networks"].items()}
    return Comparison(_from_record(record["end_to_end"]), networks)


def _from_record(figures: Mapping[str, Any]) -> RecordedDrift:
    return RecordedDrift(figures["flows"], figures["agreement"], change=figures.get("change_points"))


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
    truth = None if protocol is None or application is None else Truth.of(bundle, protocol, application)
    ours, theirs = (RoutedCascade(bundle, opener).run(raw) for opener in (reference, other))
    root = ours.codes[0] if truth is None else truth.protocol
    own = root >= 0
    networks = {bundle.root.id: _drift(ours.codes[0][own], theirs.codes[0][own], None if truth is None else root[own])}
    for label, child in bundle.root.children.items():
        own = root == bundle.root.labels.index(label) if truth is None else truth.own[label] >= 0
        if own.any():
            below = bundle.below(label)
            first, second = (RoutedCascade(below, opener).run(raw[own]).codes[0] for opener in (reference, other))
            networks[child.id] = _drift(first, second, None if truth is None else truth.own[label][own])
    same = agreement(ours.codes, theirs.codes)
    if truth is None:
        return Comparison(Drift(len(raw), same), networks)
    counted = truth.counted
    if not counted.any():
        return Comparison(Drift(0, same), networks)
    accuracy, reference_accuracy = (float(truth.right(result.codes)[counted].mean()) for result in (theirs, ours))
    return Comparison(Drift(int(counted.sum()), same, accuracy, reference_accuracy), networks)


def _drift(ours: Integers, theirs: Integers, true: Integers | None) -> Drift:
    """Of one network's labels [n] from the reference's."""
    if true is None or not len(true):
        return Drift(len(ours), agreement(ours, theirs))
    return Drift(len(true), agreement(ours, theirs), float(np.mean(theirs == true)), float(np.mean(ours == true)))
