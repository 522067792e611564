"""What trees teach: the flows themselves, and mixtures within a label."""

from __future__ import annotations

import numpy as np

from etcc_edge.training.distil import teach
from etcc_edge.training.recipes import Teacher

TEACHER = Teacher(rounds=5, flows=250, swap_rate=0.5)


def lessons(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    label = np.arange(100) % 2
    raw = (rng.random((100, 4)) + 10 * label[:, None]).astype(np.float32)
    return raw, label, *teach(raw, label, 3, TEACHER, seed)


def test_the_flows_come_first_and_then_whole_copies() -> None:
    raw, _, rows, target = lessons()
    assert rows.shape == (300, 4)
    assert target.shape == (300, 3)
    assert (rows.dtype, target.dtype) == (np.float32, np.float32)
    assert (rows[:100] == raw).all()


def test_targets_are_probabilities_that_lean_to_the_label_and_give_none_to_a_label_without_flows() -> None:
    _, label, _, target = lessons()
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-5)
    assert (target[np.arange(300), np.tile(label, 3)] > 0.5).all()
    assert (target[:, 2] == 0).all()


def test_a_mixed_flow_has_each_feature_from_a_flow_of_its_label() -> None:
    raw, label, rows, _ = lessons()
    mixed = rows[100:]
    changed = mixed != np.tile(raw, (2, 1))
    assert 0.3 < changed.mean() < 0.6
    for code in (0, 1):
        for feature in range(4):
            assert np.isin(mixed[np.tile(label, 2) == code, feature], raw[label == code, feature]).all()


def test_a_feature_without_values_teaches_nothing() -> None:
    raw, label, rows, _ = lessons()
    raw[:, 2] = np.nan
    rows, target = teach(raw, label, 3, TEACHER, 0)
    assert np.isnan(rows[:, 2]).all()
    assert np.isfinite(target).all()


def test_a_seed_gives_one_lesson() -> None:
    assert (lessons(0)[2] == lessons(0)[2]).all()
    assert (lessons(0)[2] != lessons(1)[2]).any()


def test_the_trees_read_derived_inputs() -> None:
    rng = np.random.default_rng(2)
    raw = rng.uniform(1, 9, (400, 2)).astype(np.float32)
    label = (raw[:, 0] > raw[:, 1]).astype(np.int64)
    teacher = Teacher(rounds=60, flows=0, swap_rate=0.0)
    right = [
        (teach(raw, label, 2, teacher, 0, inputs)[1][np.arange(400), label] > 0.995).mean()
        for inputs in ([], [(0, "/", 1)])
    ]
    assert right[1] > right[0] + 0.03
