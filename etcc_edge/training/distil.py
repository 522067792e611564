"""What a network learns from gradient-boosted trees: their opinion of the flows, and of flows like them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.model import Derived, derived_columns
from etcc_edge.training.recipes import Teacher


def teach(
    raw: F32, label: I64, classes: int, teacher: Teacher, seed: int, inputs: Sequence[Derived] = ()
) -> tuple[F32, F32]:
    """Rows float32 [m, f] and the probabilities float32 [m, classes] to learn for them.

    The first n are ``raw`` itself, whose probabilities are half the label's and half the trees'. The others are
    copies in which some features come from another flow of the same label, so that a network sees what the trees
    say between the flows too (model compression, Bucila et al., KDD 2006). The trees read the derived ``inputs`` too.
    """
    rng = np.random.default_rng(seed)

    def columns(rows: F32) -> F32:
        return np.concatenate([rows, derived_columns(rows, inputs)], axis=1)

    read = columns(raw)
    seen = ~np.isnan(read).all(axis=0)  # a feature without any value has no bins
    trees = HistGradientBoostingClassifier(
        max_iter=teacher.rounds,
        learning_rate=0.1,
        max_leaf_nodes=31,
        min_samples_leaf=5,
        max_features=0.5,
        early_stopping=False,
        random_state=seed,
    ).fit(read[:, seen], label)

    def opinion(rows: F32) -> F32:
        probability = np.zeros((len(rows), classes), np.float32)
        probability[:, trees.classes_] = trees.predict_proba(columns(rows)[:, seen])
        return probability

    rows: list[F32] = [raw]
    targets: list[F32] = [np.float32(0.5) * (np.eye(classes, dtype=np.float32)[label] + opinion(raw))]
    same_label = [np.flatnonzero(label == code) for code in range(classes)]
    for _ in range(teacher.flows // len(raw)):
        partner = np.empty(len(raw), np.int64)
        for members in same_label:
            partner[members] = rng.permutation(members)
        mixed: F32 = np.where(rng.random(raw.shape) < teacher.swap_rate, raw[partner], raw)
        rows.append(mixed)
        targets.append(opinion(mixed))
    return np.concatenate(rows), np.concatenate(targets)
