"""A live run for whoever watches it: Prometheus's metrics, a health check, and a page of the last hour."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from operator import add
from typing import Any

from etcc_edge.errors import EtccError
from etcc_edge.serve.counters import LATENCY_BOUNDS
from etcc_edge.serve.live import Live
from etcc_edge.serve.system import resident_bytes

SAMPLE_SECONDS = 10.0
_SAMPLES = 361  # an hour
_REQUEST_SECONDS = 10.0
_MOST_CONNECTIONS = 32  # at once; the descriptors are needed elsewhere too
_PREFIX = "etcc_edge_"


class History:
    """What counters said every `SAMPLE_SECONDS` of the last hour."""

    def __init__(self, live: Live, name: str) -> None:
        self._live = live
        self._name = name
        self._samples: deque[dict[str, Any]] = deque(maxlen=_SAMPLES)
        self._last = -SAMPLE_SECONDS

    def tick(self) -> None:
        """Takes a sample where it is time."""
        if time.monotonic() - self._last >= SAMPLE_SECONDS:
            self._last = time.monotonic()
            self._samples.append(self._sample())

    def json(self) -> bytes:
        """The samples and what stands now, for the page."""
        bundle = self._live.classifier.bundle
        state = {
            "interface": self._name,
            "bundle": bundle.name,
            "bundle_hash": self._live.digest[:16],
            "sink": self._live.sink.place,
            "stalled": self._live.sink.stalled,
            "samples": [*self._samples, self._sample()],
        }
        return json.dumps(state).encode()

    def _sample(self) -> dict[str, Any]:
        live, counts = self._live, self._live.counts
        workers = reduce(add, live.worker_counts())
        with counts.lock:
            labels = [[*names, c.flows, c.packets, c.bytes] for names, c in sorted(counts.labels.items())]
            return {
                "time": time.time(),
                "received": workers.ring.received,
                "dropped": workers.ring.dropped,
                "open": workers.open,
                "evicted": workers.evicted,
                "ended": counts.ended,
                "unlabelled": counts.unlabelled,
                "lost": counts.lost,
                "outside": counts.outside,
                "waiting": live.waiting,
                "memory": resident_bytes(),
                "latency": counts.latency.tolist(),
                "labels": labels,
            }


class _Collector:
    """Gives a run's counters to Prometheus's library when it is asked for them."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        live, counts = self._live, self._live.counts

        def counter(name: str, text: str, value: float) -> Any:
            return CounterMetricFamily(_PREFIX + name, text, value=value)

        def gauge(name: str, text: str, value: float) -> Any:
            return GaugeMetricFamily(_PREFIX + name, text, value=value)

        of_rings = {
            "packets_received": "Packets that passed the filter and were read.",
            "packets_dropped": "Packets for which the ring had no room.",
            "ring_full": "Times that the ring was full.",
        }
        families = {
            name: CounterMetricFamily(_PREFIX + name, text, labels=["worker"]) for name, text in of_rings.items()
        }
        workers = live.worker_counts()
        for i, worker in enumerate(workers):
            ring = worker.ring
            for family, value in zip(families.values(), (ring.received, ring.dropped, ring.ring_full), strict=True):
                family.add_metric([str(i)], value)
        yield from families.values()
        total = reduce(add, workers)
        skipped = CounterMetricFamily(_PREFIX + "packets_skipped", "Packets that belong to no flow.", labels=["reason"])
        for reason, value in total.skipped.items():
            skipped.add_metric([reason], value)
        yield skipped
        yield gauge("flows_open", "Flows that have not ended.", total.open)
        yield counter("flows_evicted", "Flows that ended early since too many were open.", total.evicted)
        yield counter("flows_single_packet", "Flows of one packet, which are not written.", total.lone)
        yield gauge("flows_waiting", "Flows that ended and are not written yet.", live.waiting)
        yield gauge("sink_stalled", "1 while records cannot be written.", bool(live.sink.stalled))
        bundle = live.classifier.bundle
        info = {"name": bundle.name, "sha256": live.digest}
        yield InfoMetricFamily(_PREFIX + "bundle", "The bundle that labels flows.", value=info)
        with counts.lock:
            yield counter("flows_ended", "Flows that ended and were written.", counts.ended)
            yield counter("flows_unlabelled", "Flows written without labels: labelling fell behind.", counts.unlabelled)
            yield counter("flows_lost", "Flows that were not written: the sink fell behind.", counts.lost)
            yield counter("early_records", "Records of flows that were open.", counts.early)
            yield counter("flows_outside_range", "Flows beyond the range that was trained on.", counts.outside)
            levels = list(bundle.levels)
            by_label = [
                CounterMetricFamily(_PREFIX + name, text, labels=levels)
                for name, text in (
                    ("labelled_flows", "Flows by label."),
                    ("labelled_packets", "Packets of flows by label."),
                    ("labelled_bytes", "Bytes of payload of flows by label."),
                )
            ]
            for names, label in counts.labels.items():
                for family, value in zip(by_label, (label.flows, label.packets, label.bytes), strict=True):
                    family.add_metric(names, value)
            yield from by_label
            below = counts.latency.cumsum().tolist()
            bounds = [*map(str, LATENCY_BOUNDS), "+Inf"]
            yield HistogramMetricFamily(
                _PREFIX + "latency_seconds",
                "From a flow's end to its record.",
                buckets=list(zip(bounds, below, strict=True)),
                sum_value=counts.latency_sum,
            )


class Server:
    """Takes a port of ``host``; serves ``/metrics``, ``/health``, ``/`` and ``/history`` there from `start` on. Raises
    EtccError where that is not free, or Prometheus's library is absent."""

    def __init__(self, host: str, port: int) -> None:
        try:
            import prometheus_client  # noqa: F401
        except ImportError as error:
            raise EtccError("--metrics: needs prometheus-client: pip install 'etcc-edge[live]'") from error

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            places = threading.Semaphore(_MOST_CONNECTIONS)

            def process_request(self, request: Any, client_address: Any) -> None:
                if not self.places.acquire(blocking=False):
                    self.shutdown_request(request)
                    return
                try:
                    super().process_request(request, client_address)
                except BaseException:  # no thread began
                    self.places.release()
                    raise

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    self.places.release()

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exc_info()[1], OSError):  # those are of clients that left
                    super().handle_error(request, client_address)

        shown = f"[{host}]" if ":" in host else host
        try:
            self._listener = Listener((host, port), BaseHTTPRequestHandler)
        except (OSError, UnicodeError) as error:
            raise EtccError(f"--metrics {shown}:{port}: {getattr(error, 'strerror', None) or error}") from error
        self.address = f"{shown}:{self._listener.server_address[1]}"

    def start(self, live: Live, history: History) -> None:
        """Answers from now on."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(live))
        ProcessCollector(registry=registry)
        page = resources.files("etcc_edge.serve").joinpath("page.html").read_bytes()
        text = "text/plain; charset=utf-8"

        def answer(path: str) -> tuple[int, str, bytes]:
            if path == "/":
                return 200, "text/html; charset=utf-8", page
            if path == "/metrics":
                return 200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)
            if path == "/history":
                return 200, "application/json", history.json()
            if path == "/health":
                return (200, text, b"at work\n") if live.is_at_work() else (503, text, b"stuck\n")
            return 404, text, b"there are /, /metrics, /health and /history\n"

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_SECONDS
            server_version = "etcc-edge"
            sys_version = ""

            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                with contextlib.suppress(OSError):  # of a client that left
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Cache-Control", "no-store")
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._listener.RequestHandlerClass = Handler
        threading.Thread(target=self._listener.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
