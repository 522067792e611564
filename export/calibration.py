"""Which flows calibrate: training flows, by class, none that a test flow repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F32, I64, U64
from etcc_edge.errors import EtccError
from etcc_edge.flows.identity import feature_hashes, fingerprint

FLOWS = 1024


@dataclass(frozen=True)
class Sample:
    """Row numbers, sorted, and the fingerprint of those rows' hashes."""

    rows: I64
    fingerprint: str


def sample(features: F32, labels: I64, hashes: U64, train: I64, test: I64, flows: int = FLOWS, seed: int = 0) -> Sample:
    """At most ``flows`` of the ``train`` rows, each class by its share but with at least one flow.

    ``features`` float32 [n, f] and ``labels`` [n] (-1: not for this network) are of all flows, ``hashes`` their
    `row_hash`. A training row whose features equal a test row's, NaN like NaN, is left out. Raises EtccError
    where none is left.
    """
    keys = feature_hashes(features)
    usable = train[(labels[train] >= 0) & ~np.isin(keys[train], keys[test])]
    if not len(usable):
        raise EtccError("no training flow is left to calibrate with: test flows repeat all of them")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(usable)
    classes, counts = np.unique(labels[usable], return_counts=True)
    wanted = np.maximum(1, np.floor(counts * min(1.0, flows / len(usable)))).astype(np.int64)
    chosen = [shuffled[labels[shuffled] == label][:n] for label, n in zip(classes, wanted, strict=True)]
    rows = np.sort(np.concatenate(chosen))
    return Sample(rows, fingerprint(hashes[rows]))
