"""Accuracy figures: by hand, and the same as scikit-learn's."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from etcc_edge.evaluation.metrics import (
    Confusion,
    bootstrap,
    interval,
    reliability,
    risk_coverage,
    separation,
)

ABC = ("a", "b", "c")
# true a a a b b, one flow without known truth; predicted a b none b b, c
TRUE = np.array([0, 0, 0, 1, 1, -1])
PREDICTED = np.array([0, 1, -1, 1, 1, 2])


def test_counts_have_a_column_for_no_label_and_leave_out_unknown_truth() -> None:
    confusion = Confusion.of(ABC, TRUE, PREDICTED)
    assert confusion.counts.tolist() == [[1, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert confusion.support.tolist() == [3, 2, 0]


def test_figures_by_hand() -> None:
    confusion = Confusion.of(ABC, TRUE, PREDICTED)
    assert confusion.accuracy == pytest.approx(3 / 5)
    np.testing.assert_allclose(confusion.precision, [1, 2 / 3, np.nan])
    np.testing.assert_allclose(confusion.recall, [1 / 3, 1, np.nan])
    np.testing.assert_allclose(confusion.f1, [2 / 4, 4 / 5, np.nan])
    assert confusion.summary() == pytest.approx({"accuracy": 3 / 5, "precision": 5 / 6, "recall": 2 / 3, "f1": 0.65})


def test_a_class_that_was_never_predicted_has_precision_0() -> None:
    confusion = Confusion.of(ABC, np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_allclose(confusion.precision, [1 / 2, 0, np.nan])


def test_a_class_that_only_was_predicted_does_not_count_in_the_means() -> None:
    confusion = Confusion.of(ABC, np.array([0, 0]), np.array([0, 2]))
    np.testing.assert_allclose(confusion.precision, [1, np.nan, 0])
    np.testing.assert_allclose(confusion.recall, [1 / 2, np.nan, np.nan])
    assert confusion.summary()["precision"] == 1


def test_codes_beyond_the_classes_are_none_of_them() -> None:
    confusion = Confusion.of(("a", "b"), np.array([0, 2, 1]), np.array([7, 0, 1]))
    assert confusion.counts.tolist() == [[0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("true", [[], [-1, -1]])
def test_nothing_counted_is_nan_and_not_a_number(true: list[int]) -> None:
    codes = np.array(true, np.int64)
    assert all(np.isnan(value) for value in Confusion.of(ABC, codes, codes).summary().values())


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_the_integer_type_of_the_codes_does_not_matter(dtype: type) -> None:
    codes = np.arange(40, dtype=dtype)
    confusion = Confusion.of(tuple(map(str, range(40))), codes, codes)
    np.testing.assert_array_equal(confusion.counts[:, :-1], np.eye(40))


codes = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=60)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(codes)
def test_figures_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = np.array(pairs).T
    confusion = Confusion.of(("a", "b", "c", "d", "e"), true, predicted)
    true, predicted = true[true >= 0], predicted[true >= 0]
    if not len(true):
        return
    occurring = np.unique(true)
    options = {"labels": occurring, "average": "macro", "zero_division": 0}
    assert confusion.summary() == pytest.approx(
        {
            "accuracy": sk.accuracy_score(true, predicted),
            "precision": sk.precision_score(true, predicted, **options),
            "recall": sk.recall_score(true, predicted, **options),
            "f1": sk.f1_score(true, predicted, **options),
        }
    )
    matrix = sk.confusion_matrix(true, predicted, labels=[0, 1, 2, 3, 4, -1])
    np.testing.assert_array_equal(confusion.counts, matrix[:5])


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [
        ([1.0, 1.0], [True, True], 0.0),
        ([1.0, 1.0], [False, False], 1.0),
        ([0.75, 0.75, 0.75, 0.75], [True, True, True, False], 0.0),
        # Two bins: |0.9 - 1| over three flows, |0.5 - 0| over one.
        ([0.9, 0.9, 0.9, 0.5], [True, True, True, False], (3 * 0.1 + 0.5) / 4),
        # One bin of 15: what is too sure makes up for what is not.
        ([0.60, 0.66], [True, False], abs(0.60 + 0.66 - 1) / 2),
    ],
)
def test_calibration_error_by_hand(confidence: list[float], right: list[bool], error: float) -> None:
    assert reliability(np.array(confidence), np.array(right)).error == pytest.approx(error)


def test_calibration_of_nothing_is_nan() -> None:
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool)).error)


def test_reliability_by_hand() -> None:
    bins = reliability(np.array([0.0, 0.1, 0.55, 1.0, 0.9]), np.array([True, False, True, True, False]), bins=4)
    assert bins.flows.tolist() == [2, 0, 1, 2]
    np.testing.assert_allclose(bins.confidence, [0.05, np.nan, 0.55, 0.95])
    np.testing.assert_allclose(bins.accuracy, [0.5, np.nan, 1, 0.5])
    assert bins.error == pytest.approx((2 * 0.45 + 0.45 + 2 * 0.45) / 5)


def test_refusing_the_least_sure_by_hand() -> None:
    confidence, right = np.array([0.9, 0.6, np.nan, 0.8]), np.array([True, False, False, True])
    curve = risk_coverage(confidence, right, [1, 0.75, 0.5, 0.25])
    assert curve.accuracy.tolist() == pytest.approx([2 / 4, 2 / 3, 1, 1])
    np.testing.assert_allclose(curve.confidence, [np.nan, 0.6, 0.8, 0.9])
    assert curve.area == pytest.approx((1 + 1 + 2 / 3 + 2 / 4) / 4)


def test_shares_between_two_flows_refuse_part_of_one() -> None:
    assert risk_coverage(np.array([0.9, 0.5]), np.array([True, False]), [0.75]).accuracy[0] == pytest.approx(1 / 1.5)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.8]), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_the_order_of_equally_sure_flows_does_not_matter(flows: list[tuple[float, bool]], mixer: Random) -> None:
    def curve(pairs: list[tuple[float, bool]]) -> np.ndarray:
        confidence, right = np.array([c for c, _ in pairs]), np.array([r for _, r in pairs])
        curve = risk_coverage(confidence, right, [1, 0.7, 0.2])
        return np.array([*curve.accuracy, curve.area])

    shuffled = flows.copy()
    mixer.shuffle(shuffled)
    np.testing.assert_allclose(curve(flows), curve(shuffled))


def test_one_confidence_for_all_gains_nothing() -> None:
    curve = risk_coverage(np.full(10, 0.5), np.arange(10) < 7, [1, 0.8, 0.05])
    assert [*curve.accuracy, curve.area] == pytest.approx([0.7] * 4)


def test_refusing_of_no_flows_is_nan() -> None:
    curve = risk_coverage(np.zeros(0), np.zeros(0, bool), [1, 0.5])
    assert np.isnan([*curve.accuracy, *curve.confidence, curve.area]).all()


def drawn(right: np.ndarray, units: np.ndarray, **options: int) -> np.ndarray:
    return bootstrap(right[:, None], np.ones((len(right), 1), bool), units, **options)[:, 0]


def test_the_bootstraps_spread_is_that_of_theory() -> None:
    right = np.arange(2000) < 1600
    draws = drawn(right, np.arange(2000))
    assert draws.std() == pytest.approx(np.sqrt(0.8 * 0.2 / 2000), rel=0.1)
    assert interval(draws) == pytest.approx((0.8 - 1.96 * draws.std(), 0.8 + 1.96 * draws.std()), abs=0.002)


def test_flows_of_one_unit_are_drawn_together() -> None:
    right = np.arange(2000) < 1600
    # Ten copies of each flow say no more than one: the interval is sqrt(10) times as wide as of independent flows.
    assert drawn(right, np.arange(2000) // 10).std() == pytest.approx(np.sqrt(0.8 * 0.2 / 200), rel=0.1)


def test_units_of_several_sizes_are_drawn_as_scipy_does() -> None:
    from scipy.stats import bootstrap as scipys

    rng = np.random.default_rng(3)
    units = np.sort(rng.integers(0, 80, 400))
    _, units = np.unique(units, return_inverse=True)
    right = rng.random(400) < 0.7
    hits, flows = np.bincount(units, right), np.bincount(units)

    def accuracy(h: np.ndarray, n: np.ndarray, axis: int) -> np.ndarray:
        return h.sum(axis=axis) / n.sum(axis=axis)

    theirs = scipys((hits, flows), accuracy, paired=True, vectorized=True, method="percentile", n_resamples=4000, rng=1)
    low, high = interval(drawn(right, units, resamples=4000)) or (0, 0)
    assert (low, high) == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.01)


def test_each_accuracy_counts_its_own_flows() -> None:
    counted = np.array([[True, True], [True, False], [True, False]])
    right = np.array([[True, False], [True, True], [True, True]])
    draws = bootstrap(right, counted, np.arange(3))
    assert set(draws[:, 0]) == {1.0}
    assert set(draws[~np.isnan(draws[:, 1]), 1]) == {0.0}
    assert np.isnan(draws[:, 1]).any()


def test_draws_that_are_all_one_have_no_interval() -> None:
    assert interval(np.array([1.0, np.nan, 1.0])) is None
    assert interval(np.full(3, np.nan)) is None
    low, high = interval(np.array([0.4, np.nan, 0.6])) or (0, 0)
    assert 0.4 < low < high < 0.6


def test_the_seed_decides_the_draw() -> None:
    right, units = np.arange(50) < 30, np.arange(50)
    np.testing.assert_array_equal(drawn(right, units, seed=1), drawn(right, units, seed=1))
    assert (drawn(right, units, seed=1) != drawn(right, units, seed=2)).any()


def test_nothing_drawn_has_no_interval() -> None:
    assert interval(drawn(np.zeros(0, bool), np.zeros(0, np.int64))) is None


# --- known and unknown --------------------------------------------------------------------------------------


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_auroc_is_the_share_of_pairs_in_the_right_order(known, unknown):
    pairs = [1.0 if u > k else 0.5 if u == k else 0.0 for k in known for u in unknown]
    figures = separation(np.array(known, float), np.array(unknown, float))
    assert figures["auroc"] == pytest.approx(np.mean(pairs))
    passes = min(limit for limit in known if np.mean(np.array(known) <= limit) >= 0.95 - 1e-9)
    assert figures["fpr_at_95_tpr"] == pytest.approx(np.mean(np.array(unknown) <= passes))


def test_without_flows_on_a_side_nothing_is_separated():
    assert all(np.isnan(value) for value in separation(np.zeros(0), np.ones(3)).values())
