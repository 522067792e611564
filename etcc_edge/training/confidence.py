"""Confidences that hold on sessions that taught nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from etcc_edge.arrays import F32, F64, I32, I64, Bools
from etcc_edge.bundle.model import Bundle, ConfidenceMap, logit
from etcc_edge.bundle.seen import Truth, true_applications
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.size import packets
from etcc_edge.flows.truth import LabelledFlows

PACKETS = (10, 100, 1000)
"""The sizes of flows, in packets, at which confidences change."""
RIGHT = 0.9
"""Of the applications given on those sessions, the share that was right, at least."""
MIN_SESSIONS = 5
"""Fewer tell nothing of others."""
_MIN_GIVEN = 30  # flows; fewer are right by chance
_FREE = 10.0  # how much less the share that is right of each size is held back than by default
_HELD = 0.1  # how much more slopes are: on other sessions, how sure a network is tells less than a flow's size
_LEAST_SLOPE = 0.05  # the surer of two stays the surer


@dataclass(frozen=True)
class Answers:
    """What networks said of flows that had taught them nothing. ``rows`` [n] of the flows; ``codes`` int32 and
    ``confidence`` float32 [2, n], before any map, as in `Result`."""

    rows: I64
    codes: I32
    confidence: F32

    @classmethod
    def of(cls, bundle: Bundle, flows: LabelledFlows, rows: I64, words: Bundle | None = None) -> Answers:
        """A two-level bundle's. ``words``: another bundle, whose labels the codes count; -1 for one that it lacks."""
        result = open_cascade(bundle, choose("onnxruntime", "fp32")).run(flows.features[rows])
        codes = result.codes
        if words is not None:
            columns = zip(words.vocabulary(), bundle.vocabulary(), codes, strict=True)
            codes = np.stack([codes_of(to, np.array([*names, ""]))[column] for to, names, column in columns])
        return cls(rows, codes.astype(np.int32), result.confidence)

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.codes for part in parts], axis=1),
            np.concatenate([part.confidence for part in parts], axis=1),
        )


def fit_confidence(bundle: Bundle, flows: LabelledFlows, answers: Answers) -> ConfidenceMap | None:
    """The map of a two-level bundle's confidences, from answers to flows of sessions that taught nothing. None where
    these are fewer than `MIN_SESSIONS`.

    By level a logistic regression of being right on the network's logit and the flow's size. A session weighs the root
    of its flows, so that none decides alone.
    """
    rows, codes, confidence = answers.rows, answers.codes, answers.confidence
    names, which, count = np.unique(flows.session[rows], return_inverse=True, return_counts=True)
    if len(names) < MIN_SESSIONS or "" in names:
        return None
    weight = count[which] ** -0.5
    raw = flows.features[rows]
    applications = true_applications(bundle, flows.application[rows], flows.service[rows])
    truth = Truth.of(bundle, flows.protocol[rows], applications)
    protocol_right, both_right = codes[0] == truth.protocol, truth.right(codes)
    # Services are named by rule, and an application counts where it was asked for rightly.
    foreground = (truth.protocol >= 0) & ~truth.by_rule
    asked = foreground & protocol_right & (codes[1] >= 0)
    size = packets(raw, bundle.features)
    bounds = () if size is None else PACKETS
    place = np.zeros(len(rows), np.int64) if size is None else np.searchsorted(PACKETS, np.nan_to_num(size), "right")
    sure = logit(confidence)
    lines = [
        _lines(sure[level, counted], place[counted], len(bounds) + 1, right[counted], weight[counted])
        for level, (counted, right) in enumerate([(truth.protocol >= 0, protocol_right), (asked, both_right)])
    ]
    fitted = ConfidenceMap(bounds, np.array(lines, np.float32), 0.0)
    given = foreground & (codes[1] >= 0)
    pair = fitted.apply(confidence, size).prod(axis=0)[given]
    return ConfidenceMap(bounds, fitted.lines, _least(pair, both_right[given], weight[given]))


def _lines(sure: F32, place: I64, places: int, right: Bools, weight: F64) -> F64:
    """Slope and offset [places, 2] for flows of these logits and sizes."""
    if right.all() or not right.any():
        return np.tile([1.0, 0.0], (places, 1))
    own = np.eye(places)[place]
    columns = np.hstack([_HELD * sure[:, None], _FREE * own, _HELD * own * sure[:, None]])
    model = LogisticRegression(C=1.0, max_iter=5000).fit(columns, right, sample_weight=weight)
    coefficients = model.coef_[0]
    slopes = _HELD * (coefficients[0] + coefficients[1 + places :])
    offsets = model.intercept_[0] + _FREE * coefficients[1 : 1 + places]
    return np.stack([np.maximum(slopes, _LEAST_SLOPE), offsets], axis=1)


def _least(sure: F32, right: Bools, weight: F64) -> float:
    """The lowest confidence from which on `RIGHT` of the flows are right; 1 where there is none."""
    order = np.argsort(-sure, kind="stable")
    share = np.cumsum(weight[order] * right[order]) / np.cumsum(weight[order])
    enough = np.flatnonzero((share >= RIGHT) & (np.arange(len(order)) + 1 >= _MIN_GIVEN))
    return round(float(sure[order[enough[-1]]]), 4) if len(enough) else 1.0
