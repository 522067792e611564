"""Raw features to a network's inputs: the piecewise-linear maps of scaler.hpp, in float32."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etcc_edge.bundle import Scaler
from etcc_edge.bundle.model import OPERATIONS
from making import with_derived

repeatable = settings(derandomize=True, deadline=None, max_examples=200)


def scaler(*maps: tuple[list[float], list[float]], sources: list[int] | None = None, missing: float = 0.25) -> Scaler:
    """Input i by the knots (x, y) of ``maps[i]``."""
    starts = np.cumsum([0, *(len(x) for x, _ in maps)])
    return Scaler(
        np.array(range(len(maps)) if sources is None else sources, np.int64),
        starts.astype(np.int64),
        np.concatenate([np.array(x, np.float32) for x, _ in maps]),
        np.concatenate([np.array(y, np.float32) for _, y in maps]),
        np.full(len(maps), missing, np.float32),
    )


def mapped(x: np.ndarray, y: np.ndarray, missing: np.float32, values: np.ndarray) -> np.ndarray:
    """As scaler.hpp says: y[k] + (v - x[k]) · slope[k] in float32, at most y[k + 1], constant beyond."""
    slope = (np.diff(y.astype(np.float64)) / np.diff(x.astype(np.float64))).astype(np.float32)
    out = np.empty_like(values)
    for i, v in enumerate(values):
        if np.isnan(v):
            out[i] = missing
        elif v <= x[0]:
            out[i] = y[0]
        elif v >= x[-1]:
            out[i] = y[-1]
        else:
            k = np.searchsorted(x, v, "right") - 1
            out[i] = min(np.float32(y[k] + np.float32(v - x[k]) * slope[k]), y[k + 1])
    return out


numbers = st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False).map(lambda v: float(np.float32(round(v, 3))))
anything = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def knots(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    x = sorted({float(np.float32(v)) for v in draw(st.lists(numbers, min_size=1, max_size=8))})
    y = sorted(draw(st.lists(st.floats(0, 1, width=32), min_size=len(x), max_size=len(x))))
    return x, y


@repeatable
@given(st.lists(knots(), min_size=1, max_size=4), st.data())
def test_transform_is_the_formula_of_its_header(
    maps: list[tuple[list[float], list[float]]], data: st.DataObject
) -> None:
    of = scaler(*maps)
    at_knots = st.sampled_from([v for x, _ in maps for v in x])
    shape = (data.draw(st.integers(0, 12)), len(maps))
    raw = data.draw(hnp.arrays(np.float32, shape, elements=st.one_of(numbers, anything, at_knots)))
    scaled = of.transform(raw)
    for i, (x, y) in enumerate(maps):
        expected = mapped(np.array(x, np.float32), np.array(y, np.float32), of.missing[i], raw[:, i])
        np.testing.assert_array_equal(scaled[:, i], expected)
    assert scaled.dtype == np.float32


odd = st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e38, -3e38, np.inf, -np.inf, np.nan, 1.0, 3.0])


@repeatable
@given(st.lists(knots(), min_size=1, max_size=4), st.data())
def test_a_derived_input_is_one_float32_operation_and_missing_where_that_is_not_finite(
    maps: list[tuple[list[float], list[float]]], data: st.DataObject
) -> None:
    plain = scaler(*maps)
    pairs = st.lists(st.integers(0, len(maps) - 1), min_size=len(maps), max_size=len(maps))
    operations = data.draw(st.lists(st.integers(0, 3), min_size=len(maps), max_size=len(maps)))
    of = with_derived(plain, operations, data.draw(pairs))
    shape = (data.draw(st.integers(0, 12)), len(maps))
    raw = data.draw(hnp.arrays(np.float32, shape, elements=st.one_of(numbers, anything, odd)))
    scaled = of.transform(raw)
    for i, (x, y) in enumerate(maps):
        values = raw[:, i]
        if operations[i]:
            second = raw[:, of.second[i]].astype(np.float64)
            with np.errstate(all="ignore"):  # float64 holds a product of two float32 exactly; a quotient rounds alike
                wide = {1: np.multiply, 2: np.divide, 3: np.subtract}[operations[i]](values.astype(np.float64), second)
                values = wide.astype(np.float32)
            values[~np.isfinite(values)] = np.nan
            np.testing.assert_array_equal(of.value(i, raw.T), values)
        expected = mapped(np.array(x, np.float32), np.array(y, np.float32), of.missing[i], values)
        np.testing.assert_array_equal(scaled[:, i], expected)


def test_what_cannot_be_derived_is_missing() -> None:
    of = with_derived(scaler(([0, 10], [0, 1]), ([0, 10], [0, 1]), missing=0.75), [2, 1], [1, 0])
    raw = np.array([[4, 0], [0, 0], [np.nan, 2], [3e38, 1e-5], [6, 2]], np.float32)
    assert of.transform(raw)[:, 0].tolist() == [0.75, 0.75, 0.75, 0.75, np.float32(0.3)]


@repeatable
@given(knots(), hnp.arrays(np.float32, 20, elements=numbers))
def test_transform_is_numpys_interpolation(of: tuple[list[float], list[float]], values: np.ndarray) -> None:
    scaled = scaler(of).transform(values[:, None])[:, 0]
    np.testing.assert_allclose(scaled, np.interp(values, *of), atol=1e-6)


@repeatable
@given(knots(), hnp.arrays(np.float32, 20, elements=numbers))
def test_a_larger_value_is_never_scaled_below_a_smaller_one(
    of: tuple[list[float], list[float]], values: np.ndarray
) -> None:
    values.sort()
    scaled = scaler(of).transform(values[:, None])[:, 0]
    assert (np.diff(scaled) >= 0).all()
    assert ((scaled >= of[1][0]) & (scaled <= of[1][-1])).all()


@pytest.mark.parametrize(
    "x",
    [[-3e38, 0, 3e38], [0, 1, np.nextafter(np.float32(1), np.float32(2))]],
    ids=["the whole of float32", "neighbours"],
)
def test_knots_are_mapped_to_their_own_values_however_close_or_far_they_lie(x: list[float]) -> None:
    values = np.array(x, np.float32)[:, None]
    assert scaler((x, [0, 0.5, 1])).transform(values)[:, 0].tolist() == [0, 0.5, 1]


def test_knots_whose_slope_exceeds_float32_are_refused() -> None:
    with pytest.raises(ValueError, match="too close"):
        scaler(([0, 1e-40, 2e-40], [0, 0.5, 1])).transform(np.zeros((1, 1), np.float32))


def test_nan_gets_the_missing_value_and_infinities_the_ends() -> None:
    raw = np.array([[np.nan], [-np.inf], [np.inf]], np.float32)
    assert scaler(([0, 10], [0.125, 1]), missing=0.75).transform(raw)[:, 0].tolist() == [0.75, 0.125, 1]


def test_values_beyond_the_ends_are_constant() -> None:
    raw = np.array([[-1e30], [0], [5], [10], [1e30]], np.float32)
    assert scaler(([0, 10], [0, 1])).transform(raw)[:, 0].tolist() == [0, 0, 0.5, 1, 1]


def test_one_knot_makes_a_constant() -> None:
    raw = np.array([[-5], [3], [5]], np.float32)
    assert scaler(([3], [0.5])).transform(raw)[:, 0].tolist() == [0.5] * 3


def test_a_feature_may_serve_several_inputs_or_none() -> None:
    half, full = ([0, 2], [0, 1]), ([0, 1], [0, 1])
    raw = np.array([[9, 9, 1], [9, 9, 0.5]], np.float32)
    assert scaler(half, full, sources=[2, 2]).transform(raw).tolist() == [[0.5, 1], [0.25, 0.5]]


def test_rows_are_gathered_in_the_order_asked_for() -> None:
    raw = np.arange(6, dtype=np.float32).reshape(3, 2)
    of = scaler(([0, 8], [0, 1]), ([0, 8], [0, 1]))
    asked = np.array([2, 0, 2], np.int64)
    np.testing.assert_array_equal(of.transform(raw, asked), of.transform(raw)[asked])
    assert of.transform(raw, np.zeros(0, np.int64)).shape == (0, 2)
    assert of.transform(np.zeros((0, 2), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("row", [-1, 3, 2**31, 2**61 - 1, 2**62 - 1, 2**63 - 1, -(2**63)])
def test_a_row_outside_the_batch_is_refused(row: int) -> None:
    with pytest.raises(IndexError, match="row index outside the batch"):
        scaler(([0, 1], [0, 1])).transform(np.zeros((3, 4), np.float32), np.array([row]))


def test_a_batch_that_is_too_narrow_is_refused() -> None:
    plain = scaler(([0, 1], [0, 1]))
    for of in (dataclasses.replace(plain, sources=np.array([2])), with_derived(plain, [1], [2])):
        for call in (of.transform, of.outside):
            with pytest.raises(ValueError, match="fewer features"):
                call(np.zeros((1, 2), np.float32))


def test_outside_marks_rows_with_a_value_beyond_the_knots_and_not_the_missing() -> None:
    of = scaler(([0, 10], [0, 1]), ([5], [0]), sources=[0, 2])
    raw = np.array(
        [[0, 99, 5], [10, 99, 5], [10.5, 0, 5], [-0.5, 0, 5], [3, 0, 6], [np.nan, 0, 5], [np.inf, 0, 5]],
        np.float32,
    )
    assert of.outside(raw).tolist() == [False, False, True, True, True, False, True]
    assert of.outside(raw[:0]).shape == (0,)


def test_outside_is_beyond_all_inputs_that_read_the_feature() -> None:
    of = scaler(([0, 5], [0, 1]), ([5, 10], [0, 1]), sources=[0, 0])
    assert of.outside(np.array([[-1], [0], [3], [7], [10], [11]], np.float32)).tolist() == [
        True,
        *[False] * 4,
        True,
    ]


def test_derived_inputs_do_not_count_for_outside() -> None:
    plain = scaler(([0, 10], [0, 1]), ([0, 1], [0, 1]), sources=[0, 1])
    raw = np.array([[5, 1], [5, 99], [11, 1]], np.float32)
    assert plain.outside(raw).tolist() == [False, True, True]
    assert with_derived(plain, [0, OPERATIONS.index("/")], [-1, 0]).outside(raw).tolist() == [False, False, True]


def arrays(**changes: list[float]) -> dict[str, np.ndarray]:
    """Two inputs of two knots each, changed."""
    good = {"sources": [0, 1], "starts": [0, 2, 4], "x": [0, 1, 0, 1], "y": [0, 1, 0, 1], "missing": [0, 0]}
    kinds = dict.fromkeys(("sources", "starts", "operations", "second"), np.int64)
    return {name: np.array(values, kinds.get(name, np.float32)) for name, values in (good | changes).items()}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"missing": [0]}, "one missing value an input"),
        ({"starts": [0, 4]}, "one start more than inputs"),
        ({"starts": []}, "one start more than inputs"),
        ({"sources": [0, -1]}, "source is negative"),
        ({"y": [0, 1, 0]}, "as many y as x"),
        ({"starts": [1, 2, 4]}, "do not span the knots"),
        ({"starts": [0, 2, 3]}, "do not span the knots"),
        ({"starts": [0, 2, 5]}, "do not span the knots"),
        ({"starts": [0, 4, 4], "x": [0, 1, 2, 3], "y": [0, 0, 1, 1]}, "has no knots"),
        ({"starts": [0, 9, 4]}, "has no knots"),
        ({"starts": [0, -1, 4]}, "has no knots"),
        ({"x": [0, np.nan, 0, 1]}, "is not finite"),
        ({"y": [0, np.inf, 0, 1]}, "is not finite"),
        ({"missing": [0, np.nan]}, "is not finite"),
        ({"x": [0, 0, 0, 1]}, "knots do not rise"),
        ({"x": [0, 1, 2, 1]}, "knots do not rise"),
        ({"y": [0, 1, 1, 0.5]}, "values fall"),
        ({"operations": [0, 1]}, "one operation and one second feature an input"),
        ({"operations": [1], "second": [1]}, "one operation and one second feature an input"),
        ({"operations": [0, 4], "second": [-1, 1]}, "none of 0 to 3"),
        ({"operations": [0, -1], "second": [-1, 1]}, "none of 0 to 3"),
        ({"operations": [0, 1], "second": [-1, -1]}, "a second feature for each operation, and no other"),
        ({"operations": [0, 1], "second": [-1, -2]}, "a second feature for each operation, and no other"),
        ({"operations": [0, 1], "second": [0, 1]}, "a second feature for each operation, and no other"),
    ],
)
def test_knots_that_make_no_map_are_named(changes: dict[str, list[float]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Scaler(**arrays(**changes)).check()


def test_good_knots_pass() -> None:
    Scaler(**arrays()).check()
