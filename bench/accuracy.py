"""Accuracy by split, against trees on the same rows: ``python -m etcc_edge.bench.accuracy FLOWS …``.

Needs the ``bench`` extra. One JSON line a model, split and seed, as each is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.hashing import feature_hashes
from etcc_edge.cascade import Result
from etcc_edge.evaluation import codes_of, evaluate
from etcc_edge.flows.features import features as feature_table
from etcc_edge.labelled import LabelledFlows, read_labelled
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import KINDS, split
from etcc_edge.training.train import Plan, train

F32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

MIN_GROUPS = 3  # of a pair of labels, so that a split by groups can train, validate and test it


class TreesCascade:
    """The two stages with a tree model each, trained on the given rows of the flows."""

    def __init__(self, bundle: Bundle, models: dict[str, Any]) -> None:
        self._bundle, self._models = bundle, models

    def run(self, raw: F32) -> Result:
        names = self._bundle.vocabulary()
        codes = np.full((len(names), len(raw)), -1, np.int32)
        confidence = np.full((len(names), len(raw)), np.nan, np.float32)
        reached = [(self._bundle.root, np.arange(len(raw)), 0)]
        while reached:
            node, rows, depth = reached.pop()
            if not len(rows):
                continue
            probability = self._models[node.id].predict_proba(raw[rows])
            label = self._models[node.id].classes_[probability.argmax(axis=1)]
            codes[depth, rows] = np.array([names[depth].index(name) for name in node.labels])[label]
            confidence[depth, rows] = probability.max(axis=1)
            reached += [
                (child, rows[label == node.labels.index(name)], depth + 1) for name, child in node.children.items()
            ]
        return Result(self._bundle.levels, names, codes, confidence, np.full_like(confidence, np.nan))


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=400, max_depth=10, learning_rate=0.1, tree_method="hist", random_state=seed)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=200, n_jobs=-1, random_state=seed)


TREES: dict[str, Callable[[int], Any]] = {"xgboost": _xgboost, "random forest": _forest}


def fit_trees(
    bundle: Bundle, flows: LabelledFlows, rows: Rows, make: Callable[[int], Any], seed: int
) -> dict[str, Any]:
    """A model for each node of the bundle, by its id; ``flows`` has the bundle's features."""
    raw = np.where(np.isfinite(flows.features), flows.features, np.nan)
    protocol = codes_of(bundle.root.labels, flows.protocol)
    labels = {bundle.root.id: protocol}
    for name, child in bundle.root.children.items():
        belongs = protocol == bundle.root.labels.index(name)
        labels[child.id] = np.where(belongs, codes_of(child.labels, flows.application), -1)
    models = {}
    for node_id, label in labels.items():
        learn = rows[label[rows] >= 0]
        models[node_id] = make(seed).fit(raw[learn], label[learn])
    return models


def without_repeats(flows: LabelledFlows) -> LabelledFlows:
    """The first flow of each set that has the same features, ports aside."""
    kept = [feature_table()[name].family != "port" for name in flows.feature_names]
    _, first = np.unique(feature_hashes(flows.features[:, kept]), return_index=True)
    return _only(flows, np.sort(first))


def in_enough_groups(flows: LabelledFlows) -> tuple[LabelledFlows, list[str]]:
    """Without the pairs of labels that come from fewer than `MIN_GROUPS` groups, and the names of those."""
    pair = np.char.add(np.char.add(flows.protocol, " "), flows.application)
    few = [name for name in np.unique(pair).tolist() if len(np.unique(flows.group[pair == name])) < MIN_GROUPS]
    return _only(flows, np.flatnonzero(~np.isin(pair, few))), few


def _only(flows: LabelledFlows, rows: Rows) -> LabelledFlows:
    fields = ("features", "protocol", "application", "flow_id", "group", "hashes")
    return replace(flows, **{name: getattr(flows, name)[rows] for name in fields})


def runs(flows: LabelledFlows, plan: Plan, models: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The figures of each model on the plan's test rows; trees get the networks' validation rows too."""
    bundle = train(flows, plan)
    columns = [flows.feature_names.index(name) for name in bundle.features]
    flows = replace(flows, features=flows.features[:, columns], feature_names=bundle.features)
    parts = split(flows, plan.split, plan.seed, RECIPES[plan.recipe].validation_share, plan.validation or None)
    learn = np.concatenate([parts.train, parts.validation])
    for model in models:
        if model == "networks":
            figures = bundle.metrics["test"]
        else:
            fitted = fit_trees(bundle, flows, learn, TREES[model], plan.seed)

            def trees(part: Bundle, fitted: dict[str, Any] = fitted) -> TreesCascade:
                return TreesCascade(part, fitted)

            test = parts.test
            figures = evaluate(
                bundle, trees, flows.features[test], flows.protocol[test], flows.application[test], flows.flow_id[test]
            )
        yield {
            "model": model,
            "split": plan.split,
            "seed": plan.seed,
            "test": len(parts.test),
            "protocol": figures["protocol"]["accuracy"],
            "protocol_known_application": figures["end_to_end"]["protocol_accuracy"],
            **{f"{name} applications": stage["accuracy"] for name, stage in figures["stage2"].items()},
            "end_to_end": figures["end_to_end"]["accuracy"],
            "end_to_end_at_80_coverage": figures["end_to_end"]["accuracy_at_80_coverage"],
        }


@click.command()
@click.argument("flows")
@click.option("--groups", metavar="FILE")
@click.option("--features", default="paper", show_default=True, metavar="PRESET")
@click.option("--applications", default="paper", show_default=True, type=click.Choice(["paper", "all"]))
@click.option("--recipe", default="default", show_default=True, type=click.Choice(list(RECIPES)))
@click.option("--split", "kind", default="random", show_default=True, type=click.Choice(KINDS))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default="kept", show_default=True, type=click.Choice(["kept", "removed"]))
@click.option("--model", "models", multiple=True, type=click.Choice(["networks", *TREES]), help="Default: all.")
def main(
    flows: str,
    groups: str | None,
    features: str,
    applications: str,
    recipe: str,
    kind: str,
    seeds: int,
    repeats: str,
    models: tuple[str, ...],
) -> None:
    """Accuracy of the networks and of trees on one kind of split of FLOWS, for seeds 0, 1, …"""
    labelled = read_labelled(flows, features, groups=groups)
    if repeats == "removed":
        labelled = without_repeats(labelled)
    if kind == "groups":
        labelled, few = in_enough_groups(labelled)
        click.echo(f"left out, from fewer than {MIN_GROUPS} groups: {', '.join(few) or 'none'}", err=True)
    for seed in range(seeds):
        plan = Plan("measured", recipe=recipe, applications=applications, split=kind, seed=seed)
        for figures in runs(labelled, plan, models or ("networks", *TREES)):
            click.echo(json.dumps({"repeats": repeats, **figures}))


if __name__ == "__main__":
    main()
