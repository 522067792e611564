"""Groups of similar training flows, which stand for them when a bundle is adapted later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.model import Prototypes
from etcc_edge.flows.truth import LabelledFlows

GROUPS = 64
"""Of one pair of labels, at most."""
_ORDERS = 20  # tried of a group's values


def prototypes_of(features: F32, labels: Iterable[tuple[str, str]], seed: int) -> Prototypes:
    """Groups the flows, float32 [n, f] with protocol and application [n] each, by k-means over the features' ranks.
    Flows that no group of enough flows takes in are left out, and so are labels with fewer flows."""
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    ranks = _ranks(features)
    names, which = np.unique(np.array(list(labels), np.str_).reshape(len(features), 2), axis=0, return_inverse=True)
    pairs, sizes, values = [], [], []
    for number, (protocol, application) in enumerate(names.tolist()):
        rows = np.flatnonzero(which.reshape(-1) == number)
        groups = min(GROUPS, len(rows) // Prototypes.MIN_FLOWS)
        if not groups:
            continue
        group = MiniBatchKMeans(groups, random_state=seed, n_init=3).fit_predict(ranks[rows])
        for g in range(groups):
            members = features[rows[group == g]]
            mixed = _mixed(members, rng) if len(members) >= Prototypes.MIN_FLOWS else None
            if mixed is not None:
                pairs.append((protocol, application))
                sizes.append(len(members))
                values.append(mixed)
    shape = (0, len(Prototypes.PERCENTILES), features.shape[1])
    return Prototypes(
        tuple(pairs), np.array(sizes, np.int64), np.stack(values) if values else np.empty(shape, np.float32)
    )


def prototypes_for(flows: LabelledFlows, rows: I64, taught: Mapping[str, tuple[str, ...]], seed: int) -> Prototypes:
    """Prototypes of the given flows. ``taught``: the labels of each protocol's network, of the root's under ""."""
    pairs = [
        (protocol, application if application in taught.get(protocol, ()) else "")
        for protocol, application in zip(flows.protocol[rows].tolist(), flows.application[rows].tolist(), strict=True)
    ]
    known = np.array([protocol in taught[""] for protocol, _ in pairs], bool)
    pairs = [pair for pair, own in zip(pairs, known, strict=True) if own]
    return prototypes_of(flows.features[rows][known], pairs, seed)


def flows_like(prototypes: Prototypes, rows: I64, count: int, rng: np.random.Generator) -> tuple[F32, I64]:
    """Generated flows: about ``count`` of them, float32 [m, f], and the prototype [m] that each is like. Groups
    ``rows`` give as many as their share of flows, one at least; each feature is drawn from the group's percentiles."""
    flows = prototypes.flows[rows]
    copies = np.maximum(np.rint(count * flows / max(flows.sum(), 1)), 1).astype(np.int64)
    origin = np.repeat(rows, copies)
    choice = rng.integers(prototypes.values.shape[1], size=(len(origin), prototypes.values.shape[2]))
    drawn: F32 = np.take_along_axis(prototypes.values[origin], choice[:, None, :], axis=1)[:, 0]
    return drawn, origin


def _ranks(features: F32) -> F32:
    """Each feature's mean rank among all flows, 0 to 1; absent values lie in the middle."""
    ranks = np.full(features.shape, 0.5, np.float32)
    for column, rank in zip(features.T, ranks.T, strict=True):
        present = np.isfinite(column)
        if present.any():
            ordered = np.sort(column[present])
            below, through = (np.searchsorted(ordered, column[present], side) for side in ("left", "right"))
            rank[present] = (below + through) / (2 * len(ordered))
    return ranks


def _percentiles(members: F32) -> F32:
    values = np.full((len(Prototypes.PERCENTILES), members.shape[1]), np.nan, np.float32)
    some = np.isfinite(members).any(axis=0)
    values[:, some] = np.nanpercentile(members[:, some], Prototypes.PERCENTILES, axis=0, method="nearest")
    return values


def _mixed(members: F32, rng: np.random.Generator) -> F32 | None:
    """A group's percentiles, those of each feature in a random order, so that no row is a flow that fewer than
    `MIN_FLOWS` members repeat; None where every order has one."""
    percentiles = _percentiles(members)
    for _ in range(_ORDERS):
        mixed: F32 = rng.permuted(percentiles, axis=0)
        equal = (mixed[:, None] == members) | (np.isnan(mixed[:, None]) & np.isnan(members))
        repeats = equal.all(axis=2).sum(axis=1)
        if not ((repeats > 0) & (repeats < Prototypes.MIN_FLOWS)).any():
            return mixed
    return None
