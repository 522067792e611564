"""What a live run has met and done since its start."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from etcc_edge.arrays import F64, I64
from etcc_edge.engines.result import Result
from etcc_edge.meter.interface import RingCounts

LATENCY_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds."""


@dataclass
class WorkerCounts:
    """Of one worker. ``ring``: what its ring received and dropped. ``packets`` were decoded, others ``skipped`` by
    reason. ``evicted`` flows ended early since too many were open; ``lone`` ones had one packet and are no flows."""

    ring: RingCounts = field(default_factory=RingCounts)
    packets: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    open: int = 0
    evicted: int = 0
    lone: int = 0

    def __add__(self, other: WorkerCounts) -> WorkerCounts:
        return WorkerCounts(
            self.ring + other.ring,
            self.packets + other.packets,
            dict(Counter(self.skipped) + Counter(other.skipped)),
            self.open + other.open,
            self.evicted + other.evicted,
            self.lone + other.lone,
        )


@dataclass
class LabelCounts:
    """Flows that ended with the same labels, their packets, and bytes of payload."""

    flows: int = 0
    packets: int = 0
    bytes: int = 0


class FlowCounts:
    """Of flows that ended. ``labels``: by protocol and application, empty where there was none. ``unlabelled`` were
    written without labels since labelling fell behind; ``lost`` were not written. ``early`` records are of flows that
    were open. ``outside``: flows with a feature beyond the range that the bundle was trained on. ``latency``: flows by
    the seconds from their end to their record, in `LATENCY_BOUNDS` and beyond; ``latency_sum`` of all.

    One thread adds, and holds ``lock`` meanwhile, as does who reads several.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.labels: dict[tuple[str, ...], LabelCounts] = {}
        self.ended = 0
        self.unlabelled = 0
        self.lost = 0
        self.early = 0
        self.outside = 0
        self.latency: I64 = np.zeros(len(LATENCY_BOUNDS) + 1, np.int64)
        self.latency_sum = 0.0

    def add(self, totals: I64, result: Result | None, vocabulary: tuple[tuple[str, ...], ...]) -> None:
        """Counts flows that ended. ``totals``: int64 [n, 4], as `Flows.totals`; ``result``: None where they were not
        labelled."""
        n = len(totals)
        with self.lock:
            self.ended += n
            if result is None:
                self.unlabelled += n
                return
            if result.outside is not None:
                self.outside += int(np.count_nonzero(result.outside))
            codes, place = np.unique(result.codes, axis=1, return_inverse=True)
            sums = np.zeros([codes.shape[1], 3], np.int64)
            np.add.at(sums, place.reshape(-1), np.column_stack([np.ones(n, np.int64), totals[:, 2:]]))
            for column, (flows, packets, size) in zip(codes.T.tolist(), sums.tolist(), strict=True):
                names = tuple(level[code] if code >= 0 else "" for level, code in zip(vocabulary, column, strict=True))
                counts = self.labels.setdefault(names, LabelCounts())
                counts.flows += flows
                counts.packets += packets
                counts.bytes += size

    def add_latency(self, seconds: F64) -> None:
        """Of flows whose records were written."""
        with self.lock:
            places = np.searchsorted(LATENCY_BOUNDS, seconds)
            self.latency += np.bincount(places, minlength=len(self.latency))
            self.latency_sum += float(seconds.sum())
