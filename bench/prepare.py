"""What a bench works on: flows, the parts of them that serve for what, and the contenders of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle import Bundle
from etcc_edge.bundle.seen import Flows, read_flows, seen_in_training
from etcc_edge.engines.gate import MAX_DRIFT
from etcc_edge.errors import BundleError, FlowsError
from etcc_edge.flows import names
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.truth import read_labelled

from .contenders.backends import EXTRA, Contender, backends, baselines
from .contenders.trees import TREES, Models, fit_trees
from .figures import FlowsUsed
from .processes import cut_file
from .timing.scenarios import BATCHES
from .timing.turns import Clock, one_line

READ_AT_MOST = 200_000  # flows of a file
FEWEST_TRAINING_ROWS = 1000  # that trees are fitted on
GENERATED_TRAINING_ROWS = 8192
TRAINING_FLOWS = "training flows of the bundle"


@dataclass(frozen=True)
class Effort:
    """How long, and on how many flows. ``left_out`` says what is not measured."""

    seconds: float  # a contender and cell
    batches: Sequence[int]
    offline_flows: int
    drift_flows: int
    process_flows: int
    process_turns: int
    stage_turns: int
    server_seconds: float  # a rate
    left_out: Sequence[str] = ()


FULL = Effort(
    seconds=1.0,
    batches=BATCHES,
    offline_flows=16_384,
    drift_flows=20_000,
    process_flows=100_000,
    process_turns=5,
    stage_turns=5,
    server_seconds=0.5,
)
QUICK = Effort(
    seconds=0.15,
    batches=(1, 8, 256),
    offline_flows=2048,
    drift_flows=4096,
    process_flows=8000,
    process_turns=2,
    stage_turns=2,
    server_seconds=0.1,
    left_out=(
        "PyTorch compiled",
        *TREES,
        "the pandas and polars scripts",
        "batches of 32 and 4096",
        "most repeats",
    ),
)


@dataclass(frozen=True)
class BenchPlan:
    """``flows``: a flows file, or None for generated ones. ``bound_seconds``: within which the server answers 99 %.
    ``contenders`` stand in for those of this machine, and the clocks and ``wait`` for time, in tests."""

    bundle: str = "default"
    flows: str | None = None
    effort: Effort = FULL
    bound_seconds: float = 0.01
    max_drift: float = MAX_DRIFT  # points
    seed: int = 0
    command: str = ""  # as typed, for the report
    contenders: Sequence[Contender] | None = None
    clock: Clock = time.perf_counter
    cpu_clock: Clock = time.process_time
    wait: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class Material:
    """``raw``: float32 [offline flows, features] in random order. ``process_file``: what whole processes label, of
    ``process_flows`` flows. ``unseen``: flows of the user's file that the bundle was not trained on, to measure
    accuracy on."""

    bundle: Bundle
    raw: F32
    process_file: Path
    process_flows: int
    unseen: Flows | None
    contenders: Sequence[Contender]
    trees_have_accuracy: bool
    flows_used: FlowsUsed


def prepare(plan: BenchPlan, bundle: Bundle, folder: Path, begin: Callable[[str], None]) -> Material:
    """Reads or generates flows, and fits the trees; ``begin`` is called with the name of each step. Raises FlowsError
    for flows, BundleError for a bundle that cannot be used."""
    if len(bundle.levels) != 2:
        raise BundleError(f"{bundle.name} has {len(bundle.levels)} levels; bench measures bundles of two")
    begin("reading flows")
    all_flows, process_file = folder / "flows.csv", folder / "part.csv"
    if plan.flows is None:
        _generate(all_flows, max(plan.effort.process_flows, plan.effort.offline_flows), plan.seed)
    else:
        cut_file(plan.flows, READ_AT_MOST, all_flows)
    cut_file(str(all_flows), plan.effort.process_flows, process_file)
    raw, dialect = _read(plan, bundle, all_flows)
    rng = np.random.default_rng(plan.seed)
    unseen = None
    if plan.flows is not None:
        with suppress(FlowsError):  # the bundle was trained on all of them
            unseen = _sample(read_flows(all_flows, bundle), plan.effort.drift_flows, rng)
    trees = FittedTrees({}, 0, "")
    contenders = plan.contenders
    if contenders is None:
        if not plan.effort.left_out:
            trees = _fitted(plan, bundle, all_flows, begin)
        contenders = [*backends(bundle), *baselines(bundle, trees.models, compiled=not plan.effort.left_out)]
    return Material(
        bundle,
        np.resize(rng.permutation(raw), (plan.effort.offline_flows, raw.shape[1])),
        process_file,
        min(_flows_in(process_file, bundle), plan.effort.process_flows),
        unseen,
        contenders,
        trees.flows == TRAINING_FLOWS,
        FlowsUsed(
            source="generated" if plan.flows is None else "file",
            file=None if plan.flows is None else names.one_line(Path(plan.flows).name),
            dialect=dialect,
            flows=len(raw),
            unseen=0 if unseen is None else len(unseen.raw),
            labelled=unseen is not None and unseen.protocol is not None,
            trees_fitted_on=f"{trees.rows} {trees.flows}" if trees.rows else None,
        ),
    )


def _generate(path: Path, flows: int, seed: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(sample_rows(flows, seed))


def _read(plan: BenchPlan, bundle: Bundle, path: Path) -> tuple[F32, str]:
    """Raw features of all flows that can be labelled, and the dialect."""
    with FlowFile(path) as file:
        if lack := file.lack(bundle.features):
            hint = "" if plan.flows else "; name flows of its meter with --flows"
            source = plan.flows or "generated flows"
            raise FlowsError(f"{source}: bundle {bundle.name} needs what they lack: {lack}{hint}")
        blocks = [batch.features[batch.readable] for batch in file.batches(bundle.features)]
        if not sum(map(len, blocks)):
            raise FlowsError(f"{plan.flows}: holds no flow that can be labelled")
        return np.concatenate(blocks), file.reading.dialect.name


def _flows_in(path: Path, bundle: Bundle) -> int:
    with FlowFile(path) as file:
        return sum(len(batch) for batch in file.batches(bundle.features))


def _sample(flows: Flows, count: int, rng: np.random.Generator) -> Flows:
    rows = np.sort(rng.permutation(len(flows.raw))[:count])
    if flows.protocol is None or flows.application is None:
        return Flows(flows.raw[rows])
    return Flows(flows.raw[rows], flows.protocol[rows], flows.application[rows])


@dataclass(frozen=True)
class FittedTrees:
    """The models of `TREES` by name, or why there are none; and how many of which flows they were fitted on."""

    models: Mapping[str, Models | str]
    rows: int
    flows: str


def _fitted(plan: BenchPlan, bundle: Bundle, path: Path, begin: Callable[[str], None]) -> FittedTrees:
    """On the flows that the bundle was trained on where the file holds enough of them, else on generated ones."""
    rows, flows = np.zeros(0, np.int64), TRAINING_FLOWS
    with suppress(FlowsError, BundleError):
        labelled = read_labelled(path, bundle.features)
        rows = np.flatnonzero(~seen_in_training(bundle, labelled.identity, labelled.features).held_back)
    if len(rows) < FEWEST_TRAINING_ROWS:
        generated, flows = path.with_name("generated.csv"), "generated flows"
        _generate(generated, GENERATED_TRAINING_ROWS, plan.seed)
        try:
            labelled = read_labelled(generated, bundle.features)
        except FlowsError:  # of another meter than generated flows
            return FittedTrees({}, 0, "")
        rows = np.arange(len(labelled))
    models: dict[str, Models | str] = {}
    for name in TREES:
        begin(f"fitting {name}")
        try:
            models[name] = fit_trees(bundle, labelled, rows, name, plan.seed)
        except ImportError:
            models[name] = f"not measured: {EXTRA}"
        except ValueError as error:  # flows that lack a label, say
            models[name] = f"not fitted: {one_line(error)}"
    return FittedTrees(models, len(rows), flows)
