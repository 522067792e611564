"""Splits part the flows, the same way each time, and keep Flow IDs and sessions on one side."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from etcc_edge.errors import EtccError
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.splits import split
from making import labelled_flows


@pytest.fixture(scope="module")
def flows() -> LabelledFlows:
    rng = np.random.default_rng(3)
    n = 1000
    return labelled_flows(
        ("flow_duration",),
        rng.random((n, 1)).astype(np.float32),
        protocol=rng.choice(["VPN", "Non-VPN"], n),
        application=np.append(rng.choice(["Chat", "Email"], n - 1), "Rare"),
        flow_id=rng.integers(0, 200, n).astype(np.str_),
        session=rng.integers(0, 12, n).astype(np.str_),
    )


@pytest.mark.parametrize("kind", ["random", "flow-id", "session"])
@pytest.mark.parametrize("validation", [0.0, 0.15])
def test_every_flow_is_on_one_side(flows: LabelledFlows, kind: str, validation: float) -> None:
    parts = split(flows, kind, 0, validation)
    everything = np.concatenate([parts.train, parts.validation, parts.test, parts.dropped])
    assert np.sort(everything).tolist() == list(range(len(flows)))
    assert len(parts.test) == pytest.approx(200, abs=1 if kind == "random" else 100)
    assert bool(len(parts.validation)) == bool(validation)


@pytest.mark.parametrize(("kind", "field"), [("flow-id", "flow_id"), ("session", "session")])
def test_a_group_is_on_one_side(flows: LabelledFlows, kind: str, field: str) -> None:
    parts = split(flows, kind, 1, 0.15)
    names = [set(getattr(flows, field)[rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, names)) == len(set().union(*names))


def test_both_directions_of_a_flow_id_are_on_one_side(flows: LabelledFlows) -> None:
    rng = np.random.default_rng(5)
    ports = rng.integers(0, 150, len(flows))
    there = rng.random(len(flows)) < 0.5
    ids = np.where(
        there, np.char.mod("10.0.0.1-10.0.0.2-%d-443-6", ports), np.char.mod("10.0.0.2-10.0.0.1-443-%d-6", ports)
    )
    parts = split(replace(flows, flow_id=ids), "flow-id", 0, 0.15)
    sides = [set(ports[rows]) for rows in (parts.train, parts.validation, parts.test)]
    assert sum(map(len, sides)) == len(set().union(*sides))


def test_validation_flows_may_be_split_off_by_another_kind(flows: LabelledFlows) -> None:
    parts, random = split(flows, "random", 0, 0.15, "flow-id"), split(flows, "random", 0, 0.15)
    assert parts.test.tolist() == random.test.tolist()
    assert not set(flows.flow_id[parts.train]) & set(flows.flow_id[parts.validation])
    assert set(flows.flow_id[random.train]) & set(flows.flow_id[random.validation])


@pytest.mark.parametrize("kind", ["random", "flow-id"])
def test_a_smaller_share_tests_and_the_rest_trains(flows: LabelledFlows, kind: str) -> None:
    parts = split(flows, kind, 0, 0.15, test_share=0.1)
    assert len(parts.test) == pytest.approx(100, abs=1 if kind == "random" else 30)
    assert len(parts.validation) == pytest.approx(135, abs=1 if kind == "random" else 30)
    assert np.sort(np.concatenate([parts.train, parts.validation, parts.test])).tolist() == list(range(len(flows)))


@pytest.mark.parametrize(("kind", "n"), [("random", 5), ("session", 40)])
def test_a_large_share_leaves_something_to_train(flows: LabelledFlows, kind: str, n: int) -> None:
    few = replace(flows.take(np.arange(n)), session=np.array(["a", "b", "c", "d"] * (n // 4) + ["a"] * (n % 4)))
    parts = split(few, kind, 0, 0.0, test_share=0.9)
    assert len(parts.train) >= 1
    assert len(parts.train) + len(parts.test) + len(parts.dropped) == n


def test_a_random_split_keeps_the_shares_of_the_labels(flows: LabelledFlows) -> None:
    parts = split(flows, "random", 0, 0.15)
    for rows in (parts.train, parts.validation, parts.test):
        assert np.mean(flows.protocol[rows] == "VPN") == pytest.approx(np.mean(flows.protocol == "VPN"), abs=0.02)


def test_a_seed_gives_one_split(flows: LabelledFlows) -> None:
    first, again, other = (split(flows, "random", seed, 0.15).test.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_few_flows_are_split_without_strata_and_one_flow_not_at_all(flows: LabelledFlows) -> None:
    parts = split(flows.take(np.arange(8)), "random", 0, 0.15)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [5, 1, 2]
    with pytest.raises(EtccError, match="made: too few flows to split: 1"):
        split(flows.take(np.arange(1)), "random", 0, 0.0)


def test_a_split_by_session_needs_captures(flows: LabelledFlows) -> None:
    bare = replace(flows, session=np.full(len(flows), ""))
    with pytest.raises(EtccError, match="a split by session needs --groups"):
        split(bare, "session", 0, 0.15)


@pytest.fixture
def sessions() -> LabelledFlows:
    """Forty sessions of ten flows each, whose Flow IDs are their own but for one that all share."""
    session = np.repeat(np.arange(40), 10)
    n = len(session)
    return labelled_flows(
        ("flow_duration",),
        np.arange(n, dtype=np.float32)[:, None],
        protocol=np.where(session % 2, "VPN", "Non-VPN"),
        application=np.where(session == 3, "P2P", np.where(session % 4 < 2, "Chat", "Email")),
        flow_id=np.where(np.arange(n) % 10 == 0, "shared", np.char.mod("flow %d", np.arange(n))),
        session=np.char.mod("session %02d", session),
    )


def test_flows_whose_flow_id_occurs_in_a_test_session_are_dropped(sessions: LabelledFlows) -> None:
    parts = split(sessions, "session", 0, 0.2)
    assert "shared" in sessions.flow_id[parts.test]
    assert "shared" not in sessions.flow_id[np.concatenate([parts.train, parts.validation])]
    assert set(sessions.flow_id[parts.dropped]) == {"shared"}
    everything = np.concatenate([parts.train, parts.validation, parts.test, parts.dropped])
    assert np.sort(everything).tolist() == list(range(len(sessions)))


def test_a_class_of_a_single_session_is_named_and_trains(sessions: LabelledFlows) -> None:
    for fold in range(5):
        parts = split(sessions, "session", 0, 0.2, fold=fold)
        assert parts.untested == ("VPN P2P",)
        assert "P2P" in sessions.application[np.concatenate([parts.train, parts.validation])]
        assert "P2P" not in sessions.application[parts.test]


def test_labels_of_fewer_flows_than_folds_are_split_without_a_warning(sessions: LabelledFlows) -> None:
    mail = np.flatnonzero(sessions.application == "Email")
    few = np.setdiff1d(np.arange(len(sessions)), np.setdiff1d(mail, mail[[0, 40, 80]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = split(sessions.take(few), "session", 0, 0.2)
    assert len(parts.test)


def test_sessions_of_single_flows_can_be_split(sessions: LabelledFlows) -> None:
    pairs = np.array(["Chat", "Email", "P2P", "VOIP"] * 3)
    few = replace(sessions.take(np.arange(0, 120, 10)), application=pairs, protocol=np.full(12, "VPN"))
    parts = split(replace(few, flow_id=np.full(12, "")), "session", 0, 0.2)
    assert len(parts.test)
    assert len(parts.train)


def test_every_other_session_tests_in_one_fold(sessions: LabelledFlows) -> None:
    tests = [split(sessions, "session", 0, 0.0, fold=fold).test for fold in range(5)]
    tested = [name for rows in tests for name in np.unique(sessions.session[rows]).tolist()]
    assert sorted(tested) == sorted(set(sessions.session) - {"session 03"})


def test_folds_by_session_hold_every_pair_of_labels(sessions: LabelledFlows) -> None:
    for fold in range(5):
        rows = split(sessions, "session", 0, 0.0, fold=fold).test
        assert {"Non-VPN Chat", "VPN Email"} <= set(
            np.char.add(np.char.add(sessions.protocol[rows], " "), sessions.application[rows])
        )
