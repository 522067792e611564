"""The cascade: the first network's label decides which network comes next."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

import etcc_edge._native as _native
from etcc_edge.arrays import F32, I32, I64
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.errors import BackendError
from etcc_edge.flows.batch import has_enough_values
from etcc_edge.flows.size import packets

from .backends import BACKENDS
from .choice import Choice
from .engine import Engine, OpenEngine
from .result import Cascade, Result, as_rows


class RoutedCascade:
    """The cascade over any engines, one a node, block by block.

    A block's rows are labelled by the root, then gathered by label, scaled and run through each label's own
    network, and scattered back. Blocks go to ``threads`` threads; the answer does not depend on their number.
    """

    def __init__(self, bundle: Bundle, open_engine: OpenEngine, *, block: int = 1024, threads: int = 1) -> None:
        self._bundle = bundle
        self._vocabulary = bundle.vocabulary()
        self._block = block
        self._engines: Mapping[str, Engine] = {node.id: open_engine(node) for node in bundle.nodes()}
        self._codes = {node.id: self._code_map(node, depth) for depth, node in bundle.root.walk()}
        self._pool = ThreadPoolExecutor(threads, "etcc-cascade") if threads > 1 else None

    def _code_map(self, node: Node, depth: int) -> I32:
        """A node's own label numbers to those of its level; its last entry serves label -1."""
        codes = [self._vocabulary[depth].index(label) for label in node.labels]
        return np.array([*codes, -1], np.int32)

    def run(self, raw: F32) -> Result:
        raw = as_rows(raw, self._bundle)
        result = Result.empty(self._bundle.levels, self._vocabulary, len(raw))
        result.codes.fill(-1)
        result.confidence.fill(np.nan)
        result.energy.fill(np.nan)
        starts = range(0, len(raw), self._block)

        def label_block(start: int) -> None:
            stop = min(start + self._block, len(raw))
            self._run_node(self._bundle.root, raw, np.arange(start, stop), 0, result)

        if self._pool is None:
            for start in starts:
                label_block(start)
        else:
            list(self._pool.map(label_block, starts))
        return result

    def _run_node(self, node: Node, raw: F32, rows: I64, depth: int, result: Result) -> None:
        """Labels the given rows of ``raw`` by this node, and sends each on to its label's node."""
        logits = self._engines[node.id].run(node.scaler.transform(raw, rows))
        if logits.shape != (len(rows), len(node.labels)):
            raise BackendError(f"{node.id} gave logits {list(logits.shape)} for [{len(rows)}, {len(node.labels)}]")
        label, confidence, energy = _native.decide(logits, node.temperature)
        result.codes[depth, rows] = self._codes[node.id][label]
        result.confidence[depth, rows] = confidence
        result.energy[depth, rows] = energy
        for code, name in enumerate(node.labels):
            child = node.children.get(name)
            if child is not None and len(below := rows[label == code]):
                self._run_node(child, raw, below, depth + 1, result)


class FusedCascade:
    """The whole cascade in one native call, without the interpreter's lock. It gives the routed answer, the same
    for any ``block`` and any number of ``threads``."""

    def __init__(self, bundle: Bundle, core: _native.Cascade) -> None:
        self._bundle = bundle
        self._vocabulary = bundle.vocabulary()
        self._core = core

    def run(self, raw: F32) -> Result:
        raw = as_rows(raw, self._bundle)
        result = Result.empty(self._bundle.levels, self._vocabulary, len(raw))
        self._core.run(raw, result.codes, result.confidence, result.energy)
        return result


def answer(bundle: Bundle, cascade: Cascade, raw: F32) -> Result:
    """What a user gets for raw features float32 [n, f]: the cascade's labels, little confidence for flows beyond the
    trained range, the service's name for those of a background service, and no label for those with too few values."""
    result = cascade.run(raw)
    if bundle.confidence:
        size = packets(raw, bundle.features)
        result = replace(result, confidence=bundle.confidence.apply(result.confidence, size))
    result = result.doubting(bundle.root.scaler.outside(raw))
    if rule := bundle.service_rule:
        result = result.named(rule.codes(raw), [service.name for service in bundle.services])
    # Most batches lack no value at all.
    return result.without(~has_enough_values(raw)) if np.count_nonzero(np.isnan(raw)) else result


def open_cascade(bundle: Bundle, choice: Choice, *, block: int = 1024, threads: int = 1) -> Cascade:
    """The cascade of a bundle on a backend: fused where the backend can, else routed over its engines.

    Raises BackendError.
    """
    if open_fused := BACKENDS[choice.backend].fused():
        return FusedCascade(bundle, open_fused(bundle, choice.precision, block, threads))
    opener = BACKENDS[choice.backend].opener(bundle, choice.precision)
    return RoutedCascade(bundle, opener, block=block, threads=threads)
