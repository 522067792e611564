"""What is told of flows that were held out of training: ``python -m etcc_edge.bench.laboratory.held_out FOLDER``.

FOLDER is what `wire` wrote. Tunnel or not: the network of protocols as the recipe `wire` trains it, or trees of its
inputs. Applications: whole bundles. Measured on whole flows of ten packets or more; one JSON line a figure. Needs the
``bench`` extra.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import click
import numpy as np

from etcc_edge.arrays import I64, Bools, Floats, Text
from etcc_edge.bundle.model import derived_columns
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.truth import LabelledFlows, read_labelled_files
from etcc_edge.infer.classifier import Classifier
from etcc_edge.training.plan import Plan, parts_of
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import Split, at_random
from etcc_edge.training.stage import Stage, derived_inputs, fit_stage, session_weights
from etcc_edge.training.train import train

from ..contenders.trees import make
from .scenario import NETWORKS
from .tunnels import TUNNELS
from .wire import FEATURES, FILES, PARTS, PORTS

FOLDS = 5
LEAST = 10  # packets of a flow that is measured
RECIPE = RECIPES["wire"]
PROTOCOLS = ("Non-VPN", "Proxy", "Tor", "VPN")

Scores: TypeAlias = Callable[[LabelledFlows, I64, I64], Floats]
"""How much each tested flow (row numbers [n], the second) is a tunnel, [n], learnt from the flows of the first."""


@dataclass(frozen=True)
class HeldOut:
    """``flows`` with the wire features. The rest is [n]: of a flow its ``file``, whether it ``counts`` (it is whole and
    large enough), whether it is a ``tunnel``, whether ``udp``, and the ``fold`` of its capture or scenario."""

    flows: LabelledFlows
    file: Text
    counts: Bools
    tunnel: Bools
    udp: Bools
    fold: I64


def read(folder: Path, seed: int) -> HeldOut:
    names = [name + part for name in FILES for part in ("", PARTS) if (folder / f"{name}{part}.csv").exists()]
    paths = [folder / f"{name}.csv" for name in names]
    names_read = [*FEATURES, *PORTS, "fwd_packets", "bwd_packets"]
    flows = read_labelled_files(paths, names_read, groups=[path.with_suffix(".txt") for path in paths])
    written = np.repeat(names, [len(path.with_suffix(".txt").read_text().splitlines()) for path in paths])
    large = flows.features[:, -2:].sum(axis=1) >= LEAST
    flows = replace(flows, features=flows.features[:, :-2].copy(), feature_names=(*FEATURES, *PORTS))
    file = np.char.replace(written, PARTS, "")
    fold = np.zeros(len(flows), np.int64)
    for name in FILES:
        groups, of = np.unique(flows.capture[file == name], return_inverse=True)
        fold[file == name] = (np.random.default_rng(seed).permutation(len(groups)) % FOLDS)[of]
    udp = flows.features[:, FEATURES.index("ip_protocol")] == 17
    return HeldOut(flows, file, large & (file == written), flows.protocol != "Non-VPN", udp, fold)


def network_scores(flows: LabelledFlows, learn: I64, test: I64, *, seed: int) -> Floats:
    labels = codes_of(PROTOCOLS, flows.protocol)
    train, validation = at_random(learn, labels[learn], RECIPE.validation_share, seed)
    stage = Stage("stage1", "", PROTOCOLS, labels)
    fitted = fit_stage(flows, stage, Split(train, validation, test), Plan("wire", "wire", seed=seed), lambda _: None)
    logits = OnnxRuntimeEngine(fitted.onnx).run(fitted.node.scaler.transform(flows.features, test))
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    tunnel: Floats = 1 - odds[:, 0] / odds.sum(axis=1)
    return tunnel


def tree_scores(flows: LabelledFlows, learn: I64, test: I64, *, seed: int) -> Floats:
    raw = flows.features[:, : len(FEATURES)]
    columns = np.concatenate([raw, derived_columns(raw, derived_inputs(RECIPE, tuple(FEATURES)))], axis=1)
    labels = codes_of(PROTOCOLS, flows.protocol)[learn]
    weight = session_weights(flows.session[learn], labels, RECIPE.session_power)
    model = make("small xgboost", seed).fit(columns[learn], labels, sample_weight=weight)
    tunnel: Floats = 1 - model.predict_proba(columns[test])[:, 0]
    return tunnel


MODELS = {"network": network_scores, "trees": tree_scores}


def area(tunnel: Bools, score: Floats) -> float:
    """Under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(tunnel, score)), 3)


def report(rows: HeldOut, what: str, learn: Bools, test: Bools, scores: Scores) -> None:
    test = test & rows.counts
    score = scores(rows.flows, np.flatnonzero(learn), np.flatnonzero(test))
    figures = {"held out": what, "tunnels": int((test & rows.tunnel).sum()), "others": int((test & ~rows.tunnel).sum())}
    click.echo(json.dumps({**figures, "auroc": area(rows.tunnel[test], score)}))


def by_folds(rows: HeldOut, scores: Scores) -> None:
    """Every file in folds: its tunnels found at 1 % false alarms among the UDP flows of the public files that are
    none."""
    score = np.zeros(len(rows.fold))
    for fold in range(FOLDS):
        test = np.flatnonzero((rows.fold == fold) & rows.counts)
        score[test] = scores(rows.flows, np.flatnonzero(rows.fold != fold), test)
    public = rows.counts & (rows.file != "laboratory")
    threshold = np.quantile(score[public & ~rows.tunnel & rows.udp], 0.99)
    for name in ("laboratory", "captures", "vnat"):
        its = rows.counts & (rows.file == name)
        found = float((score[its & rows.tunnel] > threshold).mean())
        figures = {"folds of": name, "tunnels": int((its & rows.tunnel).sum()), "found": round(found, 3)}
        click.echo(json.dumps({**figures, "auroc": area(rows.tunnel[its], score[its])}))


def applications(rows: HeldOut, seed: int) -> None:
    """Of foreground flows of sessions never seen, by protocol and application: how many get one, and how many of those
    the right one, from bundles that were each trained without a fold of the sessions."""
    flows = rows.flows
    given = np.zeros(len(flows), bool)
    right, tested, protocol_right = given.copy(), given.copy(), given.copy()
    for fold in range(FOLDS):
        plan = Plan("wire", "wire", split="session", fold=fold, test_share=1 / FOLDS, seed=seed)
        test = parts_of(flows, plan).test
        test = test[rows.counts[test] & (flows.service[test] == "")]
        bundle = train(flows, plan)
        result = Classifier(bundle, min_confidence=0).predict(flows.features[test])
        given[test] = result.at_least(bundle.least_confidence).codes[1] >= 0
        right[test] = result.labels("application") == flows.application[test]
        protocol_right[test] = result.labels("protocol") == flows.protocol[test]
        tested[test] = True
    for file in FILES:
        for protocol in PROTOCOLS:
            its = tested & (rows.file == file) & (flows.protocol == protocol)
            for application in sorted(set(flows.application[its].tolist())):
                own = its & (flows.application == application)
                figures = {"file": file, "protocol": protocol, "application": application, "flows": int(own.sum())}
                counted = {
                    "given": given[own],
                    "right of given": right[own & given],
                    "right of all": right[own],
                    "protocol right": protocol_right[own],
                }
                shares = {name: round(float(of.mean()), 3) if len(of) else None for name, of in counted.items()}
                click.echo(json.dumps({**figures, **shares}))


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--what", default="tunnels", show_default=True, type=click.Choice(["tunnels", "applications"]))
@click.option("--model", default="network", show_default=True, type=click.Choice(list(MODELS)))
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, what: str, model: str, seed: int) -> None:
    """Tunnel or not, on products, networks, files and captures that were held out, or the applications on sessions."""
    rows, scores = read(folder, seed), partial(MODELS[model], seed=seed)
    if what == "applications":
        applications(rows, seed)
        return
    own = rows.file == "laboratory"
    tunnels = np.char.partition(rows.flows.capture, ".")[:, 0]
    others = own & ~rows.tunnel & (rows.fold <= 1)
    for product in sorted({tunnel.product for tunnel in TUNNELS.values()} - {"none"}):
        names = [name for name, tunnel in TUNNELS.items() if tunnel.product == product]
        its = own & rows.tunnel & np.isin(tunnels, names)
        report(rows, product, ~its & ~others, its | others, scores)
    for network in NETWORKS:
        test = own & (np.char.find(rows.flows.capture, f".{network}.") >= 0)
        report(rows, network, ~test, test, scores)
    for name in ("vnat", "captures"):
        test = rows.file == name
        report(rows, name, ~test, test, scores)
    by_folds(rows, scores)


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.laboratory.held_out")
