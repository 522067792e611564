"""What runs one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from etcc_edge.arrays import F32
from etcc_edge.bundle.model import Node


class Engine(Protocol):
    """One network at one precision, ready to run. `run` may be called from several threads at once."""

    def run(self, scaled: F32) -> F32:
        """Logits float32 [n, classes] of scaled inputs float32 [n, inputs], n ≥ 1."""


OpenEngine = Callable[[Node], Engine]
