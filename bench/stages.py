"""Where the time of labelling a file goes: parse, scale, stage 1, route, stage 2, write."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import ParamSpec, TypeVar

import numpy as np

from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.model import Bundle, Node, Scaler
from etcc_edge.engines.cascade import RoutedCascade
from etcc_edge.engines.engine import Engine, OpenEngine
from etcc_edge.engines.result import Cascade, Result
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.text.writer import LabelWriter

from .figures import StageFigures
from .timing.turns import Clock, median_interval, relative_spread

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

# A backend that runs the cascade in one call has no scale and no route of its own: they are in its stages.
STAGES = ("parse", "scale", "stage 1", "route", "stage 2", "write")


class Stopwatch:
    """Seconds by name."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, call: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        start = self.clock()
        try:
            return call(*args, **kwargs)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start


class _TimedEngine:
    def __init__(self, engine: Engine, stage: str, watch: Stopwatch) -> None:
        self._engine, self._stage, self._watch = engine, stage, watch

    def run(self, scaled: F32) -> F32:
        return self._watch.timed(self._stage, self._engine.run, scaled)


class _TimedScaler(Scaler):
    watch: Stopwatch

    def transform(self, raw: F32, rows: I64 | None = None) -> F32:
        return self.watch.timed("scale", super().transform, raw, rows)


def _timed_node(node: Node, watch: Stopwatch) -> Node:
    scaler = _TimedScaler(*(getattr(node.scaler, field.name) for field in fields(Scaler)))
    object.__setattr__(scaler, "watch", watch)
    return replace(node, scaler=scaler, children={name: _timed_node(c, watch) for name, c in node.children.items()})


def stage_seconds(
    path: str | os.PathLike[str], bundle: Bundle, opener: OpenEngine, watch: Stopwatch, block: int
) -> dict[str, float]:
    """Seconds of each of `STAGES` for labelling a file once, on one thread, stage by stage."""
    timed = replace(bundle, root=_timed_node(bundle.root, watch))
    cascade = RoutedCascade(
        timed,
        lambda node: _TimedEngine(opener(node), "stage 1" if node is timed.root else "stage 2", watch),
        block=block,
    )
    watch.seconds = dict.fromkeys((*STAGES, "cascade"), 0.0)
    _label(path, bundle, watch, lambda raw: watch.timed("cascade", cascade.run, raw))
    networks = sum(watch.seconds[stage] for stage in ("scale", "stage 1", "stage 2"))
    watch.seconds["route"] = watch.seconds.pop("cascade") - networks
    return watch.seconds


def fused_seconds(
    path: str | os.PathLike[str], bundle: Bundle, open_fused: Callable[[Bundle], Cascade], watch: Stopwatch
) -> dict[str, float]:
    """The same where the cascade is one call: stage 1 is a cascade of it alone, with its scaling; stage 2 is what
    the whole takes more, with its routing and scaling."""
    whole = open_fused(bundle)
    first = open_fused(replace(bundle, root=replace(bundle.root, children={}), levels=bundle.levels[:1]))

    def run(raw: F32) -> Result:
        watch.timed("stage 1", first.run, raw)
        return watch.timed("stage 2", whole.run, raw)

    watch.seconds = dict.fromkeys(STAGES, 0.0)
    _label(path, bundle, watch, run)
    watch.seconds["stage 2"] = max(0.0, watch.seconds["stage 2"] - watch.seconds["stage 1"])
    return watch.seconds


def _label(path: str | os.PathLike[str], bundle: Bundle, watch: Stopwatch, run: Callable[[F32], Result]) -> None:
    with FlowFile(path) as file:
        writer = LabelWriter(io.BytesIO(), file.header, bundle.levels, bundle.vocabulary())
        batches = file.batches(bundle.features)
        while (batch := watch.timed("parse", next, batches, None)) is not None:
            result = run(batch.features).without(~batch.valued)
            lines = watch.timed("write", writer.format, batch, result.codes, result.confidence)
            watch.timed("write", writer.write, lines)


def stage_figures(once: Callable[[], dict[str, float]], flows: int, turns: int) -> StageFigures:
    """The medians of the turns after a first one that warms up; ``once`` gives the seconds by stage of ``flows``."""
    seconds = [once() for _ in range(turns + 1)][1:]
    medians = {stage: float(np.median([turn[stage] for turn in seconds])) for stage in STAGES}
    rates = [flows / sum(turn.values()) for turn in seconds]
    return StageFigures(
        us_a_flow={stage: 1e6 * median / flows for stage, median in medians.items()},
        share={stage: median / sum(medians.values()) for stage, median in medians.items()},
        flows_per_s=float(np.median(rates)),
        flows_per_s_interval=median_interval(rates),
        spread=relative_spread(rates),
    )
