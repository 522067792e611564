"""This machine's ceilings, and how near each engine comes to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import etcc_edge._native as _native
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.network import cost, parameter_shapes, shapes

from ..timing.turns import Clock

TRIES = 30
_ROUNDS = 4_000_000  # some milliseconds, beside which handing them to a thread is nothing
_COPY_BYTES = 128 << 20  # far beyond any cache


def _best(work: Callable[[], float], threads: int, tries: int, clock: Clock) -> float:
    """The highest rate of ``work``'s amount a second, all threads together: the peak is what a quiet moment shows."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(tries):
            start = clock()
            amount = sum(pool.map(lambda _: work(), range(threads)))
            best = max(best, amount / (clock() - start))
    return best


def peaks(threads: int, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """``multiply_adds_per_s``: fp32 multiply-adds in registers, by this package's own loop on its widest instruction
    set; ``bytes_per_s``: read and written by numpy's copy of a large array, one a thread."""
    pairs = [(np.zeros(_COPY_BYTES // 8, np.float32), np.ones(_COPY_BYTES // 8, np.float32)) for _ in range(threads)]
    waiting = list(pairs)

    def copy() -> float:
        pair = waiting.pop()
        np.copyto(*pair)
        waiting.append(pair)
        return 2.0 * pair[0].nbytes

    return {
        "threads": threads,
        "instruction_set": _native.instruction_sets()[0],
        "multiply_adds_per_s": _best(lambda: float(_native.spin(_ROUNDS)), threads, TRIES, clock),
        "bytes_per_s": _best(copy, threads, TRIES // 3, clock),
    }


def work(bundle: Bundle, mix: dict[str, float], backend: str) -> dict[str, float]:
    """Multiply-adds a flow, of convolutions as they are written (Winograd's form needs fewer), and bytes of weights
    of a bundle's networks as the backend runs them, the second stage by the protocols' shares. Native looks tent
    channels up; everything else multiplies them all."""

    def of(node: Node) -> tuple[float, float]:
        spent = cost(node.network, node.scaler.inputs)
        weights = 4.0 * sum(np.prod(shape) for shape in parameter_shapes(node.network, node.scaler.inputs).values())
        return float(spent.multiply_adds if backend == "native" else _dense(node)), float(weights)

    first = of(bundle.root)
    below = [(mix.get(label, 0.0), *of(child)) for label, child in bundle.root.children.items()]
    return {
        "multiply_adds_a_flow": first[0] + sum(share * adds for share, adds, _ in below),
        "weight_bytes": first[1] + sum(weights for *_, weights in below),
        "values_bytes_a_flow": 4.0 * (len(bundle.features) + bundle.root.scaler.inputs),
    }


def _dense(node: Node) -> int:
    """Multiply-adds with every tent channel, zero or not."""
    more = 0
    previous = ""
    for layer, before, after in shapes(node.network, node.scaler.inputs):
        if layer.op == "conv" and previous == "tent":
            more += layer.width * layer.size * after.positions * (before.channels - 2)
        previous = layer.op
    return cost(node.network, node.scaler.inputs).multiply_adds + more


def shares(of: dict[str, float], flows_per_s: float, batch: int, peak: dict[str, Any]) -> dict[str, float]:
    """Of the two peaks what a rate needs at least: weights are read once a batch, features and inputs once a flow."""
    bytes_a_flow = of["values_bytes_a_flow"] + of["weight_bytes"] / batch
    return {
        "multiply_adds_a_flow": of["multiply_adds_a_flow"],
        "bytes_a_flow": bytes_a_flow,
        "multiply_add_share": of["multiply_adds_a_flow"] * flows_per_s / peak["multiply_adds_per_s"],
        "memory_share": bytes_a_flow * flows_per_s / peak["bytes_per_s"],
    }
