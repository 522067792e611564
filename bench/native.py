"""The native cascade against ONNX Runtime's, paired: ``python -m etcc_edge.bench.native [cpu]`` (extra bench).

The networks are the paper's five CNNs on 41 features with random weights, and the shipped default bundle on
generated flows, at fp32 and at int8; where the native engine has no int8, its fp32 stands there. ONNX Runtime gets the
routed cascade at the best of several block sizes, the paper's networks quantized as bundles are. With ``cpu``, seconds
of processor time instead of wall clock, for a machine that others use too, and one thread only.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etcc_edge.bench.timing import Paired, Spread, time_paired
from etcc_edge.bundle import Bundle, FlowDefinition, Node, Scaler, load_bundle
from etcc_edge.bundle.network import Network, parameter_shapes
from etcc_edge.cascade import Cascade, open_cascade
from etcc_edge.engine import BACKENDS, Choice
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import export_precisions
from etcc_edge.flows.reader import FlowFile
from etcc_edge.flows.sample import sample_rows
from etcc_edge.training.networks import PAPER, network

F32 = npt.NDArray[np.float32]
Clock = Callable[[], float]

PROTOCOLS = ("Tor", "Non-Tor", "VPN", "Non-VPN")
APPLICATIONS = ("Audio", "Chat", "E-mail", "File transfer", "Video")
BLOCKS = (16, 64, 128, 256, 1024, 4096)
FLOWS = 4096


def paper_bundle(inputs: int = 41, seed: int = 0) -> Bundle:
    """The paper's networks, untrained, over min-max scaled features."""
    rng = np.random.default_rng(seed)
    weights: dict[str, F32] = {}
    onnx: dict[tuple[str, str], bytes] = {}
    ends = np.tile(np.array([0, 1], np.float32), inputs)
    starts = np.arange(0, 2 * inputs + 1, 2, dtype=np.int64)
    scaler = Scaler(np.arange(inputs, dtype=np.int64), starts, ends, ends, np.zeros(inputs, np.float32))

    def node(node_id: str, layers: Network, labels: tuple[str, ...], children: dict[str, Node]) -> Node:
        own = {
            name: rng.normal(0, np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1, shape).astype(np.float32)
            for name, shape in parameter_shapes(layers, inputs).items()
        }
        if children:  # so that random flows get every protocol
            probe = rng.random((512, inputs), np.float32)
            last = f"{len(layers) - 1}.bias"
            model = _session(build_onnx(layers, inputs, own).SerializeToString())
            own[last] = own[last] - model(probe).mean(axis=0)
        weights.update({f"{node_id}/{name}": array for name, array in own.items()})
        made = export_precisions(
            build_onnx(layers, inputs, own).SerializeToString(), *rng.random((2, 2048, inputs), np.float32)
        ).models
        onnx.update({(node_id, precision): made[precision] for precision in ("fp32", "int8")})
        return Node(node_id, labels, layers, scaler, 1.0, children)

    children = {
        name: node(f"stage2.{name.lower()}", network(PAPER["cnn"], name, inputs, 5), APPLICATIONS, {})
        for name in PROTOCOLS
    }
    root = node("stage1", network(PAPER["cnn"], "", inputs, 4), PROTOCOLS, children)
    names = tuple(f"feature {i}" for i in range(inputs))
    return Bundle(
        name="the paper's CNNs",
        levels=("protocol", "application"),
        features=names,
        units=("number",) * inputs,
        flow_definition=FlowDefinition("none", 0.0),
        root=root,
        weights=weights,
        onnx=onnx,
        trained_rows=np.zeros(0, np.uint64),
        training={},
        metrics={},
        citations=(),
        license="",
        model_card="",
    )


def _session(model: bytes):  # type: ignore[no-untyped-def]
    from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model).run


def opened(bundle: Bundle, backend: str, block: int, threads: int = 1, precision: str = "fp32") -> Cascade:
    return open_cascade(bundle, Choice(backend, precision, ""), block=block, threads=threads)


def even_flows(bundle: Bundle, seed: int = 1) -> F32:
    """Random flows, as many of each protocol."""
    raw = np.random.default_rng(seed).random((16 * FLOWS, len(bundle.features)), np.float32)
    codes = opened(bundle, "native", 1024).run(raw).codes[0]
    share = FLOWS // len(PROTOCOLS)
    rows = [np.flatnonzero(codes == code)[:share] for code in range(len(PROTOCOLS))]
    if min(len(found) for found in rows) < share:
        raise SystemExit("too few random flows of some protocol")
    chosen: F32 = raw[np.random.default_rng(seed).permutation(np.concatenate(rows))]
    return chosen


def generated_flows(bundle: Bundle) -> F32:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.csv"
        path.write_text("".join(sample_rows(FLOWS, seed=3)))
        with FlowFile(path) as file:
            return np.concatenate([batch.features for batch in file.batches(bundle.features)])


def precisions(bundle: Bundle, backend: str) -> tuple[str, ...]:
    """Those of fp32 and int8 that the backend has for the bundle."""
    return tuple(p for p in ("fp32", "int8") if not BACKENDS[backend].why_not(bundle, p))


def throughput(bundle: Bundle, raw: F32, threads: int, clock: Clock) -> Paired:
    """Seconds of one pass over the flows, by backend, precision and ONNX Runtime's block size."""
    cascades = {
        f"onnxruntime {precision}, blocks of {block}": opened(bundle, "onnxruntime", block, threads, precision)
        for precision in precisions(bundle, "onnxruntime")
        for block in BLOCKS
    }
    for precision in precisions(bundle, "native"):
        cascades[f"native {precision}"] = opened(bundle, "native", 1024, threads, precision)
    return time_paired({name: lambda c=c: c.run(raw) for name, c in cascades.items()}, 15, 2, clock)  # type: ignore[misc]


def fastest(paired: Paired, *starts: str) -> str:
    """By median, of the contenders whose names start with the first of ``starts`` that any has."""
    for start in starts:
        if names := [name for name in paired.seconds if name.startswith(start)]:
            return min(names, key=lambda name: paired.seconds[name].median)
    raise ValueError(f"no contender {starts}")


def latency(bundle: Bundle, raw: F32, names: Sequence[str], clock: Clock, turns: int = 2000) -> Paired:
    """Seconds of one flow alone; ``names`` are backends with precisions, ``native int8`` say."""
    cascades = {name: opened(bundle, name.split()[0], 1024, 1, name.split()[1]) for name in names}
    flows = iter(np.resize(raw, (len(names) * (turns + 100), raw.shape[1]))[:, None, :])
    return time_paired({name: lambda c=c: c.run(next(flows)) for name, c in cascades.items()}, turns, 100, clock)  # type: ignore[misc]


def main(clock: Clock) -> None:
    for bundle, raw in (
        ((paper := paper_bundle()), even_flows(paper)),
        ((shipped := load_bundle("default")), generated_flows(shipped)),
    ):
        report: dict[str, object] = {"bundle": bundle.name}
        for threads in (1,) if clock is time.process_time else (1, 2):
            paired = throughput(bundle, raw, threads, clock)
            for precision in precisions(bundle, "onnxruntime"):
                pair = fastest(paired, f"native {precision}", "native"), fastest(paired, f"onnxruntime {precision}")
                report[f"flows a second at {precision}, {threads} thread(s)"] = {
                    **{name: round(len(raw) / paired.seconds[name].median) for name in pair},
                    "ratio": _three(paired.speed_up(*pair)),
                }
        ours = precisions(bundle, "native")
        for precision in precisions(bundle, "onnxruntime"):
            names = (f"native {precision if precision in ours else 'fp32'}", f"onnxruntime {precision}")
            paired = latency(bundle, raw, names, clock)
            for percent in (50, 99):
                each = {name: spread.percentile(percent) for name, spread in paired.seconds.items()}
                report[f"µs a flow alone at {precision}, p{percent}"] = {
                    **{name: round(seconds * 1e6, 1) for name, seconds in each.items()},
                    "ratio": round(each[names[1]] / each[names[0]], 2),
                }
        print(json.dumps(report, indent=2, ensure_ascii=False))


def _three(spread: Spread) -> list[float]:
    """Low, median, high."""
    return [round(value, 2) for value in (spread.low, spread.median, spread.high)]


if __name__ == "__main__":
    main(time.process_time if sys.argv[1:] == ["cpu"] else time.perf_counter)
