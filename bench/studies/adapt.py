"""Adapting against training anew: ``python -m etcc_edge.bench.studies.adapt OLD --groups FILE NEW --groups FILE``.

Needs the ``train`` extra. A bundle is trained on OLD. Half of the sessions of NEW give labelled flows, the other half
tests. One JSON line a seed and number of flows, as each is done.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from etcc_edge.arrays import I64
from etcc_edge.bundle import Bundle, load_bundle
from etcc_edge.bundle.store import save_bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.errors import EtccError
from etcc_edge.flows.truth import LabelledFlows, joined, read_labelled
from etcc_edge.training.adapt import adapt, split_kind
from etcc_edge.training.plan import Plan
from etcc_edge.training.splits import split
from etcc_edge.training.train import train

from .accuracy import Outcome

PLAN = Plan("measured", split="session", validation="session", test_share=0.1)


def drawn(flows: LabelledFlows, rows: I64, count: int, seed: int) -> I64:
    """At most ``count`` of the rows of each pair of labels, sorted."""
    pairs = np.char.add(np.char.add(flows.protocol[rows], " "), flows.application[rows])
    order = np.random.default_rng(seed).permutation(len(rows))
    return np.sort(np.concatenate([rows[order][pairs[order] == pair][:count] for pair in np.unique(pairs)]))


def outcome(bundle: Bundle, flows: LabelledFlows) -> dict[str, Any]:
    """The figures of a bundle on labelled flows with more features than it reads."""
    columns = [flows.feature_names.index(name) for name in bundle.features]
    own = np.ascontiguousarray(flows.features[:, columns])
    tested = replace(flows, features=own, feature_names=bundle.features)
    return Outcome.of(bundle, open_cascade(bundle, choose("onnxruntime", "fp32")), tested).figures()


def stored(bundle: Bundle, folder: str) -> Bundle:
    """As a user has it: from a file."""
    path = Path(tempfile.mkdtemp(dir=folder)) / "measured"
    save_bundle(bundle, path)
    return load_bundle(path)


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--groups", nargs=2, required=True, metavar="FILE FILE", help="Of OLD and of NEW.")
@click.option("--flows", "counts", multiple=True, type=click.IntRange(1), default=(50, 200), show_default=True)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
def main(old: str, new: str, groups: tuple[str, str], counts: tuple[int, ...], seeds: int) -> None:
    """How many labels are right on sessions of NEW never seen: before, adapted, and trained anew on OLD and the same
    labelled flows."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            first = read_labelled(old, groups=groups[0], to_split=True)
            second = read_labelled(new, first.feature_names, groups=groups[1], to_split=True)
            base = stored(train(first, PLAN), folder)
            names = [first.feature_names.index(name) for name in base.features]
            for seed in range(seeds):
                parts = split(second, "session", seed, 0.0, test_share=0.5)
                tested = second.take(parts.test)
                for count in counts:
                    taught = second.take(drawn(second, parts.train, count, seed))
                    own = replace(
                        taught, features=np.ascontiguousarray(taught.features[:, names]), feature_names=base.features
                    )
                    bundles = {
                        "before": base,
                        "adapted": stored(
                            adapt(base, own, replace(PLAN, split=split_kind(own), seed=seed)).bundle, folder
                        ),
                        "trained anew": stored(train(joined([first, taught]), replace(PLAN, seed=seed)), folder),
                    }
                    for model, bundle in bundles.items():
                        line = {"model": model, "seed": seed, "flows a label": count, "flows": len(taught)}
                        click.echo(json.dumps({**line, **outcome(bundle, tested)}))
    except EtccError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
