"""Accuracy by split, against trees on the same rows: ``python -m etcc_edge.bench.studies.accuracy FLOWS …``.

Needs the ``bench`` extra. One JSON line a model, split and seed, as each is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import click
import numpy as np

from etcc_edge.bundle import Bundle
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.result import to_json
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.truth import LabelledFlows, read_labelled_files
from etcc_edge.training.plan import Plan, parts_of
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import KINDS
from etcc_edge.training.train import train

from ..contenders.trees import TREES, TreesCascade, fit_trees

FOLDS = 5  # of a split by session; every session tests in one of them


def without_repeats(flows: LabelledFlows) -> LabelledFlows:
    """The first flow of each set that has the same features, ports aside."""
    kept = [feature_table()[name].family != "port" for name in flows.feature_names]
    _, first = np.unique(feature_hashes(flows.features[:, kept]), return_index=True)
    return flows.take(np.sort(first))


def runs(flows: LabelledFlows, plan: Plan, models: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The figures of each model on the plan's test rows; trees get the networks' validation rows too."""
    bundle = train(flows, plan)
    columns = [flows.feature_names.index(name) for name in bundle.features]
    flows = replace(flows, features=flows.features[:, columns], feature_names=bundle.features)
    parts = parts_of(flows, plan)
    learn = np.concatenate([parts.train, parts.validation])
    for model in models:
        if model == "networks":
            figures = bundle.metrics["test"]
        else:
            fitted = fit_trees(bundle, flows, learn, model, plan.seed)

            def trees(part: Bundle, fitted: dict[str, Any] = fitted) -> TreesCascade:
                return TreesCascade(part, fitted)

            tested = flows.take(parts.test)
            figures = to_json(
                evaluate(
                    bundle,
                    trees,
                    tested.features,
                    tested.protocol,
                    tested.application,
                    tested.flow_id,
                    session=tested.session,
                    service=tested.service,
                )
            )
        yield {
            "model": model,
            "split": plan.split,
            "seed": plan.seed,
            "fold": plan.fold,
            "test": len(parts.test),
            "protocol": figures["protocol"]["accuracy"],
            "protocol_known_application": figures["end_to_end"]["protocol_accuracy"],
            **{f"{name} applications": stage["accuracy"] for name, stage in figures["stage2"].items()},
            "end_to_end": figures["end_to_end"]["accuracy"],
            "end_to_end_at_80_coverage": figures["end_to_end"]["accuracy_at_80_coverage"],
        }


@click.command()
@click.argument("flows", nargs=-1, required=True)
@click.option("--groups", multiple=True, metavar="FILE", help="Of each of FLOWS, in their order.")
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
    features: str,
    applications: str,
    recipe: str,
    kind: str,
    validation: str | None,
    seeds: int,
    repeats: str,
    models: tuple[str, ...],
) -> None:
    """Accuracy of the networks and of trees on one kind of split of FLOWS, for seeds 0, 1, …; by session, in each of
    5 folds, which stand for leaving out one session at a time."""
    try:
        labelled = read_labelled_files(flows, features, groups=groups, to_split=True)
        if repeats == "removed":
            labelled = without_repeats(labelled)
        plan = Plan("measured", recipe, applications=applications, split=kind, validation=validation)
        for seed, fold in product(range(seeds), range(FOLDS if kind == "session" else 1)):
            plan = replace(plan, seed=seed, fold=fold, test_share=1 / FOLDS)
            for figures in runs(labelled, plan, models or ("networks", *TREES)):
                options = {"file": labelled.name, "features": features, "recipe": recipe, "repeats": repeats}
                # Trees take training and validation flows together, so how those are parted is no matter to them.
                chosen_on = (validation or kind) if figures["model"] == "networks" else None
                click.echo(json.dumps({**options, "validation": chosen_on, **figures}))
    except EtccError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
