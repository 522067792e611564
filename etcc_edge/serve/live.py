"""Packets to labelled records until told to stop: workers capture and meter, one thread labels and writes.

Capture never waits for labels. Ended flows wait in a queue; where it is longer than its limit, flows are written
without labels until it is short again, and beyond twice the limit they are counted as lost.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from etcc_edge import _native
from etcc_edge.arrays import F64, I64, Bools
from etcc_edge.engines.result import Result
from etcc_edge.errors import BundleError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer.classifier import Classifier
from etcc_edge.meter.interface import RingCounts
from etcc_edge.serve.counters import FlowCounts, WorkerCounts
from etcc_edge.serve.metering import Metered, Metering
from etcc_edge.serve.records import RecordFormat
from etcc_edge.serve.sinks import Sink

WAIT_MILLISECONDS = 100
_PART = 2048  # flows that are labelled and written at once
_TICK_SECONDS = 0.25
_COUNT_SECONDS = 0.5  # between two readings of a worker's counts
_STUCK_SECONDS = 30.0
_ASKED_FLOWS = 256  # of a new bundle


class PacketSource(Protocol):
    """A worker's packets, such as a `PacketRing`."""

    clock_step: int

    def capture(self, meter: _native.Meter, milliseconds: int) -> int: ...

    def count(self) -> RingCounts: ...

    def stop(self) -> None: ...


class Live:
    """``sources``: one for each worker. ``queue_limit`` in flows. ``told`` gets lines for the log.

    `start`, then `stop`. ``digest``: of the bundle. ``failed``: why a thread ended; None while all run.
    """

    def __init__(
        self,
        sources: Sequence[PacketSource],
        metering: Metering,
        classifier: Classifier,
        records: RecordFormat,
        sink: Sink,
        *,
        queue_limit: int,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.classifier = classifier
        self.digest = classifier.bundle.digest()
        self.metering = metering
        self.sink = sink
        self.counts = FlowCounts()
        self.failed: BaseException | None = None
        self._told = told
        self._sources = sources
        self._records = records
        self._queue_limit = queue_limit
        self._queue: queue.SimpleQueue[_native.Flows | None] = queue.SimpleQueue()
        self._waiting = 0
        self._ended = 0  # flows, whatever became of them
        self._waiting_lock = threading.Lock()
        self._stopping = threading.Event()
        self._metered = Metered(metering.profile, records.identity)
        self._of_workers = [WorkerCounts() for _ in sources]
        self._alive = [time.monotonic()] * (len(sources) + 1)  # when each thread was last at work; the labeller last
        self._workers = [
            threading.Thread(target=self._run, args=(self._capture, i), name=f"capture-{i}", daemon=True)
            for i in range(len(sources))
        ]
        self._labeller = threading.Thread(target=self._run, args=(self._label, -1), name="label", daemon=True)

    def start(self) -> None:
        """Packets are captured from now on. Opens the engines first."""
        self.classifier.open()
        for thread in (*self._workers, self._labeller):
            thread.start()

    def stop(self, seconds: float) -> bool:
        """Captures no more, labels and writes what is open and waits, within ``seconds``; whether all was written."""
        until = time.monotonic() + seconds
        self._stopping.set()
        for thread in self._workers:
            thread.join(max(0.0, until - time.monotonic()))
        self._queue.put(None)
        self._labeller.join(max(0.0, until - time.monotonic()))
        self.sink.give_up = True
        self._labeller.join(2.0)
        if not self._labeller.is_alive():
            self.sink.close()
        with self._waiting_lock:
            left, self._waiting = self._waiting, 0
            self.counts.lost = self._ended - self.counts.ended
        return not left

    def replace_classifier(self, classifier: Classifier) -> None:
        """The next flows get their labels from another bundle, which has opened and answered already. Raises
        BundleError where it needs other flows, or has other levels of labels."""
        old, new = self.classifier.bundle, classifier.bundle
        metering = self.metering
        if Metering.of(new, metering.max_flows, metering.after) != metering:
            raise BundleError(f"bundle {new.name} was trained on flows that are cut in another way; start anew with it")
        if new.levels != old.levels:
            raise BundleError(f"bundle {new.name} has other kinds of labels; start anew with it")
        check_answers(classifier)
        self.digest = new.digest()
        self.classifier = classifier

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return self._waiting

    def worker_counts(self) -> list[WorkerCounts]:
        """Of each worker."""
        return list(self._of_workers)

    def is_at_work(self) -> bool:
        """Whether every thread has been at work lately. One whose records wait for the sink is."""
        alive = self._alive[:-1] if self.sink.stalled else self._alive
        return self.failed is None and time.monotonic() - min(alive) < _STUCK_SECONDS

    def _run(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self.failed = error

    def _capture(self, number: int) -> None:
        source, metering = self._sources[number], self.metering
        meter = _native.Meter(
            metering.profile,
            round(metering.timeout * 1e6),
            False,
            max(1, metering.max_flows // len(self._sources)),
            secrets.randbits(64),
            after_packets=metering.after.packets,
            after_time=round(metering.after.seconds * 1e6),
        )
        counted = 0.0
        while not self._stopping.is_set():
            meter.expire(source.capture(meter, WAIT_MILLISECONDS))
            self._hand_on(meter, source)
            self._alive[number] = time.monotonic()
            if self._alive[number] - counted > _COUNT_SECONDS:
                counted = self._alive[number]
                self._count(number, meter)
        source.stop()
        source.capture(meter, WAIT_MILLISECONDS)
        self._hand_on(meter, source)
        meter.finish()
        self._hand_on(meter, source, last=True)
        self._count(number, meter)

    def _hand_on(self, meter: _native.Meter, source: PacketSource, *, last: bool = False) -> None:
        flows = meter.take(source.clock_step)
        n = len(flows)
        if not n:
            return
        ended = n - int(np.count_nonzero(flows.early))
        with self._waiting_lock:
            self._ended += ended
            is_full = not last and self._waiting + n > 2 * self._queue_limit
            if not is_full:
                self._waiting += n
        if is_full:
            with self.counts.lock:
                self.counts.lost += ended
        else:
            self._queue.put(flows)

    def _count(self, number: int, meter: _native.Meter) -> None:
        self._of_workers[number] = WorkerCounts(
            self._sources[number].count(), meter.packets, meter.skipped, meter.open, meter.evicted, meter.lone
        )

    def _label(self, number: int) -> None:
        while True:
            self._alive[number] = time.monotonic()
            try:
                ended = self._queue.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                self.sink.tick()
                continue
            if ended is None:
                return
            for begin in range(0, len(ended), _PART):
                if not self._write(ended.part(begin, min(begin + _PART, len(ended)))):
                    return
                self._alive[number] = time.monotonic()
            self.sink.tick()

    def _write(self, flows: _native.Flows) -> bool:
        """False where the sink was given up."""
        classifier = self.classifier
        falls_behind = self._waiting > self._queue_limit and not self._stopping.is_set()
        result = None if falls_behind else self._metered.labels(flows, classifier)
        lines = self._records.lines(self._metered.identity(flows), classifier.bundle, result)
        done = 0

        def reached(size: int) -> None:
            nonlocal done
            done = size

        try:
            self.sink.write(lines, reached)
        finally:  # also of what a reader got before it left
            self._count_written(flows, result, classifier.bundle.vocabulary(), lines.count(b"\n", 0, done))
        return done == len(lines)

    def _count_written(
        self, flows: _native.Flows, result: Result | None, vocabulary: tuple[tuple[str, ...], ...], n: int
    ) -> None:
        """Of the first n of the flows."""
        moment = time.time_ns() // 1000
        with self._waiting_lock:
            self._waiting -= n
        ended = ~flows.early & (np.arange(len(flows)) < n)
        totals = flows.totals()[ended]
        self.counts.early += n - len(totals)
        if len(totals):
            self.counts.add(totals, None if result is None else _some(result, ended), vocabulary)
            if not self._stopping.is_set():  # then flows end before they would
                self.counts.add_latency(self._latency(totals, moment))

    def _latency(self, totals: I64, written: int) -> F64:
        """float64 [n], seconds from a flow's end to its record: from its last packet, or from when its time was
        over."""
        over = totals[:, 0] + round(self.metering.timeout * 1e6)
        seconds: F64 = np.maximum(0, written - np.where(over <= written, over, totals[:, 1])) / 1e6
        return seconds


def _some(result: Result, rows: Bools) -> Result:
    if rows.all():
        return result
    outside = None if result.outside is None else result.outside[rows]
    return Result(
        result.levels,
        result.vocabulary,
        result.codes[:, rows],
        result.confidence[:, rows],
        result.energy[:, rows],
        outside,
    )


def check_answers(classifier: Classifier) -> None:
    """Lets a bundle label generated flows. Raises BundleError where one gets no protocol, or no finite confidence."""
    bundle = classifier.bundle
    with open(os.memfd_create("generated"), "w+") as file:
        file.writelines(sample_rows(_ASKED_FLOWS, seed=1))
        file.flush()
        with FlowFile(f"/proc/self/fd/{file.fileno()}") as flows:
            for batch in flows.batches(bundle.features):
                result = classifier.label(batch)
                if not (
                    np.all(result.codes[0][batch.valued] >= 0)
                    and np.isfinite(result.confidence[result.codes >= 0]).all()
                ):
                    raise BundleError(f"bundle {bundle.name} does not answer generated flows; mend it")
