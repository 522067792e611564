"""Calibration flows: from the training rows, by class, none that a test flow repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcc_edge.errors import EtccError
from etcc_edge.export.calibration import sample

HASHES = np.arange(1000, 2000, dtype=np.uint64)


def flows(n: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, 2], labels in four classes of very different sizes, training and test rows."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 40, (n, 2)).astype(np.float32)
    labels = np.searchsorted([0.8, 0.95, 0.995], rng.random(n)).astype(np.int64)
    return features, labels, np.arange(0, n, 2), np.arange(1, n, 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 400))
def test_none_is_a_test_row_or_repeats_one(seed: int, wanted: int) -> None:
    features, labels, train, test = flows(seed=seed)
    features[::7] = np.nan
    rows = sample(features, labels, HASHES, train, test, wanted).rows
    assert np.isin(rows, train).all()
    assert len(np.unique(rows)) == len(rows)
    tested = {row.tobytes() for row in np.nan_to_num(features[test], nan=-1)}
    assert not any(row.tobytes() in tested for row in np.nan_to_num(features[rows], nan=-1))


def test_classes_keep_their_shares_and_the_rarest_stays() -> None:
    features, labels, train, test = flows()
    features[:, 0] = np.arange(1000)  # no repeats
    rows = sample(features, labels, HASHES, train, test, 100).rows
    got, had = np.bincount(labels[rows], minlength=4), np.bincount(labels[train], minlength=4)
    assert (got >= 1).all()
    np.testing.assert_allclose(got, had / 5, atol=1)


def test_flows_of_other_networks_stay_out() -> None:
    features, labels, train, test = flows()
    labels[labels == 0] = -1
    assert (labels[sample(features, labels, HASHES, train, test).rows] >= 0).all()


def test_a_seed_gives_one_sample_which_its_fingerprint_names() -> None:
    features, labels, train, test = flows()
    first, again, other = (sample(features, labels, HASHES, train, test, 50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.rows, again.rows)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_minus_zero_is_zero() -> None:
    features = np.array([[0.0], [-0.0], [1.0]], np.float32)
    rows = sample(features, np.zeros(3, np.int64), HASHES[:3], np.array([1, 2]), np.array([0])).rows
    assert rows.tolist() == [2]


def test_it_is_an_error_where_test_flows_repeat_all() -> None:
    features = np.zeros((4, 2), np.float32)
    with pytest.raises(EtccError, match="no training flow is left to calibrate with"):
        sample(features, np.zeros(4, np.int64), HASHES[:4], np.array([0, 1]), np.array([2, 3]))
