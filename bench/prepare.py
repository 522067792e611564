"""What a bench works on: flows, the parts of them that serve for what, and the contenders of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle import Bundle
from etcc_edge.bundle.fit import Flows, read_flows, seen_in_training
from etcc_edge.engines.gate import MAX_DRIFT
from etcc_edge.errors import BundleError, FlowsError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.truth import read_labelled

from .contenders.backends import EXTRA, Contender, backends, baselines
from .contenders.trees import TREES, Models, fit_trees
from .processes import cut_file
from .timing.scenarios import BATCHES
from .timing.turns import Clock, said

READ_AT_MOST = 200_000  # flows of a file
FEWEST_TRAINING_ROWS = 1000  # that trees are fitted on
GENERATED_TRAINING_ROWS = 8192


@dataclass(frozen=True)
class Effort:
    """How long, and on how many flows. ``left_out`` says what is not measured."""

    seconds: float  # a contender and cell
    batches: Sequence[int]
    offline: int  # flows
    drift_flows: int
    process_flows: int
    process_turns: int
    stage_turns: int
    server_seconds: float  # a rate
    left_out: Sequence[str] = ()


FULL = Effort(1.0, BATCHES, 16_384, 20_000, 100_000, 5, 5, 0.5)
QUICK = Effort(
    *(0.15, (1, 8, 256), 2048, 4096, 8000, 2, 2, 0.1),
    ("PyTorch compiled", *TREES, "the pandas and polars scripts", "batches of 32 and 4096", "most repeats"),
)


@dataclass(frozen=True)
class Plan:
    """``flows``: a flows file, or None for generated ones. ``bound``: seconds within which the server answers 99 %.
    ``contenders`` stand in for those of this machine, and the clocks and ``wait`` for time, in tests."""

    bundle: str = "default"
    flows: str | None = None
    effort: Effort = FULL
    bound: float = 0.01
    max_drift: float = MAX_DRIFT
    seed: int = 0
    contenders: Sequence[Contender] | None = None
    clock: Clock = time.perf_counter
    cpu_clock: Clock = time.process_time
    wait: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class Material:
    """``raw``: flows in random order, as many as the offline scenario asks for. ``part``: what whole processes label.
    ``unseen``: flows of the user's file that the bundle was not trained on, to measure accuracy on."""

    bundle: Bundle
    raw: F32
    part: Path
    part_flows: int
    unseen: Flows | None
    contenders: Sequence[Contender]
    trees_have_accuracy: bool
    about: dict[str, Any]


def prepare(plan: Plan, bundle: Bundle, folder: Path, tell: Callable[[str], None]) -> Material:
    """Reads or generates flows, and fits the trees. Raises FlowsError for flows, BundleError for a bundle that cannot
    be used."""
    if len(bundle.levels) != 2:
        raise BundleError(f"{bundle.name} has {len(bundle.levels)} levels; bench measures bundles of two")
    tell("reading flows")
    whole, part = folder / "flows.csv", folder / "part.csv"
    if plan.flows is None:
        _generate(whole, max(plan.effort.process_flows, plan.effort.offline), plan.seed)
    else:
        cut_file(plan.flows, READ_AT_MOST, whole)
    cut_file(str(whole), plan.effort.process_flows, part)
    raw, dialect = _read(plan, bundle, whole)
    rng = np.random.default_rng(plan.seed)
    unseen = None
    if plan.flows is not None:
        with suppress(FlowsError):  # the bundle was trained on all of them
            unseen = _sample(read_flows(whole, bundle), plan.effort.drift_flows, rng)
    about = {
        "source": "generated" if plan.flows is None else "file",
        "file": None if plan.flows is None else Path(plan.flows).name,
        "dialect": dialect,
        "flows": len(raw),
        "unseen": 0 if unseen is None else len(unseen.raw),
        "labelled": unseen is not None and unseen.protocol is not None,
        "trees_fitted_on": None,
    }
    contenders, have_accuracy = plan.contenders, False
    if contenders is None:
        trees: dict[str, Models | str] = {}
        if not plan.effort.left_out:
            trees, about["trees_fitted_on"] = _fitted(plan, bundle, whole, tell)
            have_accuracy = not str(about["trees_fitted_on"]).endswith("generated flows")
        contenders = [*backends(bundle), *baselines(bundle, trees, compiled=not plan.effort.left_out)]
    chosen = np.resize(rng.permutation(raw), (plan.effort.offline, raw.shape[1]))
    part_flows = min(_flows_in(part, bundle), plan.effort.process_flows)
    return Material(bundle, chosen, part, part_flows, unseen, contenders, have_accuracy, about)


def _generate(path: Path, flows: int, seed: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(sample_rows(flows, seed))


def _read(plan: Plan, bundle: Bundle, path: Path) -> tuple[F32, str]:
    """Raw features of all flows that can be labelled, and the dialect."""
    with FlowFile(path) as file:
        if lack := file.lack(bundle.features):
            hint = "" if plan.flows else "; name flows of its meter with --flows"
            what = plan.flows or "generated flows"
            raise FlowsError(f"{what}: bundle {bundle.name} needs what they lack: {lack}{hint}")
        parts = [batch.features[batch.readable] for batch in file.batches(bundle.features)]
        if not sum(map(len, parts)):
            raise FlowsError(f"{plan.flows}: holds no flow that can be labelled")
        return np.concatenate(parts), file.reading.dialect.name


def _flows_in(path: Path, bundle: Bundle) -> int:
    with FlowFile(path) as file:
        return sum(len(batch) for batch in file.batches(bundle.features))


def _sample(flows: Flows, most: int, rng: np.random.Generator) -> Flows:
    rows = np.sort(rng.permutation(len(flows.raw))[:most])
    if flows.protocol is None or flows.application is None:
        return Flows(flows.raw[rows])
    return Flows(flows.raw[rows], flows.protocol[rows], flows.application[rows])


def _fitted(
    plan: Plan, bundle: Bundle, path: Path, tell: Callable[[str], None]
) -> tuple[dict[str, Models | str], str | None]:
    """The models of `TREES`, or why there are none; and what they were fitted on: the flows that the bundle was
    trained on where the file holds enough of them, else generated ones."""
    rows, what = np.zeros(0, np.int64), "training flows of the bundle"
    with suppress(FlowsError, BundleError):
        labelled = read_labelled(path, bundle.features)
        rows = np.flatnonzero(~seen_in_training(bundle, labelled.identity, labelled.features).held_back)
    if len(rows) < FEWEST_TRAINING_ROWS:
        generated, what = path.with_name("generated.csv"), "generated flows"
        _generate(generated, GENERATED_TRAINING_ROWS, plan.seed)
        try:
            labelled = read_labelled(generated, bundle.features)
        except FlowsError:  # of another meter than generated flows
            return {}, None
        rows = np.arange(len(labelled))
    models: dict[str, Models | str] = {}
    for name in TREES:
        tell(f"fitting {name}")
        try:
            models[name] = fit_trees(bundle, labelled, rows, name, plan.seed)
        except ImportError:
            models[name] = f"not measured: {EXTRA}"
        except ValueError as error:  # flows that lack a label, say
            models[name] = f"not fitted: {said(error)}"
    return models, f"{len(rows)} {what}"
