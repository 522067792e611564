"""Confidences are fitted on sessions that taught nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.model import ConfidenceMap
from etcc_edge.engines.cascade import answer, open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.result import Result
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.confidence import MIN_SESSIONS, Answers, fit_confidence, left_out_figures
from making import labelled_flows


def flows_of(bundle: Bundle, right: float, sessions: int = 20, n: int = 2000) -> LabelledFlows:
    """Flows whose two labels are the bundle's own in that share, however sure it is; the others have none it knows."""
    rng = np.random.default_rng(3)
    raw = rng.uniform(0, 1000, (n, 6)).astype(np.float32)
    result = open_cascade(bundle, choose("onnxruntime", "fp32")).run(raw)
    hit = rng.random(n) < right
    return labelled_flows(
        bundle.features,
        raw,
        protocol=np.where(result.codes[0] == 1, "VPN", result.labels("protocol")),
        application=np.where(hit, result.labels("application"), "Other"),
        session=np.char.mod("session %d", rng.integers(0, sessions, n)),
    )


def fitted_on(bundle: Bundle, flows: LabelledFlows) -> ConfidenceMap | None:
    return fit_confidence(bundle, flows, Answers.of(bundle, flows, np.arange(len(flows))))


def answered(bundle: Bundle, flows: LabelledFlows) -> Result:
    return answer(bundle, open_cascade(bundle, choose("native", "fp32")), flows.features)


def test_what_is_said_is_what_is_right(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.3)
    fitted = fitted_on(tiny_bundle, flows)
    assert fitted is not None
    result = answer(
        replace(tiny_bundle, confidence=fitted), open_cascade(tiny_bundle, choose("native", "fp32")), flows.features
    )
    asked = (result.labels("protocol") == flows.protocol) & (result.codes[1] >= 0)
    assert result.confidence[1, asked].mean() == pytest.approx(0.3, abs=0.03)


def test_figures_of_left_out_sessions_are_what_is_right_there(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.3)
    answers = Answers.of(tiny_bundle, flows, np.arange(len(flows)))
    figures = left_out_figures(tiny_bundle, flows, answers)
    assert figures is not None
    right = (answers.codes[0] == [tiny_bundle.root.labels.index(name) for name in flows.protocol]) & (
        (answers.codes[1] >= 0) & (np.array([*tiny_bundle.vocabulary()[1], ""])[answers.codes[1]] == flows.application)
    )
    assert (figures["flows"], figures["sessions"]) == (len(flows), 20)
    assert figures["both"] == pytest.approx(right.mean())
    # All protocols are right, so their confidences stay the network's, which are too low here.
    assert 0 < figures["confidence"] < right.mean()
    assert figures["calibration_error"] >= right.mean() - figures["confidence"] - 0.01
    assert (figures["given"], figures["right_of_given"]) == (0, None)


def test_figures_of_left_out_sessions_need_sessions_enough(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.5, sessions=MIN_SESSIONS)
    assert left_out_figures(tiny_bundle, flows, Answers.of(tiny_bundle, flows, np.arange(len(flows)))) is None


def test_nothing_is_given_where_too_little_is_right(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.3)
    fitted = fitted_on(tiny_bundle, flows)
    assert fitted is not None
    assert not answered(replace(tiny_bundle, confidence=fitted), flows).at_least(fitted.least).codes[1].max() >= 0


def test_what_is_given_is_mostly_right(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.97)
    fitted = fitted_on(tiny_bundle, flows)
    assert fitted is not None
    result = answer(
        replace(tiny_bundle, confidence=fitted), open_cascade(tiny_bundle, choose("native", "fp32")), flows.features
    )
    given = result.at_least(fitted.least)
    rows = given.codes[1] >= 0
    both = (result.labels("protocol") == flows.protocol) & (result.labels("application") == flows.application)
    assert rows.sum() > 100
    assert both[rows].mean() > 0.87


@pytest.mark.parametrize("sessions", [1, MIN_SESSIONS - 1])
def test_few_sessions_fit_nothing(tiny_bundle: Bundle, sessions: int) -> None:
    flows = flows_of(tiny_bundle, right=0.5, sessions=sessions)
    assert fitted_on(tiny_bundle, flows) is None
    bare = replace(flows, session=np.full(len(flows), ""))
    assert fitted_on(tiny_bundle, bare) is None


def test_a_map_keeps_the_order_of_confidences_and_no_label_stays_none() -> None:
    lines = np.array([[[2.0, -1.0], [0.5, 0.0]]], np.float32)
    sure = np.array([[0.2, 0.6, 0.9, np.nan, 1.0, 0.0]], np.float32)
    fitted = ConfidenceMap((10,), lines, 0.5)
    small = fitted.apply(sure, np.full(6, np.nan, np.float32))[0]
    assert (np.diff(small[:3]) > 0).all()
    assert np.isnan(small[3])
    assert 0 < small[5] < small[4] <= 1
    large = fitted.apply(sure, np.full(6, 10, np.float32))[0]
    assert large[1] == pytest.approx(1 / (1 + (0.4 / 0.6) ** 0.5))
    np.testing.assert_array_equal(fitted.apply(sure, None)[0], small)


def test_answers_count_in_another_bundle_s_labels(tiny_bundle: Bundle) -> None:
    flows = flows_of(tiny_bundle, right=0.5, n=200)
    rows = np.arange(50, 150)
    root = tiny_bundle.root
    turned = replace(tiny_bundle, root=replace(root, labels=root.labels[::-1]))
    own, other = Answers.of(tiny_bundle, flows, rows), Answers.of(tiny_bundle, flows, rows, words=turned)
    names = np.array([*tiny_bundle.vocabulary()[0], ""])
    turned_names = np.array([*turned.vocabulary()[0], ""])
    assert (names[own.codes[0]] == turned_names[other.codes[0]]).all()
    joined = Answers.joined([own, own])
    assert joined.codes.shape == joined.confidence.shape == (2, 200)
    assert (joined.rows == np.tile(rows, 2)).all()
