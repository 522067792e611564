"""Flows of protocols that a bundle was not taught: the threshold that tells them, and how well it does."""

from __future__ import annotations

import numpy as np

from etcc_edge.arrays import Floats

# Of the flows of known protocols, the share that may be called unknown.
FALSE_REJECTION = 0.05


def conformal_threshold(energy: Floats) -> float:
    """The energy that a further flow, exchangeable with these [n], exceeds with a probability of at most
    `FALSE_REJECTION` (split conformal prediction; Vovk, Gammerman, Shafer 2005). The flows must not have taught
    the network. With too few of them for any such bound, the highest energy."""
    ordered = np.sort(energy)
    rank = int(np.ceil((len(ordered) + 1) * (1 - FALSE_REJECTION)))
    return float(ordered[min(rank, len(ordered)) - 1])
