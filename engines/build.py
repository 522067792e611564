"""Engines for this machine and for named GPUs: built, measured against fp32, and let through or kept out."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etcc_edge.bundle.fit import Flows
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.errors import BackendError

from . import onnxruntime
from .backends import BACKENDS
from .engine import Engine
from .gate import MAX_DRIFT, Comparison, Drift, compare
from .gpu import tensorrt_rtx
from .gpu.cache import EngineCache
from .gpu.compile import version_of
from .gpu.cuda import first_gpu
from .gpu.plan import EnginePlan, engine_plan
from .measured import Recommendation, read, save

WHOLE = "end to end"
_NOT_RUN = "compiled, not run"


@dataclass(frozen=True)
class Row:
    """One engine, or with network `WHOLE` all of one precision. ``passed`` is None where it was not gated here."""

    network: str
    precision: str
    backend: str
    target: str
    size: int = 0  # bytes
    seconds: float = 0.0
    drift: str = ""
    speed: float | None = None  # times fp32's on the same backend, paired
    verdict: str = ""
    passed: bool | None = None


@dataclass
class Outcome:
    """``taken``: by backend and target the precision to use, or none where nothing passed."""

    rows: list[Row] = field(default_factory=list)
    taken: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Something passes for every backend and target."""
        return bool(self.taken) and all(self.taken.values())


def build_engines(
    bundle: Bundle,
    *,
    precisions: Sequence[str] = (),
    targets: Sequence[int] = (),
    here: Sequence[str] = tuple(BACKENDS),
    flows: Flows | None = None,
    max_drift: float = MAX_DRIFT,
    cache: EngineCache | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Builds with the backends of ``here`` that this machine has, for its CPU and GPU, and for ``targets``
    (compute capabilities); ``precisions`` empty means all.

    ``tell`` gets a line before each engine. Raises BackendError where a target is asked for and TensorRT-RTX is
    not installed, and where nothing is left to build. What one engine is refused for stands in its row.
    """
    if targets and (reason := tensorrt_rtx.why_not_compile()):
        raise BackendError(f"targets cannot be compiled for: {reason}")
    outcome, absent = Outcome(), []

    def wanted(backend: str) -> list[Precision]:
        return [p for p in BACKENDS[backend].preference if not precisions or p in precisions]

    for backend in here:
        reasons = {precision: BACKENDS[backend].why_not(bundle, precision) for precision in wanted(backend)}
        if able := [precision for precision, reason in reasons.items() if not reason]:
            _build_here(bundle, backend, able, flows, max_drift, outcome, tell)
            outcome.notes += [f"{backend} has no {p} here: {reason}" for p, reason in reasons.items() if reason]
        else:
            absent += [f"{backend}: {reason}" for reason in dict.fromkeys(reasons.values())]
    for capability in targets:
        _compile(bundle, wanted("tensorrt-rtx"), capability, max_drift, cache or EngineCache(), outcome, tell)
    if not outcome.taken:
        raise BackendError("nothing can be built here: " + "; ".join(absent))
    if not targets and not any(key.endswith(" gpu") for key in outcome.taken):
        outcome.notes.append(_what_a_gpu_would_add())
    return outcome


def keep_verdicts(bundle: Bundle, outcome: Outcome) -> None:
    """Lets ``auto`` take on this machine's GPU what passed there. Raises EtccError where that cannot be kept."""
    gated = {key.removesuffix(" gpu"): taken or "" for key, taken in outcome.taken.items() if key.endswith(" gpu")}
    if gated:
        kept = read(bundle)[0] or Recommendation()
        save(bundle, dataclasses.replace(kept, gated={**kept.gated, **gated}))


def _build_here(
    bundle: Bundle,
    backend: str,
    precisions: Sequence[Precision],
    flows: Flows | None,
    max_drift: float,
    outcome: Outcome,
    tell: Callable[[str], None],
) -> None:
    target = BACKENDS[backend].device
    reference: dict[str, Engine] = {node.id: onnxruntime.open_engine(bundle, node, "fp32") for node in bundle.nodes()}
    # The native engine is timed as a whole cascade (see bench/README.md), where scaler and network are one.
    own_fp32 = reference if backend == "onnxruntime" else {}
    outcome.taken[f"{backend} {target}"] = None
    if target == "gpu":
        with contextlib.suppress(BackendError):  # a GPU without fp32 has nothing to be faster than
            own_fp32 = {node.id: BACKENDS[backend].opener(bundle, "fp32")(node) for node in bundle.nodes()}
    for precision in precisions:
        rows: list[Row] = []
        engines: dict[str, Engine] = {}
        try:
            for node in bundle.nodes():
                tell(f"{node.id} at {precision} with {backend}")
                start = time.perf_counter()
                engines[node.id] = BACKENDS[backend].opener(bundle, precision)(node)
                seconds = time.perf_counter() - start
                size = len(bundle.onnx[node.id, precision]) if backend == "onnxruntime" else 0
                speed = None
                if precision != "fp32" and node.id in own_fp32:
                    speed = _speed(own_fp32[node.id], engines[node.id], node.scaler.inputs)
                rows.append(Row(node.id, precision, backend, target, size, seconds, speed=speed))
        except BackendError as error:
            outcome.rows.append(Row(WHOLE, precision, backend, target, verdict=f"kept out: {error}", passed=False))
            continue
        comparison = None
        if flows is not None:
            tell(f"comparing {precision} with fp32")
            comparison = compare(
                bundle,
                lambda node: reference[node.id],
                lambda node, made=engines: made[node.id],  # type: ignore[misc]
                flows.raw,
                flows.protocol,
                flows.application,
            )
        if backend == "native":
            onnx = ""  # it makes its codes itself
        else:
            onnx = precision if target == "cpu" or comparison else _planned(backend, precision).form
        outcome.rows += _judged(bundle, rows, comparison, precision, onnx, max_drift, outcome, "not gated here")


def _compile(
    bundle: Bundle,
    precisions: Sequence[Precision],
    capability: int,
    max_drift: float,
    cache: EngineCache,
    outcome: Outcome,
    tell: Callable[[str], None],
) -> None:
    backend, target = "tensorrt-rtx", f"sm{capability}"
    outcome.taken[f"{backend} {target}"] = None
    for precision in precisions:
        made = tensorrt_rtx.planned(capability, precision)
        rows: list[Row] = []
        try:
            if not made.supported:
                raise BackendError(made.refusal)
            for node in bundle.nodes():
                tell(f"{node.id} at {precision} for {target}")
                found = tensorrt_rtx.compiled(bundle, node, precision, capability, cache)
                said = found.refused and f"built again: {found.refused}"
                rows.append(
                    Row(node.id, precision, backend, target, len(found.data), found.seconds, verdict=said or "")
                )
        except BackendError as error:
            outcome.rows.append(Row(WHOLE, precision, backend, target, verdict=f"kept out: {error}", passed=False))
            continue
        outcome.rows += _judged(bundle, rows, None, precision, made.form, max_drift, outcome, _NOT_RUN)


def _planned(backend: str, precision: Precision) -> EnginePlan:
    """For this machine's GPU."""
    library = importlib.import_module(backend.replace("-", "_"))
    return engine_plan(backend, version_of(library), first_gpu().capability, precision)


def _judged(
    bundle: Bundle,
    rows: list[Row],
    comparison: Comparison | None,
    precision: str,
    onnx: str,
    max_drift: float,
    outcome: Outcome,
    without: str,
) -> list[Row]:
    """The rows with their drift, and one for the whole; the first precision that passes is taken."""
    first = rows[0]
    key = f"{first.backend} {first.target}"
    at_training = bundle.metrics.get("drift", {}).get(onnx)
    whole_drift, passed, reason = "", None, without
    drifts: Mapping[str, str] = {}
    if comparison is not None:
        drifts = {name: _said(drift) for name, drift in comparison.networks.items()}
        whole_drift, failure = _said(comparison.cascade), comparison.verdict(max_drift)
        passed, reason = not failure, failure
    elif precision == "fp32":
        reason = f"{without}; the reference" if first.backend == "onnxruntime" else without
    elif at_training is not None:
        drifts = {name: _said(_drift_of(figures)) for name, figures in at_training["networks"].items()}
        cascade = _drift_of(at_training["end_to_end"])
        whole_drift = f"at training: {_said(cascade)}"
        if failure := Comparison(cascade, {}).verdict(max_drift):
            passed, reason = False, f"at training {failure}"
    if passed is False:
        verdict = f"kept out: {reason}"
    elif outcome.taken[key] is None:
        outcome.taken[key] = precision
        verdict = "; ".join(filter(None, ("passed" if passed else "", reason)))
    else:
        verdict = "; ".join(filter(None, ("passed, not the first" if passed else "", reason)))
    slow = [row.network for row in rows if row.speed is not None and row.speed < 1]
    if slow and passed is not False:
        verdict += f"; slower than fp32 in {', '.join(slow)}"
    judged = [Row(**{**vars(row), "drift": drifts.get(row.network, ""), "passed": passed}) for row in rows]
    total = sum(row.size for row in rows), sum(row.seconds for row in rows)
    return [*judged, Row(WHOLE, precision, first.backend, first.target, *total, whole_drift, None, verdict, passed)]


def _drift_of(figures: Mapping[str, float]) -> Drift:
    """From a bundle's metrics, which hold the change and not the two accuracies."""
    change = figures.get("change_points")
    return Drift(
        int(figures["flows"]),
        float(figures["agreement"]),
        None if change is None else change / 100,
        None if change is None else 0.0,
    )


def _said(drift: Drift) -> str:
    agreement = f"{100 * drift.agreement:.2f} % agree"
    return agreement if drift.change is None else f"{drift.change:+.2f} points, {agreement}"


def _speed(reference: Engine, other: Engine, inputs: int, flows: int = 256, turns: int = 9) -> float:
    """How many times faster the other is: the median of paired turns, the two taking turns to be first."""
    scaled = np.random.default_rng(0).random((flows, inputs), np.float32)
    ratios = []
    for turn in range(turns + 1):
        seconds = {}
        for engine in (reference, other) if turn % 2 else (other, reference):
            start = time.perf_counter()
            for _ in range(4):
                engine.run(scaled)
            seconds[engine] = time.perf_counter() - start
        ratios.append(seconds[reference] / seconds[other])
    return float(np.median(ratios[1:]))


def _what_a_gpu_would_add() -> str:
    if reason := tensorrt_rtx.why_not_compile():
        return f"for a GPU: {reason}; with it --target sm75,sm86,sm89 compiles fp16 and int8 on any machine"
    return "for a GPU: name it with --target, sm75,sm86,sm89 say; fp16 and int8 compile on any machine"
