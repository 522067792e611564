"""Scalers are fitted on what they are given, survive heavy tails, and spread a port over several inputs."""

from __future__ import annotations

import numpy as np
import pytest

from etcc_edge.bundle.model import derived_columns
from etcc_edge.errors import EtccError
from etcc_edge.training.scaling import fit_min_max, fit_quantile

HEAVY = np.concatenate([np.zeros(500), np.geomspace(1, 1e9, 500)]).astype(np.float32)[:, None]


def test_min_max_maps_the_ends_to_0_and_1() -> None:
    raw = np.array([[1, 5], [3, 5], [2, 5]], np.float32)
    assert fit_min_max(raw).transform(raw).tolist() == [[0, 0], [1, 0], [0.5, 0]]


@pytest.mark.parametrize("knots", [4, 64, 10_000])
def test_quantiles_rise_with_the_value_and_span_0_to_1(knots: int) -> None:
    scaled = fit_quantile(HEAVY, knots=knots, atom_power=0.5, segments={}).transform(HEAVY)[:, 0]
    assert (np.diff(scaled) >= 0).all()
    assert (scaled[0], scaled[-1]) == (0, 1)


def test_a_heavy_tail_leaves_the_rest_room() -> None:
    quantile = fit_quantile(HEAVY, knots=256, atom_power=0.5, segments={}).transform(HEAVY)[:, 0]
    assert np.median(quantile[500:]) == pytest.approx(0.5, abs=0.05)
    assert np.median(fit_min_max(HEAVY).transform(HEAVY)[500:]) < 1e-3


def test_plain_quantiles_give_a_spike_its_share() -> None:
    plain = fit_quantile(HEAVY, knots=256, atom_power=1.0, segments={}).transform(HEAVY)[500, 0]
    ranks = fit_quantile(HEAVY, knots=256, atom_power=0.0, segments={}).transform(HEAVY)[500, 0]
    assert plain > 0.3
    assert ranks < 0.01


def test_segments_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 65536, (2000, 2)).astype(np.float32)
    whole = fit_quantile(raw, knots=500, atom_power=0.5, segments={})
    parts = fit_quantile(raw, knots=500, atom_power=0.5, segments={0: 8})
    assert parts.sources.tolist() == [0] * 8 + [1]
    assert parts.transform(raw)[:, :8].mean(axis=1) == pytest.approx(whole.transform(raw)[:, 0], abs=2e-3)


def test_a_feature_of_no_segment_is_read_by_no_input() -> None:
    raw = np.random.default_rng(0).uniform(0, 9, (200, 3)).astype(np.float32)
    scaler = fit_quantile(raw, {1: 0}, [(0, "/", 2)])
    assert scaler.sources.tolist() == [0, 2, 0]
    beyond = raw.copy()
    beyond[:, 1] = 1e6
    np.testing.assert_array_equal(scaler.transform(beyond), scaler.transform(raw))
    assert not scaler.outside(beyond).any()


def test_features_that_no_input_reads_are_refused() -> None:
    with pytest.raises(EtccError, match="the recipe reads none of these features"):
        fit_quantile(np.random.default_rng(0).random((50, 1), np.float32), {0: 0})


def test_derived_inputs_follow_the_features_and_are_spread_like_them() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(1, 9, (500, 3)).astype(np.float32)
    inputs = [(0, "*", 1), (2, "/", 0)]
    scaler = fit_quantile(raw, {1: 2}, inputs, knots=64)
    assert scaler.sources.tolist() == [0, 1, 1, 2, 0, 2]
    assert scaler.derived() == inputs
    scaled = scaler.transform(raw)
    np.testing.assert_array_equal(scaled[:, :4], fit_quantile(raw, {1: 2}, knots=64).transform(raw))
    for column, values in zip(scaled[:, 4:].T, derived_columns(raw, inputs).T, strict=True):
        assert (np.diff(column[np.argsort(values)]) >= 0).all()
        assert (column.min(), column.max()) == pytest.approx((0, 1), abs=1e-4)


def test_the_rounding_of_a_derived_value_says_nothing() -> None:
    # Durations times rates: whole packets, each in a few neighbouring floats.
    rng = np.random.default_rng(0)
    packets = rng.integers(2, 12, 3000).astype(np.float32)
    duration = rng.uniform(1e3, 9e6, 3000).astype(np.float32)
    raw = np.stack([duration, packets / duration], axis=1)
    product = derived_columns(raw, [(0, "*", 1)])[:, 0]
    assert len(np.unique(product)) > 15
    scaled = fit_quantile(raw, {}, [(0, "*", 1)]).transform(raw)[:, 2]
    spread = [np.ptp(scaled[packets == count]) for count in range(2, 12)]
    assert max(spread) < 1e-5
    assert np.diff([scaled[packets == count].mean() for count in range(2, 12)]).min() > 0.05


def test_only_beyond_the_fitted_range_is_outside() -> None:
    raw = np.arange(100, dtype=np.float32)[:, None]
    scaler = fit_quantile(raw, knots=10, atom_power=0.5, segments={0: 4})
    seen = scaler.outside(np.array([[-1], [0], [50], [99], [100], [np.nan]], np.float32))
    assert seen.tolist() == [True, False, False, False, True, False]


def test_a_missing_value_is_taken_for_the_median() -> None:
    raw = np.array([[1], [2], [3], [np.nan], [4], [5]], np.float32)
    scaler = fit_quantile(raw, knots=16, atom_power=0.5, segments={})
    assert scaler.transform(raw)[3] == scaler.transform(np.array([[3]], np.float32))[0]


def test_a_feature_without_values_is_constant() -> None:
    scaler = fit_quantile(np.full((5, 1), np.nan, np.float32), knots=16, atom_power=0.5, segments={})
    assert scaler.transform(np.array([[np.nan], [7]], np.float32)).tolist() == [[0], [0]]
