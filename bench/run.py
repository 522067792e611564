"""One bench: everything measured, in the order of what a reader wants first, into a report that grows."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I32
from etcc_edge.bundle import load_bundle
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.engines.engine import Engine
from etcc_edge.engines.measured import Recommendation, read, save
from etcc_edge.engines.result import Cascade
from etcc_edge.infer.threads import usable_cpus

from . import drift, processes
from .contenders.backends import BACKEND, REFERENCE, Contender, tuned
from .contenders.trees import TREES
from .machine import roofline
from .machine.environment import EnergyMeter, OthersWatch, as_typed, environment
from .prepare import Material, Plan, prepare
from .stages import Stopwatch, fused_seconds, stage_figures, stage_seconds
from .studies.gpu import latency_by_batch
from .timing.scenarios import scenario, serve, server_figures
from .timing.turns import NOISY, Turns, figures, said, speed_up, take_turns

Report = dict[str, Any]
Tell = Callable[[str, float, float], None]  # what is done from now on, and how much of how much is done

SCHEMA = 1
_RECORDED = ("native fp32", "onnxruntime fp32", "onnxruntime int8")  # backends whose drift training measured
MANY_THREADS_FROM = 256  # flows a batch: smaller ones are one block, which one thread labels


@dataclass
class _Bench:
    plan: Plan
    report: Report
    tell: Tell
    material: Material
    offline: dict[str, Turns] = field(default_factory=dict)  # on all threads
    codes: dict[str, I32] = field(default_factory=dict)
    done: float = 0.0
    total: float = 0.0

    def step(self, what: str, cost: float) -> None:
        """Says what is done from now on, and reckons with ``cost`` seconds for it."""
        self.tell(what, self.done, max(self.total, self.done + cost))
        self.done += cost

    def entry(self, contender: Contender) -> dict[str, Any]:
        entry: dict[str, Any] = self.report["contenders"][contender.key]
        return entry

    def usable(self) -> list[Contender]:
        return [c for c in self.material.contenders if not self.entry(c)["reason"]]

    def fails(self, contender: Contender, error: Exception) -> None:
        self.entry(contender).update(status="failed", reason=said(error))

    def add(
        self, of: Contender | processes.Process, threads: int, batch: int | None, name: str, row: Mapping[str, Any]
    ) -> None:
        head = {"contender": of.name, "precision": of.precision, "kind": of.kind}
        self.report["measurements"].append({**head, "scenario": name, "threads": threads, "batch": batch, **row})


def run(plan: Plan, report: Report, tell: Tell = lambda *_: None) -> None:
    """Measures everything into ``report``, whose keys bench/README.md documents. Whatever ends it early, the report
    holds what was measured until then, and ``complete`` is false. Raises EtccError for a bundle or flows that
    cannot be used; what one contender cannot do stands in its rows."""
    bundle, others, effort = load_bundle(plan.bundle), OthersWatch(), plan.effort
    report |= {
        "schema": SCHEMA,
        "complete": False,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": as_typed(),
        "left_out": list(effort.left_out),
        "settings": {
            "seed": plan.seed,
            "seconds_a_cell": effort.seconds,
            "server_bound_ms": 1000 * plan.bound,
            "max_drift_points": plan.max_drift,
        },
        "environment": environment(),
        "bundle": {"name": bundle.name, "hash": bundle.digest(), "features": len(bundle.features)},
        "flows": {},
        "contenders": {},
        "measurements": [],
    }
    with tempfile.TemporaryDirectory(prefix="etcc-edge-bench-") as folder:
        material = prepare(plan, bundle, Path(folder), lambda what: tell(what, 0, 1))
        bench = _Bench(plan, report, tell, material)
        report["flows"] = material.about
        report["contenders"] = {c.key: _entry(c) for c in material.contenders}
        threads = usable_cpus()
        bench.total = _reckoned(bench)
        try:
            _drift(bench)
            for used in sorted({1, threads}):
                _speeds(bench, used, all_threads=used == threads)
            _stages(bench)
            if plan.contenders is None:
                _processes(bench, threads)
                _roofline(bench, threads)
            _recommend(bench)
            report["complete"] = True
        finally:
            report["noise"] = _noise(report, others.share())


def _reckoned(bench: _Bench) -> float:
    """About how many seconds all steps take together, by the cost that each is said to have."""
    effort, count = bench.plan.effort, len(bench.usable())
    backends = sum(contender.kind == BACKEND for contender in bench.usable())
    cells = len(effort.batches) + 2 + sum(batch >= MANY_THREADS_FROM for batch in effort.batches)
    speeds = count * (effort.seconds * (1.5 * cells + 2) + 10 * effort.server_seconds)
    found = backends + (0 if effort.left_out else len(processes.SCRIPTS))
    return count + speeds + backends + effort.process_turns * (found + 2) + 2


def _entry(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "precision": contender.precision,
        "kind": contender.kind,
        "status": "not available" if contender.why_not else "measured",
        "reason": contender.why_not,
        "settings": contender.settings,
        "chosen": {},
        "model_bytes": contender.size,
        "drift": None,
    }


def _noise(report: Report, others: float | None) -> dict[str, Any]:
    spreads = [row["spread"] for row in report["measurements"] if "spread" in row]
    noisy = sum(spread > NOISY for spread in spreads)
    verdict = (others or 0) > NOISY or noisy > len(spreads) / 4
    return {"others_cpu_share": others, "noisy_rows": noisy, "rows": len(spreads), "noisy": verdict}


def _drift(bench: _Bench) -> None:
    """Of every contender whose networks can be opened one by one, from the reference."""
    material, reference = bench.material, {}
    for contender in bench.usable():
        if contender.opener is None:
            continue
        bench.step(f"drift of {contender.key}", 1)
        try:
            engines: dict[str, Engine] = {node.id: contender.opener(node) for node in material.bundle.nodes()}
            if (contender.name, contender.precision) == REFERENCE:
                reference = engines
            bench.entry(contender).update(_gpu_latency(bench, contender, engines))
            if material.unseen is None:
                made = None
                if contender.kind != BACKEND or contender.key in _RECORDED:
                    made = drift.recorded(material.bundle, contender.precision, bench.plan.max_drift)
            else:
                reference = reference or _open_reference(material)
                made = drift.measured(material.bundle, reference, engines, material.unseen, bench.plan.max_drift)
            bench.entry(contender)["drift"] = made
        except Exception as error:
            bench.fails(contender, error)


def _open_reference(material: Material) -> dict[str, Engine]:
    opener = next(c.opener for c in material.contenders if (c.name, c.precision) == REFERENCE)
    assert opener is not None
    return {node.id: opener(node) for node in material.bundle.nodes()}


def _gpu_latency(bench: _Bench, contender: Contender, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """By network and batch, with CUDA events; nothing on a CPU."""
    if contender.kind != BACKEND or BACKENDS[contender.name].device == "cpu":
        return {}
    nodes = {node.id: node for node in bench.material.bundle.nodes()}
    scaled = {name: node.scaler.transform(bench.material.raw) for name, node in nodes.items()}
    return {"gpu": {name: latency_by_batch(engine, scaled[name]) for name, engine in engines.items()}}


def _speeds(bench: _Bench, threads: int, all_threads: bool) -> None:
    """Every contender at every batch size on so many threads; where these are all, also as a server."""
    plan, raw = bench.plan, bench.material.raw
    opened: dict[str, Cascade] = {}
    for contender in bench.usable():
        bench.step(f"opening {contender.key} on {threads} threads", plan.effort.seconds)
        try:
            opened[contender.key], chosen = tuned(contender, threads, raw[: max(256, len(raw) // 4)], plan.clock)
        except Exception as error:
            bench.fails(contender, error)
        else:
            bench.entry(contender)["chosen"][str(threads)] = dict(chosen)
    contenders = [contender for contender in bench.usable() if contender.key in opened]
    for batch in (*plan.effort.batches, len(raw)):
        if threads > 1 and batch < MANY_THREADS_FROM:
            continue
        bench.step(f"{batch} flows at once on {threads} threads", 1.5 * len(contenders) * plan.effort.seconds)
        calls = {c.key: _on_batches(opened[c.key], raw, batch) for c in contenders}
        turns = take_turns(calls, batch, seconds=plan.effort.seconds, clock=plan.clock, cpu_clock=plan.cpu_clock)
        for contender in contenders:
            row = figures(turns[contender.key], turns.get(" ".join(REFERENCE)))
            bench.add(contender, threads, batch, scenario(batch, len(raw)), row)
            if turns[contender.key].error:
                bench.fails(contender, RuntimeError(turns[contender.key].error))
        contenders = [contender for contender in contenders if not turns[contender.key].error]
    if not all_threads:
        return
    bench.offline = turns
    for contender in contenders:
        bench.step(f"{contender.key} as a server", 10 * plan.effort.server_seconds)
        rate = len(raw) / float(np.median(turns[contender.key].seconds))
        cascade = opened[contender.key]
        timed = partial(serve, clock=plan.clock, wait=plan.wait)
        try:
            row = server_figures(cascade.run, raw, rate, plan.bound, plan.effort.server_seconds, timed)
            bench.codes[contender.key] = cascade.run(raw).codes
            bench.entry(contender).update(_energy(bench, cascade), **_accuracy(bench, contender, cascade))
        except Exception as error:
            row = {"error": said(error)}
        bench.add(contender, threads, None, "server", row)
    if (codes := bench.codes.get(" ".join(REFERENCE))) is not None:
        labels = bench.material.bundle.root.labels
        counts = np.bincount(codes[0][codes[0] >= 0], minlength=len(labels))
        bench.report["flows"]["protocol_mix"] = dict(zip(labels, (counts / len(raw)).tolist(), strict=True))


def _on_batches(cascade: Cascade, raw: F32, batch: int) -> Callable[[int], object]:
    places = len(raw) // batch
    return lambda number: cascade.run(raw[number % places * batch : (number % places + 1) * batch])


def _energy(bench: _Bench, cascade: Cascade) -> dict[str, Any]:
    """Flows a joule of the processor packages, all that they do included."""
    meter = EnergyMeter()
    if meter.why_not:
        return {"flows_per_joule": None, "energy": f"not measured: {meter.why_not}"}
    start, before, flows = bench.plan.clock(), meter.joules(), 0
    while bench.plan.clock() - start < max(1.0, bench.plan.effort.seconds):
        cascade.run(bench.material.raw)
        flows += len(bench.material.raw)
    return {"flows_per_joule": flows / meter.between(before, meter.joules()), "energy": "RAPL packages"}


def _accuracy(bench: _Bench, contender: Contender, cascade: Cascade) -> dict[str, Any]:
    """Of a contender that has no networks to open one by one."""
    unseen = bench.material.unseen
    if contender.opener is not None or unseen is None or not bench.material.trees_have_accuracy:
        return {}
    return {"drift": drift.of_result(bench.material.bundle, cascade.run(unseen.raw), unseen)}


def _stages(bench: _Bench) -> None:
    """Of the backends, one after the other in one thread."""
    for contender in bench.usable():
        if contender.opener is None or contender.kind != BACKEND:
            continue
        bench.step(f"stages of {contender.key}", 1)
        once = partial(_stage_seconds, bench.material, contender, bench.entry(contender)["chosen"]["1"]["block"])
        try:
            made = stage_figures(once, bench.material.part_flows, bench.plan.effort.stage_turns)
        except Exception as error:
            made = {"error": said(error)}
        bench.entry(contender)["stages"] = made


def _stage_seconds(material: Material, contender: Contender, block: int) -> dict[str, float]:
    if BACKENDS[contender.name].fused() is not None:
        choice = Choice(contender.name, contender.precision, "")
        opened = partial(open_cascade, choice=choice, block=block, threads=1)
        return fused_seconds(material.part, material.bundle, opened, Stopwatch())
    assert contender.opener is not None
    return stage_seconds(material.part, material.bundle, contender.opener, Stopwatch(), block)


def _processes(bench: _Bench, threads: int) -> None:
    material, effort = bench.material, bench.plan.effort
    able = [contender for contender in bench.usable() if contender.kind == BACKEND]
    name = bench.plan.bundle
    found = processes.infer(able, name, material.part, threads)
    if not effort.left_out:
        found += processes.scripts(name, material.part, threads, material.about["dialect"])
    processes.run_in_turn(found, effort.process_turns, lambda p: bench.step(f"the process {p.name}", 1))
    reference = next((p for p in found if (p.name, p.precision, p.kind) == (*REFERENCE, BACKEND)), None)
    for process in found:
        row = processes.process_figures(process, material.part_flows, reference)
        bench.add(process, threads, None, "process", row)
    bench.report["flows"]["in_a_process"] = material.part_flows
    one = material.part.with_name("one.csv")
    processes.cut_file(str(material.part), 1, one)
    bench.step("starting up", 2 * effort.process_turns)
    bench.report["start_up_seconds"] = processes.start_up(one, able, name, effort.process_turns)


def _roofline(bench: _Bench, threads: int) -> None:
    bench.step("the machine's peaks", 2)
    peak = roofline.peaks(threads)
    bundle, mix = bench.material.bundle, bench.report["flows"].get("protocol_mix", {})
    rows = {
        f"{row['contender']} {row['precision']}": roofline.shares(
            roofline.work(bundle, mix, row["contender"]), threads * row["flows_per_cpu_s"], row["batch"], peak
        )
        for row in bench.report["measurements"]
        if row["scenario"] == "offline" and row["threads"] == threads and row.get("flows_per_cpu_s")
        if row["precision"] == "fp32" and row["contender"] not in TREES
    }
    bench.report["roofline"] = {"peak": peak, "contenders": rows}


def _recommend(bench: _Bench) -> None:
    """The fastest backend whose drift passes; kept for ``infer --backend auto`` by precision, where a backend is
    surely faster than the one that auto would take and gives the same labels."""
    able = [c for c in bench.usable() if c.kind == BACKEND and bench.offline.get(c.key, Turns(0, error="none")).calls]
    refused = {c.key: reason for c in able if (reason := _why_refused(c, bench.entry(c)["drift"]))}
    able = [contender for contender in able if contender.key not in refused]
    best: dict[str, Contender] = {}
    for contender in able:  # in the order in which auto tries them
        known = best.setdefault(contender.precision, contender)
        same = np.array_equal(bench.codes.get(known.key, 0), bench.codes.get(contender.key, 1))
        if same and _surely_faster(bench, contender, known):
            best[contender.precision] = contender
    if not best:
        bench.report["recommendation"] = {"error": "no backend could be measured, or none passes", "refused": refused}
        return
    first, *others = best.values()
    for contender in others:
        if _surely_faster(bench, contender, first):
            first = contender
    kept, _ = read(bench.material.bundle)
    backends = {precision: contender.name for precision, contender in best.items()}
    made = replace(kept or Recommendation(), made=bench.report["made"][:10], backends=backends)
    bench.report["recommendation"] = {
        "backend": first.name,
        "precision": first.precision,
        "backends": dict(made.backends),
        "refused": refused,
    }
    if bench.plan.contenders is None:
        save(bench.material.bundle, made)


def _why_refused(contender: Contender, made: dict[str, Any] | None) -> str:
    if made is None:
        return "" if contender.precision == "fp32" else "its drift is not known: give flows with --flows"
    verdict: str = made.get("verdict", "")
    return verdict


def _surely_faster(bench: _Bench, contender: Contender, than: Contender) -> bool:
    if contender is than:
        return False
    _, (low, _) = speed_up(bench.offline[contender.key], bench.offline[than.key])
    return low > 1
