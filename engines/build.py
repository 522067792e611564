"""Engines for this machine and for named GPUs: built, measured against fp32, and let through or kept out."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.bundle.seen import Flows
from etcc_edge.errors import BackendError

from . import onnxruntime
from .backends import BACKENDS
from .engine import Engine
from .gate import MAX_DRIFT, Comparison, Drift, compare, recorded
from .gpu import tensorrt_rtx
from .gpu.cache import EngineCache
from .gpu.compile import version_of
from .gpu.cuda import first_gpu
from .gpu.plan import EnginePlan, engine_plan
from .measured import Recommendation, read, save

WHOLE = "end to end"
# How two engines are timed against each other.
_TIMED_FLOWS = 256
_TIMED_TURNS = 9
_CALLS_A_TURN = 4


@dataclass(frozen=True)
class Row:
    """One engine, or with network `WHOLE` all of one precision. ``drift`` from fp32: measured here, or ``recorded`` at
    training. ``passed`` is None where it was not gated here."""

    network: str
    precision: str
    backend: str
    target: str
    size: int = 0  # bytes
    seconds: float = 0.0
    drift: Drift | None = None
    recorded: bool = False
    speed: float | None = None  # times fp32's on the same backend, paired
    verdict: str = ""
    passed: bool | None = None


@dataclass(frozen=True)
class Judgement:
    """One precision on one backend and target: a row a network, none where one of them could not be built, and
    whether it may be taken. ``passed`` is None where it was not gated here."""

    backend: str
    target: str
    precision: str
    networks: Sequence[Row] = ()
    drift: Drift | None = None
    recorded: bool = False
    passed: bool | None = None
    reason: str = ""  # what keeps it out, or why it was not gated

    @property
    def kept_out(self) -> bool:
        return self.passed is False

    def by_flows(self, comparison: Comparison, max_drift: float) -> Judgement:
        """Gated by a comparison with fp32."""
        failure = comparison.verdict(max_drift)
        return replace(self._drifted(comparison), passed=not failure, reason=failure)

    def by_record(self, comparison: Comparison, max_drift: float) -> Judgement:
        """Not gated here, with the drift that was measured at training; kept out where that was too much."""
        drifted = replace(self._drifted(comparison), recorded=True)
        failure = comparison.verdict(max_drift)
        return replace(drifted, passed=False, reason=f"at training {failure}") if failure else drifted

    def _drifted(self, comparison: Comparison) -> Judgement:
        networks = [replace(row, drift=comparison.networks.get(row.network)) for row in self.networks]
        return replace(self, networks=networks, drift=comparison.cascade)

    def rows(self, taken: bool) -> list[Row]:
        """Its networks, and all of it as one; ``taken``: it is the precision to use."""
        whole = Row(
            WHOLE,
            self.precision,
            self.backend,
            self.target,
            sum(row.size for row in self.networks),
            sum(row.seconds for row in self.networks),
            self.drift,
            verdict=self._verdict(taken),
        )
        return [replace(row, passed=self.passed, recorded=self.recorded) for row in (*self.networks, whole)]

    def _verdict(self, taken: bool) -> str:
        if self.kept_out:
            return f"kept out: {self.reason}"
        verdict = self.reason if self.passed is None else "passed" if taken else "passed, not the first"
        slow = [row.network for row in self.networks if row.speed is not None and row.speed < 1]
        return verdict + (f"; slower than fp32 in {', '.join(slow)}" if slow else "")


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

    def add(self, key: str, judgements: Sequence[Judgement]) -> None:
        """What was built for one backend and target, in order of preference: the first that is not kept out is
        taken."""
        taken = next((judgement for judgement in judgements if not judgement.kept_out), None)
        self.taken[key] = taken.precision if taken else None
        for judgement in judgements:
            self.rows += judgement.rows(judgement is taken)


def build_engines(
    bundle: Bundle,
    *,
    precisions: Sequence[Precision] = (),
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
    builder = _Builder(bundle, flows, max_drift, tell)
    outcome, absent = Outcome(), []

    def wanted(backend: str) -> list[Precision]:
        return [p for p in BACKENDS[backend].preference if not precisions or p in precisions]

    for backend in here:
        reasons = {precision: BACKENDS[backend].why_not(bundle, precision) for precision in wanted(backend)}
        if able := [precision for precision, reason in reasons.items() if not reason]:
            outcome.add(f"{backend} {BACKENDS[backend].device}", builder.here(backend, able))
            outcome.notes += [f"{backend} has no {p} here: {reason}" for p, reason in reasons.items() if reason]
        else:
            absent += [f"{backend}: {reason}" for reason in dict.fromkeys(reasons.values())]
    for capability in targets:
        judgements = builder.compiled(capability, wanted("tensorrt-rtx"), cache or EngineCache())
        outcome.add(f"tensorrt-rtx sm{capability}", judgements)
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
        save(bundle, replace(kept, gated={**kept.gated, **gated}))


@dataclass(frozen=True)
class _Builder:
    """Builds the engines of one bundle, and judges them on the flows, or without any by the bundle's record."""

    bundle: Bundle
    flows: Flows | None
    max_drift: float
    tell: Callable[[str], None]

    def here(self, backend: str, precisions: Sequence[Precision]) -> list[Judgement]:
        """A judgement a precision, of a backend on this machine."""
        reference: dict[str, Engine] = {
            node.id: onnxruntime.open_engine(self.bundle, node, "fp32") for node in self.bundle.nodes()
        }
        # The native engine is timed as a whole cascade (see bench/README.md), where scaler and network are one.
        own_fp32 = reference if backend == "onnxruntime" else {}
        if BACKENDS[backend].device == "gpu":
            with contextlib.suppress(BackendError):  # a GPU without fp32 has nothing to be faster than
                opener = BACKENDS[backend].opener(self.bundle, "fp32")
                own_fp32 = {node.id: opener(node) for node in self.bundle.nodes()}
        return [self._opened(backend, precision, reference, own_fp32) for precision in precisions]

    def _opened(
        self, backend: str, precision: Precision, reference: Mapping[str, Engine], own_fp32: Mapping[str, Engine]
    ) -> Judgement:
        """``reference`` has the engines by node id whose labels are compared, ``own_fp32`` those whose speed is."""
        judgement = Judgement(backend, BACKENDS[backend].device, precision, reason="not gated here")
        rows: list[Row] = []
        engines: dict[str, Engine] = {}
        try:
            for node in self.bundle.nodes():
                self.tell(f"{node.id} at {precision} with {backend}")
                start = time.perf_counter()
                engines[node.id] = BACKENDS[backend].opener(self.bundle, precision)(node)
                seconds = time.perf_counter() - start
                size = len(self.bundle.onnx[node.id, precision]) if backend == "onnxruntime" else 0
                speed = None
                if precision != "fp32" and node.id in own_fp32:
                    speed = _speed(own_fp32[node.id], engines[node.id], node.scaler.inputs)
                rows.append(Row(node.id, precision, backend, judgement.target, size, seconds, speed=speed))
        except BackendError as error:
            return replace(judgement, passed=False, reason=str(error))
        judgement = replace(judgement, networks=rows)
        if self.flows is not None:
            self.tell(f"comparing {precision} with fp32")
            comparison = compare(
                self.bundle,
                lambda node: reference[node.id],
                lambda node: engines[node.id],
                self.flows.raw,
                self.flows.protocol,
                self.flows.application,
            )
            return judgement.by_flows(comparison, self.max_drift)
        if backend == "native":
            return judgement  # it makes its codes itself, so the record of the ONNX files is not about them
        form = precision if judgement.target == "cpu" else _planned(backend, precision).form
        return self._by_record(judgement, form)

    def compiled(self, capability: int, precisions: Sequence[Precision], cache: EngineCache) -> list[Judgement]:
        """A judgement a precision, of TensorRT-RTX for GPUs of one compute capability."""
        return [self._compiled(capability, precision, cache) for precision in precisions]

    def _compiled(self, capability: int, precision: Precision, cache: EngineCache) -> Judgement:
        backend, target = "tensorrt-rtx", f"sm{capability}"
        judgement = Judgement(backend, target, precision, reason="compiled, not run")
        gpu_plan = tensorrt_rtx.planned(capability, precision)
        rows: list[Row] = []
        try:
            if not gpu_plan.supported:
                raise BackendError(gpu_plan.refusal)
            for node in self.bundle.nodes():
                self.tell(f"{node.id} at {precision} for {target}")
                engine = tensorrt_rtx.compiled(self.bundle, node, precision, capability, cache)
                verdict = f"built again: {engine.refused}" if engine.refused else ""
                rows.append(Row(node.id, precision, backend, target, len(engine.data), engine.seconds, verdict=verdict))
        except BackendError as error:
            return replace(judgement, passed=False, reason=str(error))
        return self._by_record(replace(judgement, networks=rows), gpu_plan.form)

    def _by_record(self, judgement: Judgement, form: str) -> Judgement:
        """By the bundle's record of the ONNX files that the engines are built from."""
        if judgement.precision == "fp32":
            reference = "; the reference" if judgement.backend == "onnxruntime" else ""
            return replace(judgement, reason=judgement.reason + reference)
        comparison = recorded(self.bundle, form)
        return judgement if comparison is None else judgement.by_record(comparison, self.max_drift)


def _planned(backend: str, precision: Precision) -> EnginePlan:
    """For this machine's GPU."""
    library = importlib.import_module(backend.replace("-", "_"))
    return engine_plan(backend, version_of(library), first_gpu().capability, precision)


def _speed(reference: Engine, other: Engine, inputs: int) -> float:
    """How many times faster the other is: the median over turns, the two taking turns to be first."""
    scaled = np.random.default_rng(0).random((_TIMED_FLOWS, inputs), np.float32)
    ratios = []
    for turn in range(_TIMED_TURNS + 1):
        seconds = {}
        for engine in (reference, other) if turn % 2 else (other, reference):
            start = time.perf_counter()
            for _ in range(_CALLS_A_TURN):
                engine.run(scaled)
            seconds[engine] = time.perf_counter() - start
        ratios.append(seconds[reference] / seconds[other])
    return float(np.median(ratios[1:]))  # the first turn warms up


def _what_a_gpu_would_add() -> str:
    if reason := tensorrt_rtx.why_not_compile():
        return f"for a GPU: {reason}; with it --target sm75,sm86,sm89 compiles fp16 and int8 on any machine"
    return "for a GPU: name it with --target, sm75,sm86,sm89 say; fp16 and int8 compile on any machine"
