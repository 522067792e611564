"""Latencies by batch, of an engine that needs no GPU."""

from __future__ import annotations

import numpy as np

from etcc_edge.bench.report.plain import plain
from etcc_edge.bench.studies.gpu import BATCHES, latency_by_batch


class CountingEngine:
    """Notes the batches that it got."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, scaled: np.ndarray) -> np.ndarray:
        self.batches.append(len(scaled))
        return scaled


def test_every_batch_size_is_called_as_often_and_has_its_latency() -> None:
    engine = CountingEngine()
    latencies = latency_by_batch(engine, np.zeros((3, 2), np.float32))
    assert list(latencies) == [str(batch) for batch in BATCHES]
    assert [engine.batches.count(batch) for batch in BATCHES] == [51] * len(BATCHES)
    for batch, latency in latencies.items():
        assert 0 < latency.call_ms_p50 <= latency.call_ms_p95 <= latency.call_ms_p99
        assert latency.flows_per_s == 1000 * int(batch) / latency.call_ms_p50


def test_an_engine_on_no_gpu_has_no_latency_of_a_gpu() -> None:
    latency = latency_by_batch(CountingEngine(), np.zeros((3, 2), np.float32))["1"]
    assert list(plain(latency)) == ["call_ms_p50", "call_ms_p95", "call_ms_p99", "flows_per_s"]
