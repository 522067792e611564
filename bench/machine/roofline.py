"""This machine's ceilings, and how near each engine comes to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

import etcc_edge._native as _native
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.network import cost, parameter_shapes, shapes

from ..figures import Peak, PeakShares
from ..timing.turns import Clock

TRIES = 30
_ROUNDS = 4_000_000  # some milliseconds, beside which handing them to a thread is nothing
_COPY_BYTES = 128 << 20  # far beyond any cache


def _best(spend: Callable[[], float], threads: int, tries: int, clock: Clock) -> float:
    """The highest rate of ``spend``'s amount a second, all threads together: the peak is what a quiet moment shows."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(tries):
            start = clock()
            amount = sum(pool.map(lambda _: spend(), range(threads)))
            best = max(best, amount / (clock() - start))
    return best


def peaks(threads: int, clock: Clock = time.perf_counter) -> Peak:
    """Multiply-adds by this package's own loop on its widest instruction set; bytes by numpy's copy of a large array,
    one a thread."""
    pairs = [(np.zeros(_COPY_BYTES // 8, np.float32), np.ones(_COPY_BYTES // 8, np.float32)) for _ in range(threads)]
    waiting = list(pairs)

    def copy() -> float:
        pair = waiting.pop()
        np.copyto(*pair)
        waiting.append(pair)
        return 2.0 * pair[0].nbytes

    return Peak(
        threads=threads,
        instruction_set=_native.instruction_sets()[0],
        multiply_adds_per_s=_best(lambda: float(_native.spin(_ROUNDS)), threads, TRIES, clock),
        bytes_per_s=_best(copy, threads, TRIES // 3, clock),
    )


@dataclass(frozen=True)
class Work:
    """What a bundle's networks need. Convolutions count as they are written (Winograd's form needs fewer)."""

    multiply_adds_a_flow: float
    weight_bytes: float
    values_bytes_a_flow: float


def work(bundle: Bundle, mix: Mapping[str, float], backend: str) -> Work:
    """Of a bundle's networks as the backend runs them, the second stage by the protocols' shares. Native looks tent
    channels up; everything else multiplies them all."""

    def multiply_adds(node: Node) -> float:
        return float(cost(node.network, node.scaler.inputs).multiply_adds if backend == "native" else _dense(node))

    children = bundle.root.children.items()
    return Work(
        multiply_adds(bundle.root) + sum(mix.get(label, 0.0) * multiply_adds(child) for label, child in children),
        sum(_weight_bytes(node) for node in bundle.nodes()),
        4.0 * (len(bundle.features) + bundle.root.scaler.inputs),
    )


def _weight_bytes(node: Node) -> float:
    return 4.0 * sum(float(np.prod(shape)) for shape in parameter_shapes(node.network, node.scaler.inputs).values())


def _dense(node: Node) -> int:
    """Multiply-adds with every tent channel, zero or not."""
    zeros = 0
    previous = ""
    for layer, before, after in shapes(node.network, node.scaler.inputs):
        if layer.op == "conv" and previous == "tent":
            zeros += layer.width * layer.size * after.positions * (before.channels - 2)
        previous = layer.op
    return cost(node.network, node.scaler.inputs).multiply_adds + zeros


def peak_shares(needs: Work, flows_per_s: float, batch: int, peak: Peak) -> PeakShares:
    """Of the two peaks what a rate needs at least: weights are read once a batch, features and inputs once a flow."""
    bytes_a_flow = needs.values_bytes_a_flow + needs.weight_bytes / batch
    return PeakShares(
        multiply_adds_a_flow=needs.multiply_adds_a_flow,
        bytes_a_flow=bytes_a_flow,
        multiply_add_share=needs.multiply_adds_a_flow * flows_per_s / peak.multiply_adds_per_s,
        memory_share=bytes_a_flow * flows_per_s / peak.bytes_per_s,
    )
