"""Logits to labels, confidences and energies: equal to plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import etcc_edge._native as _native

repeatable = settings(derandomize=True, deadline=None, max_examples=150)
logit_rows = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.floats(-80, 80, width=32) | st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf]),
)


def decided(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, confidence and energy in float64."""
    wide = logits.astype(np.float64)
    finite = np.isfinite(wide).all(axis=1)
    safe = np.where(finite[:, None], wide, 0)
    top = safe.max(axis=1, keepdims=True)
    shares = np.exp((safe - top) / np.float64(np.float32(temperature)))
    energy = -(top[:, 0] + np.log(np.exp(safe - top).sum(axis=1)))
    return (
        np.where(finite, safe.argmax(axis=1), -1),
        np.where(finite, 1 / shares.sum(axis=1), np.nan),
        np.where(finite, energy, np.nan),
    )


@repeatable
@given(logit_rows, st.sampled_from([0.1, 0.5, 1.0, 1.7, 10.0]))
def test_decide_equals_numpy(logits: np.ndarray, temperature: float) -> None:
    label, confidence, energy = _native.decide(logits, temperature)
    expected = decided(logits, temperature)
    np.testing.assert_array_equal(label, expected[0])
    np.testing.assert_allclose(confidence, expected[1], rtol=1e-6, atol=0)
    np.testing.assert_allclose(energy, expected[2], rtol=1e-6, atol=1e-6)
    assert (label.dtype, confidence.dtype, energy.dtype) == (np.int32, np.float32, np.float32)


def test_the_first_of_equal_logits_wins() -> None:
    logits = np.array([[1, 1, 1], [0, 2, 2], [-0.0, 0.0, -1]], np.float32)
    assert _native.decide(logits)[0].tolist() == [0, 1, 0]


def test_energy_is_the_negative_logsumexp_whatever_the_temperature() -> None:
    logits = np.array([[np.log(1), np.log(2), np.log(5)]], np.float32)
    for temperature in (0.5, 1.0, 3.0):
        assert _native.decide(logits, temperature)[2] == pytest.approx([-np.log(8)])


def test_temperature_changes_confidence_and_not_labels() -> None:
    logits = np.array([[0, 1], [3, 1]], np.float32)
    sharp, soft = _native.decide(logits, 0.5), _native.decide(logits, 5.0)
    np.testing.assert_array_equal(sharp[0], soft[0])
    assert (sharp[1] > soft[1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_logit_that_is_not_finite_costs_its_row_the_label_and_no_other(bad: float, place: int) -> None:
    logits = np.array([[1, 2, 3], [1, 2, 3]], np.float32)
    logits[0, place] = bad
    label, confidence, energy = _native.decide(logits)
    assert label.tolist() == [-1, 2]
    assert np.isnan(confidence).tolist() == [True, False]
    assert np.isnan(energy).tolist() == [True, False]


def test_huge_logits_do_not_overflow() -> None:
    label, confidence, energy = _native.decide(np.array([[3e38, -3e38], [-3e38, -3e38]], np.float32))
    assert label.tolist() == [0, 0]
    assert confidence.tolist() == [1.0, 0.5]
    assert energy == pytest.approx([-3e38, 3e38])


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_is_above_0(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        _native.decide(np.zeros((1, 2), np.float32), temperature)


def test_logits_have_classes() -> None:
    with pytest.raises(ValueError, match="without classes"):
        _native.decide(np.zeros((3, 0), np.float32))


def test_an_empty_batch_has_no_labels() -> None:
    label, confidence, energy = _native.decide(np.zeros((0, 4), np.float32))
    assert len(label) == len(confidence) == len(energy) == 0


def test_a_million_rows() -> None:
    logits = np.random.default_rng(1).normal(0, 5, (1_000_000, 3)).astype(np.float32)
    logits[::1000] = np.nan
    label, confidence, energy = _native.decide(logits, 1.5)
    expected = decided(logits, 1.5)
    np.testing.assert_array_equal(label, expected[0])
    np.testing.assert_allclose(confidence, expected[1], rtol=1e-6)
    np.testing.assert_allclose(energy, expected[2], rtol=1e-5, atol=1e-6)
