"""Accuracy by split, against trees on the same rows: ``python -m etcc_edge.bench.studies.accuracy FLOWS …``.

Needs the ``bench`` extra. One JSON line a model, split, seed and fold, as each is done; by session also one for all
folds together, with intervals.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import click
import numpy as np

from etcc_edge.arrays import F64, Bools, Text
from etcc_edge.bundle import Bundle, FlowDefinition, Node
from etcc_edge.bundle.seen import Truth, true_applications
from etcc_edge.engines.cascade import answer, open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.result import Cascade
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.metrics import bootstrap, interval
from etcc_edge.evaluation.result import to_json
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.services import services_told_by
from etcc_edge.flows.size import payload_bytes
from etcc_edge.flows.truth import LabelledFlows, read_labelled, read_labelled_files
from etcc_edge.training.plan import Plan, parts_of
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import KINDS, Split
from etcc_edge.training.stage import fit_scaler, stages_of, taught_protocols
from etcc_edge.training.train import LEVELS, train

from ..contenders.trees import TREES, TreesCascade, fit_trees

FOLDS = 5  # of a split by session; every session that may test does so in one of them


def without_repeats(flows: LabelledFlows) -> LabelledFlows:
    """The first flow of each set that has the same features, ports aside."""
    kept = [feature_table()[name].family != "port" for name in flows.feature_names]
    _, first = np.unique(feature_hashes(flows.features[:, kept]), return_index=True)
    return flows.take(np.sort(first))


@dataclass(frozen=True)
class Outcome:
    """What became of n flows that tested; [n] each."""

    session: Text
    foreground: Bools  # of no background service
    counted: Bools  # the model knows both labels
    protocol: Bools  # is right
    both: Bools  # are right
    size: F64  # bytes

    @classmethod
    def of(cls, bundle: Bundle, cascade: Cascade, flows: LabelledFlows) -> Outcome:
        result = answer(bundle, cascade, flows.features)
        applications = true_applications(bundle, flows.application, flows.service)
        truth = Truth.of(bundle, flows.protocol, applications)
        octets = payload_bytes(flows.features, bundle.features)
        size = np.ones(len(flows)) if octets is None else np.nan_to_num(octets.astype(np.float64))
        protocol, both = result.codes[0] == truth.protocol, truth.right(result.codes)
        return cls(flows.session, flows.service == "", truth.counted, protocol, both, size)

    @classmethod
    def joined(cls, parts: list[Outcome]) -> Outcome:
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def figures(self) -> dict[str, Any]:
        """Shares that are right, with intervals by session: of the foreground and of all flows."""
        units = np.unique(self.session, return_inverse=True)[1]
        figures: dict[str, Any] = {"test": len(self.session), "sessions": int(units.max()) + 1}
        for part, rows in {"foreground": self.foreground & self.counted, "all": self.counted}.items():
            right = np.stack([self.protocol, self.both], axis=1)
            draws = bootstrap(right, np.stack([rows, rows], axis=1), units)
            for column, level in enumerate(("protocol", "both")):
                figures[f"{part} {level}"] = float(right[rows, column].mean())
                figures[f"{part} {level} interval"] = interval(draws[:, column])
            figures[f"{part} both by bytes"] = float(self.size[rows & self.both].sum() / self.size[rows].sum())
        return figures


def untrained(flows: LabelledFlows, plan: Plan, parts: Split) -> Bundle:
    """What a training by the plan would teach, without networks: for trees."""
    protocols, _ = taught_protocols(flows, parts.train)
    stages, _ = stages_of(flows, protocols, parts, plan)
    scaler = fit_scaler(flows.features[parts.train], flows.feature_names, RECIPES[plan.recipe])
    nodes = {stage.protocol: Node(stage.id, stage.labels, (), scaler) for stage in stages}
    root = replace(nodes.pop(""), children=nodes)
    return Bundle(
        name=plan.name,
        levels=LEVELS,
        features=flows.feature_names,
        units=tuple(feature_table()[name].unit for name in flows.feature_names),
        flow_definition=FlowDefinition(flows.dialect.meter, plan.timeout_s),
        root=root,
        weights={},
        onnx={},
        trained=None,
        training={},
        metrics={},
        citations=(),
        license="",
        model_card="",
        services=services_told_by(flows.feature_names) if plan.applications == "services" else (),
    )


def run(
    flows: LabelledFlows, plan: Plan, model: str, other: LabelledFlows | None
) -> tuple[dict[str, Any], Outcome, dict[str, Any]]:
    """A model's figures on the plan's test rows, their outcome, and its figures on the flows of an ``other`` file;
    trees get the networks' validation rows too."""
    parts = parts_of(flows, plan)
    if model == "networks":
        bundle = train(flows, plan)
        choice = choose("onnxruntime", "fp32")

        def cascade_of(part: Bundle) -> Cascade:
            return open_cascade(part, choice)
    else:
        bundle = untrained(flows, plan, parts)
        fitted = fit_trees(bundle, flows, np.concatenate([parts.train, parts.validation]), model, plan.seed)
        cascade_of = partial(TreesCascade, models=fitted)
    columns = [flows.feature_names.index(name) for name in bundle.features]

    def of_bundle(rows: LabelledFlows) -> LabelledFlows:
        return replace(rows, features=np.ascontiguousarray(rows.features[:, columns]), feature_names=bundle.features)

    tested = of_bundle(flows.take(parts.test))
    evaluation = evaluate(
        bundle,
        cascade_of,
        tested.features,
        tested.protocol,
        tested.application,
        tested.flow_id,
        session=tested.session,
        service=tested.service,
        start=tested.start,
    )
    elsewhere = Outcome.of(bundle, cascade_of(bundle), of_bundle(other)).figures() if other else {}
    return to_json(evaluation), Outcome.of(bundle, cascade_of(bundle), tested), elsewhere


def lines(
    flows: LabelledFlows, plan: Plan, models: tuple[str, ...], other: LabelledFlows | None
) -> Iterator[dict[str, Any]]:
    """The figures of each model, by fold and for all of them where the plan splits by session."""
    for model in models:
        outcomes = []
        head = {"model": model, "split": plan.split, "seed": plan.seed}
        for fold in range(FOLDS if plan.split == "session" else 1):
            figures, outcome, elsewhere = run(flows, replace(plan, fold=fold), model, other)
            outcomes.append(outcome)
            yield {
                **head,
                "fold": fold,
                "test": len(outcome.session),
                "protocol": figures["protocol"]["accuracy"],
                "protocol_known_application": figures["end_to_end"]["protocol_accuracy"],
                **{f"{name} applications": stage["accuracy"] for name, stage in figures["stage2"].items()},
                "end_to_end": figures["end_to_end"]["accuracy"],
                "end_to_end_at_80_coverage": figures["end_to_end"]["accuracy_at_80_coverage"],
                **({"windows": figures["windows"]} if figures["windows"] else {}),
                **({"elsewhere": elsewhere} if elsewhere else {}),
            }
        if plan.split == "session":
            yield {**head, "fold": "all", **Outcome.joined(outcomes).figures()}


@click.command()
@click.argument("flows", nargs=-1, required=True)
@click.option("--groups", multiple=True, metavar="FILE", help="Of each of FLOWS, in their order.")
@click.option("--other", metavar="FILE", help="Flows of another network, to test on as well.")
@click.option("--features", default="paper", show_default=True, metavar="PRESET")
@click.option("--applications", default="services", show_default=True, type=click.Choice(["services", "all", "paper"]))
@click.option("--recipe", default="default", show_default=True, type=click.Choice(list(RECIPES)))
@click.option("--split", "kind", default="random", show_default=True, type=click.Choice(KINDS))
@click.option("--validation", type=click.Choice(KINDS), help="Default: as the test flows.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default="kept", show_default=True, type=click.Choice(["kept", "removed"]))
@click.option("--model", "models", multiple=True, type=click.Choice(["networks", *TREES]), help="Default: all.")
def main(
    flows: tuple[str, ...],
    groups: tuple[str, ...],
    other: str | None,
    features: str,
    applications: str,
    recipe: str,
    kind: str,
    validation: str | None,
    seeds: int,
    repeats: str,
    models: tuple[str, ...],
) -> None:
    """Accuracy of the networks and of trees on one kind of split of FLOWS, for seeds 0, 1, …; by session in each of 5
    folds, which stand for leaving out one session at a time, and in all of them."""
    try:
        labelled = read_labelled_files(flows, features, groups=groups, to_split=True)
        elsewhere = None if other is None else read_labelled(other, labelled.feature_names)
        if repeats == "removed":
            labelled = without_repeats(labelled)
        for seed in range(seeds):
            plan = Plan("measured", recipe, applications=applications, split=kind, validation=validation, seed=seed)
            plan = replace(plan, test_share=1 / FOLDS)
            for figures in lines(labelled, plan, models or ("networks", *TREES), elsewhere):
                options = {"file": labelled.name, "features": features, "recipe": recipe, "repeats": repeats}
                # Trees take training and validation flows together, so how those are parted is no matter to them.
                chosen_on = (validation or kind) if figures["model"] == "networks" else None
                click.echo(json.dumps({**options, "validation": chosen_on, **figures}))
    except EtccError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
