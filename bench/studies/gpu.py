"""Everything that only a GPU can show, in one go: ``python -m etcc_edge.bench.studies.gpu FLOWS -o RESULTS.json``.

Builds every engine of a bundle that this machine's GPU can have, compares it with ONNX Runtime at fp32 on the
flows, and times it with CUDA events.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.fit import Flows, read_flows
from etcc_edge.bundle.precision import Precision
from etcc_edge.engines import onnxruntime
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.gate import compare
from etcc_edge.engines.gpu.cuda import CudaEngine, first_gpu
from etcc_edge.errors import EtccError

BATCHES = (1, 16, 256, 1024, 4096)


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
    results: dict[str, Any] = {
        "device": gpu.name,
        "compute_capability": gpu.capability,
        "driver": gpu.driver,
        "python": platform.python_version(),
        "bundle": loaded.name,
        "flows": len(known.raw),
        "engines": [],
    }
    for backend in ("tensorrt", "tensorrt-rtx"):
        if reason := BACKENDS[backend].why_not():
            click.echo(f"{backend}: {reason}", err=True)
            continue
        for precision in BACKENDS[backend].precisions:
            figures = {"backend": backend, "precision": precision}
            try:
                figures |= measure(loaded, backend, precision, known)
            except EtccError as error:
                figures["refused"] = str(error)
            results["engines"].append(figures)
            click.echo(json.dumps(figures))
    Path(output).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(bundle: Bundle, backend: str, precision: Precision, flows: Flows) -> dict[str, Any]:
    """Drift from ONNX Runtime at fp32 on the flows, and latency by network and batch. Raises BackendError."""
    engines: dict[str, Engine] = {}
    seconds = {}
    opener = BACKENDS[backend].opener(bundle, precision)
    for node in bundle.nodes():
        start = time.perf_counter()
        engines[node.id] = opener(node)
        seconds[node.id] = time.perf_counter() - start
    comparison = compare(
        bundle,
        lambda node: onnxruntime.open_engine(bundle, node, "fp32"),
        lambda node: engines[node.id],
        flows.raw,
        flows.protocol,
        flows.application,
    )
    return {
        "open_seconds": seconds,
        "agreement": comparison.cascade.agreement,
        "change_points": comparison.cascade.change,
        "networks": {name: vars(drift) for name, drift in comparison.networks.items()},
        "verdict": comparison.verdict() or "passed",
        "latency": {
            node.id: latency_by_batch(engines[node.id], node.scaler.transform(flows.raw)) for node in bundle.nodes()
        },
    }


def latency_by_batch(engine: Engine, scaled: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, dict[str, float]]:
    """By batch: milliseconds of the GPU alone (CUDA events), and of a whole call with its copies."""
    made: dict[str, dict[str, float]] = {}
    for batch in BATCHES:
        rows = np.ascontiguousarray(np.resize(scaled, (batch, scaled.shape[1])))
        engine.run(rows)
        calls = []
        for _ in range(50):
            start = time.perf_counter()
            engine.run(rows)
            calls.append(1000 * (time.perf_counter() - start))
        made[str(batch)] = {f"call_ms_p{p}": float(np.percentile(calls, p)) for p in (50, 95, 99)}
        if isinstance(engine, CudaEngine):
            gpu = engine.milliseconds(rows)
            made[str(batch)] |= {f"gpu_ms_p{p}": float(np.percentile(gpu, p)) for p in (50, 95, 99)}
        made[str(batch)]["flows_per_s"] = 1000 * batch / made[str(batch)]["call_ms_p50"]
    return made


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.gpu")
