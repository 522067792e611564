"""Tree models as cascades: what the networks are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I64, Floats
from etcc_edge.bundle import Bundle, Node
from etcc_edge.bundle.model import derived_columns
from etcc_edge.bundle.seen import true_applications
from etcc_edge.engines.result import Result
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.truth import LabelledFlows


@dataclass(frozen=True)
class Tree:
    """``model`` was fitted on codes 0 … n - 1; ``labels`` int64 [n]: which of its node's labels these are."""

    model: Any
    labels: I64


Models = dict[str, Tree]  # by node id

# Their libraries and settings. The smaller XGBoost gives up half a point of accuracy for seven times the speed.
TREES: dict[str, tuple[str, dict[str, Any]]] = {
    "xgboost": ("xgboost", {"n_estimators": 400, "max_depth": 10, "learning_rate": 0.1, "tree_method": "hist"}),
    "small xgboost": ("xgboost", {"n_estimators": 100, "max_depth": 8, "learning_rate": 0.2, "tree_method": "hist"}),
    "random forest": ("sklearn", {"n_estimators": 200}),
}


def make(name: str, seed: int) -> Any:
    """A model that is not fitted yet. Raises ImportError without its library."""
    library, settings = TREES[name]
    if library == "xgboost":
        from xgboost import XGBClassifier

        # Several threads wait for each other, on a busy machine many times longer than they work.
        return XGBClassifier(random_state=seed, n_jobs=1, **settings)
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_jobs=-1, random_state=seed, **settings)


class TreesCascade:
    """The two stages with a tree model each, by node id, on so many threads (None: as fitted)."""

    def __init__(self, bundle: Bundle, models: Models, threads: int | None = None) -> None:
        self._bundle, self._models = bundle, models
        for tree in models.values() if threads else ():
            tree.model.set_params(n_jobs=threads)
            if hasattr(tree.model, "get_booster"):
                tree.model.get_booster().set_param({"nthread": threads})

    def run(self, raw: F32) -> Result:
        names = self._bundle.vocabulary()
        codes = np.full((len(names), len(raw)), -1, np.int32)
        confidence = np.full((len(names), len(raw)), np.nan, np.float32)
        reached = [(self._bundle.root, np.arange(len(raw)), 0)]
        while reached:
            node, rows, depth = reached.pop()
            if not len(rows):
                continue
            tree = self._models[node.id]
            probability = _probabilities(tree.model, read_by(node, raw[rows]))
            label = tree.labels[probability.argmax(axis=1)]
            codes[depth, rows] = np.array([names[depth].index(name) for name in node.labels])[label]
            confidence[depth, rows] = probability.max(axis=1)
            reached += [
                (child, rows[label == node.labels.index(name)], depth + 1) for name, child in node.children.items()
            ]
        return Result(self._bundle.levels, names, codes, confidence, np.full_like(confidence, np.nan))


def read_by(node: Node, raw: F32) -> F32:
    """What the node's network reads of features [n, f], and its derived inputs."""
    read = np.unique(np.concatenate([node.scaler.sources, node.scaler.second]))
    return np.concatenate([raw[:, read[read >= 0]], derived_columns(raw, node.scaler.derived())], axis=1)


def _probabilities(model: Any, raw: F32) -> Floats:
    """[n, classes]; of XGBoost without its scikit-learn face, which costs more than a small model."""
    if not hasattr(model, "get_booster"):
        probability: Floats = model.predict_proba(raw)
        return probability
    second = np.asarray(model.get_booster().inplace_predict(raw, validate_features=False))
    return second if second.ndim == 2 else np.stack([1 - second, second], axis=1)


def fit_trees(bundle: Bundle, flows: LabelledFlows, rows: I64, name: str, seed: int) -> Models:
    """A model for each node of the bundle, by its id, on its network's inputs, with the labels that ``rows`` have;
    ``flows`` has the bundle's features."""
    raw = np.where(np.isfinite(flows.features), flows.features, np.nan)
    protocol = codes_of(bundle.root.labels, flows.protocol)
    applications = true_applications(bundle, flows.application, flows.service)
    labels = [(bundle.root, protocol)]
    for label_name, child in bundle.root.children.items():
        belongs = protocol == bundle.root.labels.index(label_name)
        labels.append((child, np.where(belongs, codes_of(child.labels, applications), -1)))
    models = {}
    for node, label in labels:
        learn = rows[label[rows] >= 0]
        present, codes = np.unique(label[learn], return_inverse=True)
        models[node.id] = Tree(make(name, seed).fit(read_by(node, raw[learn]), codes), present)
    return models
