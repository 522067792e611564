"""The cascade: the first network's label decides which network comes next."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etcc_edge import _native
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.engine import BACKENDS, Choice, Engine, OpenEngine
from etcc_edge.errors import BackendError

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """Labels of n flows at each of L levels (protocol, application).

    ``codes``: int32 [L, n] into ``vocabulary``; -1: no label, because no network leads there or a logit was
    not finite. ``confidence``: float32 [L, n], the label's calibrated probability given the label above it;
    NaN without label. ``energy``: float32 [L, n], -log(sum(exp(logit))), lower for flows like the trained
    ones; NaN without network.
    """

    levels: tuple[str, ...]
    vocabulary: tuple[tuple[str, ...], ...]
    codes: I32
    confidence: F32
    energy: F32

    @classmethod
    def empty(cls, levels: tuple[str, ...], vocabulary: tuple[tuple[str, ...], ...], n: int) -> Result:
        """Room for n flows' labels, not yet set."""
        shape = (len(levels), n)
        return cls(levels, vocabulary, np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(shape, np.float32))

    def __len__(self) -> int:
        return int(self.codes.shape[1])

    def labels(self, level: str) -> npt.NDArray[np.str_]:
        """The labels of one level as text [n], empty where there is none. Raises ValueError for another level."""
        if level not in self.levels:
            raise ValueError(f"no level {level!r}; there are {', '.join(self.levels)}")
        i = self.levels.index(level)
        names: npt.NDArray[np.str_] = np.array([*self.vocabulary[i], ""], np.str_)[self.codes[i]]
        return names

    def known(self, threshold: float | None) -> npt.NDArray[np.int8]:
        """int8 [n]: 1 where the first level's energy does not exceed ``threshold``, so that the flow may be of a
        trained protocol; 0 where it does; -1 without label or threshold."""
        if threshold is None:
            return np.full(len(self), -1, np.int8)
        known: npt.NDArray[np.int8] = np.where(self.codes[0] < 0, -1, self.energy[0] <= np.float32(threshold)).astype(
            np.int8
        )
        return known

    def at_least(self, confidence: float) -> Result:
        """The same with no label below the first level where the product of all confidences is lower."""
        unsure = ~(np.where(np.isnan(self.confidence), 1, self.confidence).prod(axis=0) >= confidence)
        codes, kept = self.codes.copy(), self.confidence.copy()
        codes[1:, unsure] = -1
        kept[1:, unsure] = np.nan
        return Result(self.levels, self.vocabulary, codes, kept, self.energy)

    def without(self, rows: npt.NDArray[np.bool_]) -> Result:
        """The same with no label for the marked rows."""
        if not rows.any():
            return self
        codes, confidence, energy = self.codes.copy(), self.confidence.copy(), self.energy.copy()
        codes[:, rows] = -1
        confidence[:, rows] = energy[:, rows] = np.nan
        return Result(self.levels, self.vocabulary, codes, confidence, energy)


class Cascade(Protocol):
    def run(self, raw: F32) -> Result:
        """Labels of raw features float32 [n, f], in the bundle's order and units; NaN: no value."""


def as_rows(raw: F32, bundle: Bundle) -> F32:
    """``raw`` as C-contiguous float32 [n, f]. Raises ValueError for another number of features than the bundle's."""
    raw = np.ascontiguousarray(raw, np.float32)
    if raw.ndim != 2 or raw.shape[1] != len(bundle.features):
        raise ValueError(f"features must be [n, {len(bundle.features)}], not {list(raw.shape)}")
    return raw


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
        _native.scatter(self._codes[node.id][label], rows, result.codes[depth])
        _native.scatter(confidence, rows, result.confidence[depth])
        _native.scatter(energy, rows, result.energy[depth])
        if not node.children:
            return
        order, bounds = _native.partition(label, len(node.labels))
        for i, name in enumerate(node.labels):
            child = node.children.get(name)
            if child is not None and bounds[i] < bounds[i + 1]:
                self._run_node(child, raw, rows[order[bounds[i] : bounds[i + 1]]], depth + 1, result)


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


def open_cascade(bundle: Bundle, choice: Choice, *, block: int = 1024, threads: int = 1) -> Cascade:
    """The cascade of a bundle on a backend: fused where the backend can, else routed over its engines.

    Raises BackendError.
    """
    if choice.backend == "native":
        from etcc_edge.engines import native

        return FusedCascade(bundle, native.open_fused(bundle, choice.precision, block=block, threads=threads))
    opener = BACKENDS[choice.backend].opener(bundle, choice.precision)
    return RoutedCascade(bundle, opener, block=block, threads=threads)
