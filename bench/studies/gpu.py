"""Everything that only a GPU can show, in one go: ``python -m etcc_edge.bench.studies.gpu FLOWS -o RESULTS.json``.

Builds every engine of a bundle that this machine's GPU can have, compares it with ONNX Runtime at fp32 on the
flows, and times it with CUDA events.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.bundle.seen import Flows, read_flows
from etcc_edge.engines import onnxruntime
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.gate import compare
from etcc_edge.engines.gpu.cuda import CudaEngine, first_gpu
from etcc_edge.errors import EtccError

from ..figures import GpuLatency
from ..report.plain import plain

BATCHES = (1, 16, 256, 1024, 4096)


@dataclass(kw_only=True)
class NetworkAgreement:
    """Of one network with ONNX Runtime at fp32. Shares are fractions; accuracies are None without labels."""

    flows: int
    agreement: float
    accuracy: float | None
    reference_accuracy: float | None


@dataclass(kw_only=True)
class Measured:
    """Of one backend and precision, by node id; ``latency`` also by batch size."""

    open_seconds: dict[str, float]
    agreement: float
    change_points: float | None
    networks: dict[str, NetworkAgreement]
    verdict: str
    latency: dict[str, dict[str, GpuLatency]]


@dataclass(kw_only=True)
class EngineFigures:
    """The ``figures`` of an engine stand among its keys, or it says why it was ``refused``."""

    backend: str
    precision: str
    figures: Measured | None = field(metadata={"inline": lambda _: Measured})
    refused: str = ""


@dataclass(kw_only=True)
class Results:
    device: str
    compute_capability: int
    driver: str
    python: str
    bundle: str
    flows: int
    engines: list[EngineFigures]


@click.command()
@click.argument("flows")
@click.option("--bundle", default="default", show_default=True, metavar="NAME|PATH")
@click.option("-o", "output", required=True, metavar="RESULTS.json", help="Where the figures go.")
def main(flows: str, bundle: str, output: str) -> None:
    """Build, compare and time every engine of BUNDLE on this machine's GPU.

    \b
    Example:
      python -m etcc_edge.bench.studies.gpu flows.csv -o bench/results/gpu.json
    """
    try:
        gpu, loaded = first_gpu(), load_bundle(bundle)
        known = read_flows(flows, loaded)
    except EtccError as error:
        raise click.ClickException(str(error)) from error
    results = Results(
        device=gpu.name,
        compute_capability=gpu.capability,
        driver=gpu.driver,
        python=platform.python_version(),
        bundle=loaded.name,
        flows=len(known.raw),
        engines=[],
    )
    for backend in ("tensorrt", "tensorrt-rtx"):
        if reason := BACKENDS[backend].why_not():
            click.echo(f"{backend}: {reason}", err=True)
            continue
        for precision in BACKENDS[backend].precisions:
            engine = EngineFigures(backend=backend, precision=precision, figures=None)
            try:
                engine.figures = measure(loaded, backend, precision, known)
            except EtccError as error:
                engine.refused = str(error)
            results.engines.append(engine)
            click.echo(json.dumps(plain(engine)))
    Path(output).write_text(json.dumps(plain(results), indent=1) + "\n", encoding="utf-8")


def measure(bundle: Bundle, backend: str, precision: Precision, flows: Flows) -> Measured:
    """Drift from ONNX Runtime at fp32 on the flows, and latency by network and batch. Raises BackendError."""
    engines: dict[str, Engine] = {}
    open_seconds = {}
    opener = BACKENDS[backend].opener(bundle, precision)
    for node in bundle.nodes():
        start = time.perf_counter()
        engines[node.id] = opener(node)
        open_seconds[node.id] = time.perf_counter() - start
    comparison = compare(
        bundle,
        lambda node: onnxruntime.open_engine(bundle, node, "fp32"),
        lambda node: engines[node.id],
        flows.raw,
        flows.protocol,
        flows.application,
    )
    return Measured(
        open_seconds=open_seconds,
        agreement=comparison.cascade.agreement,
        change_points=comparison.cascade.change,
        networks={name: NetworkAgreement(**vars(drift)) for name, drift in comparison.networks.items()},
        verdict=comparison.verdict() or "passed",
        latency={
            node.id: latency_by_batch(engines[node.id], node.scaler.transform(flows.raw)) for node in bundle.nodes()
        },
    )


def latency_by_batch(engine: Engine, scaled: F32) -> dict[str, GpuLatency]:
    """By batch size, on ``scaled`` inputs repeated as often as that takes."""
    return {str(batch): _latency(engine, np.resize(scaled, (batch, scaled.shape[1]))) for batch in BATCHES}


def _latency(engine: Engine, rows: F32) -> GpuLatency:
    engine.run(rows)
    calls = []
    for _ in range(50):
        start = time.perf_counter()
        engine.run(rows)
        calls.append(1000 * (time.perf_counter() - start))
    p50, p95, p99 = (float(np.percentile(calls, percent)) for percent in (50, 95, 99))
    latency = GpuLatency(call_ms_p50=p50, call_ms_p95=p95, call_ms_p99=p99, flows_per_s=1000 * len(rows) / p50)
    if isinstance(engine, CudaEngine):
        gpu = engine.milliseconds(rows)
        latency.gpu_ms_p50, latency.gpu_ms_p95, latency.gpu_ms_p99 = (
            float(np.percentile(gpu, percent)) for percent in (50, 95, 99)
        )
    return latency


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.gpu")
