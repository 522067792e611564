"""Tunnel or not, on what was held out of training: ``python -m etcc_edge.bench.laboratory.held_out FOLDER``.

FOLDER is what `wire` wrote. Boosted trees of the wire features; flows of ten packets or more. One JSON line a figure.
Needs the ``bench`` extra.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from etcc_edge.arrays import F32, I64, Bools, Floats, Text
from etcc_edge.flows.truth import read_labelled

from ..contenders.trees import make
from .scenario import NETWORKS
from .tunnels import TUNNELS
from .wire import FEATURES

FILES = ("laboratory", "captures", "vnat", "iscx", "iscx-more", "tor")
FOLDS = 5
LEAST = 10  # packets


@dataclass(frozen=True)
class Flows:
    """``features``: float32 [n, f]; ``tunnel``, ``udp``: whether it is one; ``file``, ``group``: where it is from;
    ``fold``: of its group."""

    features: F32
    tunnel: Bools
    udp: Bools
    file: Text
    group: Text
    fold: I64


def read(folder: Path, seed: int) -> Flows:
    parts = []
    for name in FILES:
        flows = read_labelled(
            folder / f"{name}.csv", [*FEATURES, "fwd_packets", "bwd_packets"], groups=folder / f"{name}.txt"
        )
        flows = flows.take(np.flatnonzero(flows.features[:, -2:].sum(axis=1) >= LEAST))
        groups, of = np.unique(flows.capture, return_inverse=True)
        fold = (np.random.default_rng(seed).permutation(len(groups)) % FOLDS)[of]
        features = flows.features[:, : len(FEATURES)]
        file, udp = np.full(len(flows), name), features[:, FEATURES.index("ip_protocol")] == 17
        parts.append(Flows(features, flows.protocol != "Non-VPN", udp, file, flows.capture, fold))
    return Flows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Flows.__annotations__))


def scores(flows: Flows, learn: Bools, test: Bools, seed: int) -> Floats:
    """[test] how much each tested flow is a tunnel, by trees of the others. Both labels of a file weigh alike, and a
    group by the root of its flows."""
    rows = np.flatnonzero(learn)
    _, of, sizes = np.unique(flows.group[rows], return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(sizes[of])
    for name in FILES:
        for label in (False, True):
            its = (flows.file[rows] == name) & (flows.tunnel[rows] == label)
            weight[its] /= weight[its].sum() or 1
    model = make("small xgboost", seed)
    model.fit(flows.features[rows], flows.tunnel[rows], sample_weight=weight * len(rows) / weight.sum())
    probability: Floats = model.predict_proba(flows.features[test])[:, 1]
    return probability


def area(tunnel: Bools, score: Floats) -> float:
    """Under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(tunnel, score)), 3)


def report(flows: Flows, what: str, learn: Bools, test: Bools, seed: int) -> None:
    figures = {
        "held out": what,
        "tunnels": int((test & flows.tunnel).sum()),
        "others": int((test & ~flows.tunnel).sum()),
    }
    score = scores(flows, learn, test, seed)
    click.echo(json.dumps({**figures, "auroc": area(flows.tunnel[test], score)}))


def by_folds(flows: Flows, seed: int) -> None:
    """Every file in folds of its groups: VNAT's tunnels found at 1 % false alarms among the UDP flows of the public
    files that are none."""
    score = np.zeros(len(flows.fold))
    for fold in range(FOLDS):
        test = flows.fold == fold
        score[test] = scores(flows, ~test, test, seed)
    public = np.isin(flows.file, ["vnat", "iscx", "iscx-more", "captures"])
    threshold = np.quantile(score[public & ~flows.tunnel & flows.udp], 0.99)
    for name in ("laboratory", "captures", "vnat"):
        its = flows.file == name
        found = float((score[its & flows.tunnel] > threshold).mean())
        figures = {"folds of": name, "tunnels": int((its & flows.tunnel).sum()), "found": round(found, 3)}
        click.echo(json.dumps({**figures, "auroc": area(flows.tunnel[its], score[its])}))


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(folder: Path, seed: int) -> None:
    """Tunnel or not, on products, networks, files and captures that were held out, from the files in FOLDER."""
    flows = read(folder, seed)
    own = flows.file == "laboratory"
    tunnels = np.char.partition(flows.group, ".")[:, 0]
    others = own & ~flows.tunnel & (flows.fold == 0)
    for product in sorted({tunnel.product for tunnel in TUNNELS.values()} - {"none"}):
        names = [name for name, tunnel in TUNNELS.items() if tunnel.product == product]
        its = own & flows.tunnel & np.isin(tunnels, names)
        report(flows, product, own & ~its & ~others, its | others, seed)
    for network in NETWORKS:
        test = own & (np.char.find(flows.group, f".{network}.") >= 0)
        report(flows, network, own & ~test, test, seed)
    for name in ("vnat", "captures"):
        test = flows.file == name
        report(flows, name, ~test, test, seed)
    by_folds(flows, seed)


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.laboratory.held_out")
