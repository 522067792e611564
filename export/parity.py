"""Is an exported network the trained one? Compared with float64 logits, flow by flow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from etcc_edge.arrays import F32, F64
from etcc_edge.engines.engine import Engine
from etcc_edge.errors import EtccError

# As a share of the flow's largest logit, at least 1, since all its logits sum the same hidden values: a few float32
# roundings over the longest sums, and the same at each of an LSTM's steps, where ONNX Runtime approximates the sigmoid
# and the hyperbolic tangent too.
TOLERANCE = 4e-6
RECURRENT_TOLERANCE = 1e-4


def largest_difference(engine: Engine, exact: Callable[[F64], F64], scaled: F32) -> float:
    """The largest |logit - exact| over inputs float32 [n, inputs], by the flow's largest |exact| or by 1.

    ``exact`` gives the trained network's logits in float64.
    """
    worst = np.float64(0)
    for block in np.array_split(scaled, max(1, len(scaled) // 4096)):
        reference = exact(block.astype(np.float64))
        scale = np.maximum(1, np.abs(reference).max(axis=1, keepdims=True))
        difference = np.abs(engine.run(np.ascontiguousarray(block)) - reference) / scale
        worst = np.maximum(worst, difference.max())  # NaN stays
    return float(worst)


def check_parity(name: str, difference: float, *, recurrent: bool = False) -> None:
    """Raises EtccError where an export is further from the trained network than `TOLERANCE`, or, with LSTM layers,
    `RECURRENT_TOLERANCE`."""
    tolerance = RECURRENT_TOLERANCE if recurrent else TOLERANCE
    if not difference <= tolerance:
        raise EtccError(f"the exported {name} differs from PyTorch by {difference:.2g}, more than {tolerance:g}")
