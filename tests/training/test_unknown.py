"""The threshold keeps its promise on exchangeable flows."""

from __future__ import annotations

import numpy as np
import pytest

from etcc_edge.training.unknown import FALSE_REJECTION, conformal_threshold


def test_the_threshold_is_the_conformal_quantile() -> None:
    assert conformal_threshold(np.random.default_rng(0).permutation(99).astype(np.float32)) == 94
    assert conformal_threshold(np.arange(19.0)) == 18


def test_too_few_flows_give_the_highest_energy() -> None:
    assert conformal_threshold(np.array([3.0, 1.0])) == 3


@pytest.mark.parametrize("n", [19, 60, 500])
def test_on_average_no_more_than_the_promised_share_is_rejected(n: int) -> None:
    rng = np.random.default_rng(n)
    rejected = [np.mean(rng.normal(size=400) > conformal_threshold(rng.normal(size=n))) for _ in range(800)]
    assert np.mean(rejected) == pytest.approx(FALSE_REJECTION, abs=0.006)
