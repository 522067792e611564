"""Feature selection finds what tells the labels apart, and an interrupted search ends as a whole one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from etcc_edge.errors import EtccError
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training import selection
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.selection import Goal, Selection, select_features
from etcc_edge.training.splits import split
from making import labelled_flows

NAMES = ("src_port", "flow_duration", "fwd_packets", "bwd_packets", "flow_iat_mean", "flow_iat_std", "flow_iat_max")
PROTOCOL, APPLICATION, CONSTANT = 1, 4, 6


@pytest.fixture(scope="module")
def flows() -> LabelledFlows:
    """Duration tells the protocol, the mean inter-arrival time the application; the rest is noise or constant."""
    rng = np.random.default_rng(5)
    n = 600
    values = rng.random((n, len(NAMES))).astype(np.float32)
    values[:, CONSTANT] = 3
    protocol = np.where(values[:, PROTOCOL] + rng.normal(0, 0.05, n) > 0.5, "VPN", "Non-VPN")
    application = np.where(values[:, APPLICATION] + rng.normal(0, 0.05, n) > 0.5, "Chat", "Email")
    application[:60] = "VOIP"
    values[rng.random((n, len(NAMES))) < 0.01] = np.nan
    return labelled_flows(
        NAMES,
        values,
        protocol=protocol,
        application=application,
        flow_id=rng.integers(0, 200, n).astype(np.str_),
    )


@pytest.fixture(scope="module")
def whole(flows: LabelledFlows) -> Selection:
    return select_features(flows, 5)


class Stop:
    """Interrupts a search after some steps, as Ctrl-C would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.computed = 0
        compute = selection.forest_accuracy

        def computing(forest: RandomForestClassifier, examples: selection.Examples, columns: list[int]) -> float:
            if self.computed == after:
                raise KeyboardInterrupt
            self.computed += 1
            return compute(forest, examples, columns)

        monkeypatch.setattr(selection, "forest_accuracy", computing)


@pytest.mark.parametrize(
    ("target", "first"),
    [("protocol", {"flow_duration"}), ("application", {"flow_iat_mean"}), ("both", {"flow_duration", "flow_iat_mean"})],
)
def test_what_tells_the_labels_apart_is_chosen_first(flows: LabelledFlows, target: str, first: set[str]) -> None:
    chosen = select_features(flows, 3, Goal(target))
    assert set(chosen.features[: len(first)]) == first


def test_k_names_of_the_flows_without_constants(whole: Selection) -> None:
    assert len(set(whole.features)) == 5
    assert set(whole.features) < set(NAMES)
    assert whole.constant == (NAMES[CONSTANT],)
    assert whole.candidates == len(NAMES) - 1


def test_the_steps_lead_to_the_choice(whole: Selection) -> None:
    kept: set[str] = set()
    for size, step in enumerate(whole.steps, 1):
        assert set(step.dropped) <= kept
        kept = (kept - set(step.dropped)) | set(step.added)
        assert (step.size, len(kept)) == (size, size)
        assert 0.4 < step.accuracy <= 1
    assert kept == set(whole.features)


def set_scores(monkeypatch: pytest.MonkeyPatch, scores: Mapping[tuple[int, ...], float]) -> None:
    """These accuracies for these sets of columns, and a half for every other."""
    monkeypatch.setattr(selection, "forest_accuracy", lambda _, __, columns: scores.get(tuple(columns), 0.5))


def test_the_order_is_that_from_which_on_a_feature_stays(flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is the best single feature, is dropped for the two that are better together, and comes back."""
    set_scores(monkeypatch, {(0,): 0.6, (0, 1): 0.7, (0, 1, 2): 0.8, (1, 2): 0.85, (0, 1, 2, 3): 0.9})
    chosen = select_features(flows, 4)
    assert [set(step.added) for step in chosen.steps] == [{NAMES[0]}, {NAMES[1], NAMES[2]}, {NAMES[0]}, {NAMES[3]}]
    assert chosen.features == ("flow_duration", "fwd_packets", "src_port", "bwd_packets")


def test_floating_drops_a_feature_that_others_replace(flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third is the best single feature, and in the way beside the first two."""
    set_scores(monkeypatch, {(2,): 0.6, (0, 2): 0.7, (0, 1, 2): 0.8, (0, 1): 0.9, (0, 1, 3): 0.95})
    chosen = select_features(flows, 3)
    assert [(s.added, s.dropped, s.accuracy) for s in chosen.steps] == [
        (("fwd_packets",), (), 0.6),
        (("flow_duration", "src_port"), ("fwd_packets",), 0.9),
        (("bwd_packets",), (), 0.95),
    ]
    assert chosen.features == ("flow_duration", "src_port", "bwd_packets")


def test_rows_that_validate_or_test_are_not_looked_at(flows: LabelledFlows, whole: Selection) -> None:
    parts = split(flows, "random", 0, RECIPES["default"].validation_share)
    other = np.concatenate([parts.validation, parts.test])
    spoilt = flows.features.copy()
    spoilt[other] = 7
    assert select_features(replace(flows, features=spoilt), 5) == whole
    spoilt[parts.train, PROTOCOL] = 7
    assert select_features(replace(flows, features=spoilt), 5) != whole


def test_bins_keep_rare_values_and_gaps_apart() -> None:
    low, high = np.append(np.ones(999), 0), np.append(np.zeros(999), 1)
    gaps = np.append(np.full(999, np.nan), 5)
    fit = np.stack([low, high, gaps, np.arange(1000.0)], axis=1).astype(np.float32)
    fit_bins, score_bins = selection.binned(fit, fit[::-1])
    assert [len(np.unique(column)) for column in fit_bins.T[:2]] == [2, 2]
    assert np.isfinite(fit_bins).all()
    assert np.bincount(fit_bins[:, 3].astype(int)).max() <= 1000 / selection.BINS + 1
    assert np.array_equal(score_bins, fit_bins[::-1])


def test_flow_ids_are_not_parted_by_the_scoring(flows: LabelledFlows) -> None:
    """A number that only its Flow ID's other flows explain is worth nothing on other Flow IDs."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(flows), 3000)
    flow_id = rng.integers(0, 200, len(rows))
    values = rng.random((len(rows), len(NAMES))).astype(np.float32)
    values[:, 0] = flow_id
    arrays = {name: array[rows] for name, array in vars(flows).items() if isinstance(array, np.ndarray)}
    arrays |= {"features": values, "flow_id": flow_id.astype(np.str_)}
    arrays["protocol"] = rng.choice(["VPN", "Non-VPN"], 200)[flow_id]
    known = replace(flows, **arrays)
    assert select_features(known, 1).steps[0].accuracy > 0.9
    assert select_features(known, 1, Goal(split="flow-id")).steps[0].accuracy < 0.7


@pytest.mark.parametrize("after", [1, 8, 20])
def test_an_interrupted_search_ends_as_a_whole_one(
    flows: LabelledFlows, whole: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        Stop(patch, after)
        with pytest.raises(KeyboardInterrupt):
            select_features(flows, 5, state=state)
    assert len(json.loads(state.read_text())["scores"]) == after
    resumed = Stop(monkeypatch, 10_000)
    assert select_features(flows, 5, state=state) == whole
    assert len(json.loads(state.read_text())["scores"]) == after + resumed.computed


def test_every_step_is_kept_while_the_search_goes_on(flows: LabelledFlows, tmp_path: Path) -> None:
    kept: list[int] = []
    state = tmp_path / "state"

    def tell(line: str) -> None:
        kept.append(len(json.loads(state.read_text())["scores"]) if state.exists() else 0)

    select_features(flows, 3, state=state, tell=tell)
    assert kept[:3] == [0, 6, 6 + 5]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_scores_serve_any_k(flows: LabelledFlows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select_features(flows, 3, state=tmp_path / "state")
    resumed = Stop(monkeypatch, 0)
    assert len(select_features(flows, 2, state=tmp_path / "state").features) == 2
    assert resumed.computed == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target": "both"}, "target"),
        ({"applications": "all"}, "applications"),
        ({"split": "flow-id"}, "split"),
        ({"seed": 1}, "seed"),
    ],
)
def test_another_searchs_state_is_refused(
    flows: LabelledFlows, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    state = tmp_path / "state"
    select_features(flows, 1, state=state)
    before = state.read_bytes()
    with pytest.raises(EtccError, match=f"state: is an unfinished search with another {named};"):
        select_features(flows, 1, replace(Goal(), **change), state=state)  # type: ignore[arg-type]
    assert state.read_bytes() == before


def test_other_flows_and_other_candidates_are_refused(flows: LabelledFlows, tmp_path: Path) -> None:
    state = tmp_path / "state"
    select_features(flows, 1, state=state)
    with pytest.raises(EtccError, match="with another flows;"):
        select_features(replace(flows, features=flows.features[::-1]), 1, state=state)
    fewer = replace(flows, features=flows.features[:, 1:], feature_names=NAMES[1:])
    with pytest.raises(EtccError, match="with another candidates;"):
        select_features(fewer, 1, state=state)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 1, "scores": {}}', '{"scores": {"0": "x"}}'])
def test_a_damaged_state_is_refused(flows: LabelledFlows, tmp_path: Path, content: str) -> None:
    (tmp_path / "state").write_text(content)
    with pytest.raises(EtccError, match="is no unfinished search"):
        select_features(flows, 1, state=tmp_path / "state")
    assert (tmp_path / "state").read_text() == content


@pytest.mark.parametrize("k", [0, 7])
def test_more_features_than_vary_cannot_be_chosen(flows: LabelledFlows, k: int) -> None:
    with pytest.raises(EtccError, match=f"6 features vary, so that -k can be 1 to 6, not {k}"):
        select_features(flows, k)


def test_all_of_them_can(flows: LabelledFlows) -> None:
    assert set(select_features(flows, 6).features) == set(NAMES) - {NAMES[CONSTANT]}


def test_too_few_labelled_flows_choose_nothing(flows: LabelledFlows) -> None:
    with pytest.raises(EtccError, match="training flows of 1 labels are too few"):
        select_features(replace(flows, protocol=np.full(len(flows), "VPN")), 1)
    other = replace(flows, application=np.full(len(flows), "VOIP"))
    with pytest.raises(EtccError, match="0 training flows of 0 labels are too few"):
        select_features(other, 1, Goal("application"))
    assert select_features(replace(flows, application=flows.protocol), 1, Goal("application", "all")).features
