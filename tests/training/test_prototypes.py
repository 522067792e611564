"""Groups of similar flows that stand for the training flows."""

from __future__ import annotations

import numpy as np
import pytest

from etcc_edge.bundle.model import Prototypes
from etcc_edge.training.prototypes import GROUPS, flows_like, prototypes_of


def made_flows(n: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[str, str]]]:
    rng = np.random.default_rng(seed)
    labels = [("VPN", "Chat") if i % 3 else ("Tor", "") for i in range(n)]
    features = rng.normal([[0, 5, 100]], [[1, 2, 30]], (n, 3)).astype(np.float32)
    features[:, 2] *= np.array([1 if label[0] == "VPN" else 50 for label in labels], np.float32)
    return features, labels


def test_every_group_stands_for_ten_flows_of_one_pair_of_labels() -> None:
    features, labels = made_flows(2000)
    prototypes = prototypes_of(features, labels, seed=0)
    assert set(prototypes.labels) == set(labels)
    assert prototypes.flows.min() >= Prototypes.MIN_FLOWS
    assert max(prototypes.labels.count(pair) for pair in set(labels)) <= GROUPS
    assert prototypes.values.shape == (len(prototypes.labels), 3, 3)


def test_labels_with_fewer_than_ten_flows_have_no_group() -> None:
    features, _ = made_flows(30)
    prototypes = prototypes_of(features, [("VPN", "Chat")] * 21 + [("Tor", "")] * 9, seed=0)
    assert set(prototypes.labels) == {("VPN", "Chat")}


def test_a_percentile_is_a_value_that_occurred() -> None:
    features, labels = made_flows(500)
    values = prototypes_of(features, labels, seed=0).values
    for i in range(3):
        assert np.isin(values[:, :, i], features[:, i]).all()


def test_no_prototype_is_a_flow() -> None:
    features, labels = made_flows(2000)
    rows = {tuple(row) for row in features.tolist()}
    assert not rows & {tuple(row) for group in prototypes_of(features, labels, seed=0).values.tolist() for row in group}


def test_absent_values_stay_absent() -> None:
    features, labels = made_flows(300)
    features[:, 1] = np.nan
    features[:5, 0] = np.nan
    values = prototypes_of(features, labels, seed=0).values
    assert np.isnan(values[:, :, 1]).all()
    assert np.isfinite(values[:, :, 0]).all()


def test_the_same_seed_gives_the_same_prototypes() -> None:
    features, labels = made_flows(400)
    first, again = (prototypes_of(features, labels, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_flows_like_prototypes_have_their_values_in_their_shares(count: int) -> None:
    features, labels = made_flows(1000)
    prototypes = prototypes_of(features, labels, seed=0)
    rows = np.flatnonzero([pair == ("VPN", "Chat") for pair in prototypes.labels])
    flows, origin = flows_like(prototypes, rows, count, np.random.default_rng(0))
    assert set(origin.tolist()) == set(rows.tolist())
    assert abs(len(flows) - count) <= len(rows)
    for flow, source in zip(flows, origin, strict=True):
        assert (flow == prototypes.values[source]).any(axis=0).all()
