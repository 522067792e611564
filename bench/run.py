"""One bench: everything measured, in the order of what a reader wants first, into a report that grows."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.measured import Recommendation, read, save
from etcc_edge.infer.threads import usable_cpus

from . import drift, processes
from .contenders.backends import BACKEND, REFERENCE, REFERENCE_KEY, Contender, on_gpu
from .contenders.trees import TREES
from .figures import (
    MEASURED,
    NOT_AVAILABLE,
    SCHEMA,
    BundleUsed,
    ContenderFigures,
    DriftFigures,
    Failure,
    GpuLatency,
    Measurement,
    Noise,
    NoneRecommended,
    ProcessFigures,
    Recommended,
    Report,
    Roofline,
    Settings,
    StageFigures,
    TurnFigures,
)
from .machine import roofline
from .machine.environment import OthersWatch, environment
from .prepare import BenchPlan, Material, prepare
from .recommend import Candidate, recommend
from .speeds import MANY_THREADS_FROM, open_all, protocol_mix, serve_all, take_cells
from .stages import Stopwatch, fused_seconds, stage_figures, stage_seconds
from .studies.gpu import latency_by_batch
from .timing.turns import NOISY, one_line
from .underway import Progress, Underway, measurement

_RECORDED = ("native fp32", "onnxruntime fp32", "onnxruntime int8")  # backends whose drift training measured


class Bench:
    """A bench of ``plan``. ``report`` is None until the flows are ready, and holds what was measured whatever ends
    `run` early; it is then not ``complete``."""

    def __init__(self, plan: BenchPlan) -> None:
        self.plan = plan
        self.report: Report | None = None

    def run(self, progress: Progress = lambda *_: None) -> Report:
        """Raises EtccError for a bundle or flows that cannot be used; what one contender cannot do stands in its
        rows."""
        start = datetime.datetime.now(datetime.timezone.utc)
        bundle, others = load_bundle(self.plan.bundle), OthersWatch()
        with tempfile.TemporaryDirectory(prefix="etcc-edge-bench-") as folder:
            material = prepare(self.plan, bundle, Path(folder), lambda step: progress(step, 0, 1))
            self.report = report = _empty_report(self.plan, material, start.isoformat(timespec="seconds"))
            try:
                _measure(Underway(self.plan, report, material, progress))
                report.complete = True
            finally:
                report.noise = _noise(report.measurements, others.share())
        return report


def _empty_report(plan: BenchPlan, material: Material, start: str) -> Report:
    bundle = material.bundle
    return Report(
        schema=SCHEMA,
        complete=False,
        made=start,
        command=plan.command,
        left_out=list(plan.effort.left_out),
        settings=Settings(
            seed=plan.seed,
            seconds_a_cell=plan.effort.seconds,
            server_bound_ms=1000 * plan.bound_seconds,
            max_drift_points=plan.max_drift,
        ),
        environment=environment(),
        bundle=BundleUsed(name=bundle.name, hash=bundle.digest(), features=len(bundle.features)),
        flows=material.flows_used,
        contenders={contender.key: _empty_figures(contender) for contender in material.contenders},
        measurements=[],
    )


def _empty_figures(contender: Contender) -> ContenderFigures:
    return ContenderFigures(
        name=contender.name,
        precision=contender.precision,
        kind=contender.kind,
        status=NOT_AVAILABLE if contender.why_not else MEASURED,
        reason=contender.why_not,
        settings=contender.settings,
        chosen={},
        model_bytes=contender.size,
        drift=None,
    )


def _noise(measurements: Sequence[Measurement], others: float | None) -> Noise:
    spreads = [row.figures.spread for row in measurements if isinstance(row.figures, TurnFigures | ProcessFigures)]
    noisy_rows = sum(spread > NOISY for spread in spreads)
    return Noise(
        others_cpu_share=others,
        noisy_rows=noisy_rows,
        rows=len(spreads),
        noisy=(others or 0) > NOISY or noisy_rows > len(spreads) / 4,
    )


# --- the order -------------------------------------------------------------------------------------------------


def _measure(run: Underway) -> None:
    """Everything; each part stands in the report as soon as it is known."""
    report, threads = run.report, usable_cpus()
    run.total_seconds = _expected_seconds(run)
    _compare_with_reference(run)
    for used in sorted({1, threads}):
        opened, offline = take_cells(run, open_all(run, used), used)
        if used == threads:
            run.offline = offline
            serve_all(run, opened, threads)
            report.flows.protocol_mix = protocol_mix(run)
    for contender in run.backends():
        if contender.opener is not None:
            run.begin(f"stages of {contender.key}", 1)
            run.figures(contender).stages = _stages(run, contender)
    if run.plan.contenders is None:
        report.measurements += _whole_processes(run, threads)
        report.flows.in_a_process = run.material.process_flows
        report.start_up_seconds = _start_up_seconds(run)
        report.roofline = _roofline(run, threads)
    report.recommendation = _recommendation(run)


def _expected_seconds(run: Underway) -> float:
    """About how long all steps take together, by what each is said to take."""
    effort, count, backends = run.plan.effort, len(run.usable()), len(run.backends())
    cells = len(effort.batches) + 2 + sum(batch >= MANY_THREADS_FROM for batch in effort.batches)
    speeds = count * (effort.seconds * (1.5 * cells + 2) + 10 * effort.server_seconds)
    programs = backends + (0 if effort.left_out else len(processes.SCRIPTS))
    return count + speeds + backends + effort.process_turns * (programs + 2) + 2


# --- drift -----------------------------------------------------------------------------------------------------


def _compare_with_reference(run: Underway) -> None:
    """Every contender whose networks can be opened one by one."""
    reference: Mapping[str, Engine] = {}
    for contender in run.usable():
        if contender.opener is None:
            continue
        run.begin(f"drift of {contender.key}", 1)
        try:
            engines = _open_networks(run.bundle, contender)
            if contender.key == REFERENCE_KEY:
                reference = engines
            elif not reference and run.material.unseen is not None:
                reference = _open_networks(run.bundle, _reference(run))
            if contender.kind == BACKEND and on_gpu(contender.name):
                run.figures(contender).gpu = _gpu_latency(run, engines)
            run.figures(contender).drift = _drift(run, contender, reference, engines)
        except Exception as error:
            run.fail(contender, one_line(error))


def _reference(run: Underway) -> Contender:
    return next(contender for contender in run.material.contenders if contender.key == REFERENCE_KEY)


def _open_networks(bundle: Bundle, contender: Contender) -> dict[str, Engine]:
    """By node id."""
    assert contender.opener is not None
    return {node.id: contender.opener(node) for node in bundle.nodes()}


def _drift(
    run: Underway, contender: Contender, reference: Mapping[str, Engine], engines: Mapping[str, Engine]
) -> DriftFigures | None:
    unseen, max_drift = run.material.unseen, run.plan.max_drift
    if unseen is not None:
        return drift.measured(run.bundle, reference, engines, unseen, max_drift)
    if contender.kind == BACKEND and contender.key not in _RECORDED:
        return None
    return drift.recorded(run.bundle, contender.precision, max_drift)


def _gpu_latency(run: Underway, engines: Mapping[str, Engine]) -> dict[str, dict[str, GpuLatency]]:
    """By network and batch, with CUDA events."""
    nodes = {node.id: node for node in run.bundle.nodes()}
    scaled = {name: node.scaler.transform(run.material.raw) for name, node in nodes.items()}
    return {name: latency_by_batch(engine, scaled[name]) for name, engine in engines.items()}


# --- where the time goes -----------------------------------------------------------------------------------------


def _stages(run: Underway, contender: Contender) -> StageFigures | Failure:
    """In one thread."""
    material, block = run.material, run.figures(contender).chosen["1"]["block"]
    once = partial(_stage_seconds, material, contender, block)
    try:
        return stage_figures(once, material.process_flows, run.plan.effort.stage_turns)
    except Exception as error:
        return Failure(error=one_line(error))


def _stage_seconds(material: Material, contender: Contender, block: int) -> dict[str, float]:
    if BACKENDS[contender.name].fused() is not None:
        choice = Choice(contender.name, contender.precision, "")
        open_fused = partial(open_cascade, choice=choice, block=block, threads=1)
        return fused_seconds(material.process_file, material.bundle, open_fused, Stopwatch())
    assert contender.opener is not None
    return stage_seconds(material.process_file, material.bundle, contender.opener, Stopwatch(), block)


def _whole_processes(run: Underway, threads: int) -> list[Measurement]:
    material, effort = run.material, run.plan.effort
    programs = processes.infer(run.backends(), run.plan.bundle, material.process_file, threads)
    if not effort.left_out:
        dialect = material.flows_used.dialect
        programs += processes.scripts(run.plan.bundle, material.process_file, threads, dialect)
    processes.run_in_turn(programs, effort.process_turns, lambda program: run.begin(f"the process {program.name}", 1))
    reference = next((p for p in programs if (p.name, p.precision, p.kind) == (*REFERENCE, BACKEND)), None)
    rows = []
    for program in programs:
        figures = processes.process_figures(program, material.process_flows, reference)
        rows.append(measurement(program, "process", threads, None, figures, program.why_not))
    return rows


def _start_up_seconds(run: Underway) -> dict[str, float | None]:
    turns, process_file = run.plan.effort.process_turns, run.material.process_file
    one_flow = process_file.with_name("one.csv")
    processes.cut_file(str(process_file), 1, one_flow)
    run.begin("starting up", 2 * turns)
    return processes.start_up_seconds(one_flow, run.backends(), run.plan.bundle, turns)


def _roofline(run: Underway, threads: int) -> Roofline:
    run.begin("the machine's peaks", 2)
    peak, mix = roofline.peaks(threads), run.report.flows.protocol_mix or {}
    shares = {}
    for row in run.report.measurements:
        if row.scenario != "offline" or row.threads != threads or row.precision != "fp32" or row.contender in TREES:
            continue
        if isinstance(row.figures, TurnFigures) and row.figures.flows_per_cpu_s and row.batch:
            needs = roofline.work(run.bundle, mix, row.contender)
            rate = threads * row.figures.flows_per_cpu_s
            shares[row.key] = roofline.peak_shares(needs, rate, row.batch, peak)
    return Roofline(peak=peak, contenders=shares)


def _recommendation(run: Underway) -> Recommended | NoneRecommended:
    """Kept for ``infer --backend auto`` too, but in tests."""
    candidates = [
        Candidate(
            contender.name,
            contender.precision,
            run.offline[contender.key],
            run.codes.get(contender.key),
            run.figures(contender).drift,
        )
        for contender in run.backends()
        if contender.key in run.offline and run.offline[contender.key].calls
    ]
    recommended = recommend(candidates)
    if isinstance(recommended, Recommended) and run.plan.contenders is None:
        kept, _ = read(run.bundle)
        date = run.report.made[:10]
        save(run.bundle, replace(kept or Recommendation(), made=date, backends=recommended.backends))
    return recommended
