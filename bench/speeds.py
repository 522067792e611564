"""How fast each contender is: at every batch size in turn with the others, and as a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.engines.result import Cascade

from . import drift
from .contenders.backends import REFERENCE_KEY, Contender, tuned
from .figures import DriftFigures, Failure, ServerFigures
from .machine.environment import EnergyMeter
from .timing.scenarios import scenario, serve, server_figures
from .timing.turns import Turns, one_line, take_turns, turn_figures
from .underway import Underway, measurement

MANY_THREADS_FROM = 256  # flows a batch: smaller ones are one block, which one thread labels


class Opened(NamedTuple):
    contender: Contender
    cascade: Cascade


def open_all(run: Underway, threads: int) -> list[Opened]:
    """Every contender on so many threads, with its best settings."""
    raw, opened = run.material.raw, []
    for contender in run.usable():
        run.begin(f"opening {contender.key} on {threads} threads", run.plan.effort.seconds)
        try:
            cascade, chosen = tuned(contender, threads, raw[: max(256, len(raw) // 4)], run.plan.clock)
        except Exception as error:
            run.fail(contender, one_line(error))
        else:
            run.figures(contender).chosen[str(threads)] = dict(chosen)
            opened.append(Opened(contender, cascade))
    return opened


def take_cells(run: Underway, opened: Sequence[Opened], threads: int) -> tuple[Sequence[Opened], dict[str, Turns]]:
    """Every batch size, and all flows at once last: those that never failed, and the turns of that last one."""
    for batch in run.plan.effort.batches:
        if threads == 1 or batch >= MANY_THREADS_FROM:
            opened, _ = _take_cell(run, opened, threads, batch)
    return _take_cell(run, opened, threads, len(run.material.raw))


def _take_cell(
    run: Underway, opened: Sequence[Opened], threads: int, batch: int
) -> tuple[Sequence[Opened], dict[str, Turns]]:
    """Those that are left after their turns at one batch size, and the turns of all."""
    plan, raw = run.plan, run.material.raw
    run.begin(f"{batch} flows at once on {threads} threads", 1.5 * len(opened) * plan.effort.seconds)
    calls = {contender.key: _on_batches(cascade, raw, batch) for contender, cascade in opened}
    turns = take_turns(calls, batch, seconds=plan.effort.seconds, clock=plan.clock, cpu_clock=plan.cpu_clock)
    for contender, _ in opened:
        own = turns[contender.key]
        figures = turn_figures(own, turns.get(REFERENCE_KEY))
        row = measurement(contender, scenario(batch, len(raw)), threads, batch, figures, own.error)
        run.report.measurements.append(row)
        if own.error:
            run.fail(contender, own.error)
    return [each for each in opened if not turns[each.contender.key].error], turns


def _on_batches(cascade: Cascade, raw: F32, batch: int) -> Callable[[int], object]:
    places = len(raw) // batch
    return lambda number: cascade.run(raw[number % places * batch : (number % places + 1) * batch])


def serve_all(run: Underway, opened: Sequence[Opened], threads: int) -> None:
    """Every contender as a server; and what else all flows at once tell: labels, energy, accuracy."""
    for contender, cascade in opened:
        run.begin(f"{contender.key} as a server", 10 * run.plan.effort.server_seconds)
        try:
            served = _server(run, cascade, run.offline[contender.key])
            run.codes[contender.key] = cascade.run(run.material.raw).codes
            figures = run.figures(contender)
            figures.flows_per_joule, figures.energy = _energy(run, cascade)
            if contender.opener is None:
                figures.drift = _accuracy(run, cascade)
        except Exception as error:
            served = Failure(error=one_line(error))
        if isinstance(served, Failure):
            row = measurement(contender, "server", threads, None, None, served.error)
        else:
            row = measurement(contender, "server", threads, None, served)
        run.report.measurements.append(row)


def _server(run: Underway, cascade: Cascade, offline: Turns) -> ServerFigures | Failure:
    plan, raw = run.plan, run.material.raw
    rate = len(raw) / float(np.median(offline.seconds))
    timed = partial(serve, clock=plan.clock, wait=plan.wait)
    return server_figures(cascade.run, raw, rate, plan.bound_seconds, plan.effort.server_seconds, timed)


def _energy(run: Underway, cascade: Cascade) -> tuple[float | None, str]:
    """Flows a joule of the processor packages, all that they do included; and how it was measured, or why not."""
    meter, clock, raw = EnergyMeter(), run.plan.clock, run.material.raw
    if meter.why_not:
        return None, f"not measured: {meter.why_not}"
    start, before, flows = clock(), meter.joules(), 0
    while clock() - start < max(1.0, run.plan.effort.seconds):
        cascade.run(raw)
        flows += len(raw)
    return flows / meter.between(before, meter.joules()), "RAPL packages"


def _accuracy(run: Underway, cascade: Cascade) -> DriftFigures | None:
    """Of a contender that has no networks to open one by one."""
    unseen = run.material.unseen
    if unseen is None or not run.material.trees_have_accuracy:
        return None
    return drift.of_result(run.bundle, cascade.run(unseen.raw), unseen)


def protocol_mix(run: Underway) -> dict[str, float] | None:
    """The share of the flows that the reference gave each protocol; None where it was not measured."""
    codes = run.codes.get(REFERENCE_KEY)
    if codes is None:
        return None
    labels = run.bundle.root.labels
    counts = np.bincount(codes[0][codes[0] >= 0], minlength=len(labels))
    return dict(zip(labels, (counts / codes.shape[1]).tolist(), strict=True))
