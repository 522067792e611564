"""Confidences that hold on sessions that taught nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from etcc_edge.arrays import F32, F64, I32, I64, Bools, Text
from etcc_edge.bundle.model import Bundle, ConfidenceMap, logit
from etcc_edge.bundle.seen import Truth, true_applications
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.result import Result
from etcc_edge.evaluation.metrics import bootstrap, interval, reliability
from etcc_edge.evaluation.result import to_json
from etcc_edge.evaluation.windows import window_score
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.size import packets, payload_bytes
from etcc_edge.flows.truth import LabelledFlows

PACKETS = (10, 100, 1000)
"""The sizes of flows, in packets, at which confidences change."""
LEAST = 0.5
"""Of the pair of labels, for an application to be given: it is right more often than wrong."""
MIN_SESSIONS = 5
"""Fewer tell nothing of others."""
_FOLDS = 5  # of sessions, that check the map
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
    scored = _Scored.of(bundle, flows, answers)
    return scored.fit() if scored.enough else None


def left_out_figures(bundle: Bundle, flows: LabelledFlows, answers: Answers) -> dict[str, Any] | None:
    """What to expect on sessions that taught nothing, for JSON: of the foreground flows of protocols that the bundle
    knows, how many answers are right, and how far their confidences hold, fitted for each fifth of the sessions on the
    others. None where sessions are too few."""
    scored = _Scored.of(bundle, flows, answers)
    _, which = np.unique(scored.session, return_inverse=True)
    fold = np.random.default_rng(0).permutation(which.max() + 1)[which] % _FOLDS
    confidence = np.zeros_like(answers.confidence)
    for number in range(_FOLDS):
        learn, test = scored.take(fold != number), fold == number
        if not learn.enough:
            return None
        fitted = learn.fit()
        size = None if scored.size is None else scored.size[test]
        confidence[:, test] = fitted.apply(answers.confidence[:, test], size)
    rows = np.flatnonzero(scored.foreground)
    right, pair = scored.both_right[rows], np.nan_to_num(confidence.prod(axis=0)[rows])
    octets = None if scored.bytes is None else scored.bytes[rows]
    units = which[rows]
    draws = bootstrap(np.stack([scored.protocol_right[rows], right], axis=1), np.ones((len(rows), 2), bool), units)
    shown = pair >= LEAST
    result = Result(bundle.levels, bundle.vocabulary(), scored.codes, confidence, np.full_like(confidence, np.nan))
    own = answers.rows
    windows = window_score(
        result,
        codes_of(bundle.vocabulary()[1], flows.application[own]),
        scored.foreground,
        np.ones(len(own)) if scored.size is None else scored.size.astype(np.float64),
        flows.flow_id[own],
        flows.start[own],
        scored.session,
    )
    return {
        "flows": len(rows),
        "sessions": len(np.unique(units)),
        "protocol": float(scored.protocol_right[rows].mean()),
        "protocol_interval": interval(draws[:, 0]),
        "both": float(right.mean()),
        "both_interval": interval(draws[:, 1]),
        "confidence": float(pair.mean()),
        "calibration_error": float(reliability(pair, right).error),
        "given": float(shown.mean()),
        "given_bytes": None if octets is None else float(octets[shown].sum() / octets.sum()),
        "right_of_given": float(right[shown].mean()) if shown.any() else None,
        "right_of_given_bytes": (
            float(octets[shown & right].sum() / octets[shown].sum()) if octets is not None and shown.any() else None
        ),
        "windows": None if windows is None else to_json(windows),
    }


@dataclass(frozen=True)
class _Scored:
    """Answers to n flows beside the truth. ``foreground``: of a protocol that the bundle knows, and of no service."""

    session: Text
    codes: I32
    confidence: F32
    size: F32 | None
    bytes: F64 | None
    protocol_known: Bools
    protocol_right: Bools
    both_right: Bools
    foreground: Bools

    @classmethod
    def of(cls, bundle: Bundle, flows: LabelledFlows, answers: Answers) -> _Scored:
        rows, codes = answers.rows, answers.codes
        raw = flows.features[rows]
        applications = true_applications(bundle, flows.application[rows], flows.service[rows])
        truth = Truth.of(bundle, flows.protocol[rows], applications)
        size, octets = packets(raw, bundle.features), payload_bytes(raw, bundle.features)
        return cls(
            session=flows.session[rows],
            codes=codes,
            confidence=answers.confidence,
            size=None if size is None else np.nan_to_num(size),
            bytes=None if octets is None else np.nan_to_num(octets.astype(np.float64)),
            protocol_known=truth.protocol >= 0,
            protocol_right=codes[0] == truth.protocol,
            both_right=truth.right(codes) & (codes[1] >= 0),
            foreground=(truth.protocol >= 0) & (flows.service[rows] == ""),
        )

    @property
    def enough(self) -> bool:
        """Whether there are sessions enough to tell of others."""
        names = np.unique(self.session)
        return len(names) >= MIN_SESSIONS and "" not in names

    def take(self, rows: Bools) -> _Scored:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {name: None if part is None else part[..., rows] for name, part in parts.items()}
        return _Scored(**taken)

    def fit(self) -> ConfidenceMap:
        _, which, count = np.unique(self.session, return_inverse=True, return_counts=True)
        weight = count[which] ** -0.5
        # An application counts where it was asked for rightly; names of services would hide how hard others are.
        asked = self.foreground & self.protocol_right & (self.codes[1] >= 0)
        bounds = () if self.size is None else PACKETS
        place = np.zeros(len(which), np.int64) if self.size is None else np.searchsorted(PACKETS, self.size, "right")
        sure = logit(self.confidence)
        lines = [
            _lines(sure[level, taken], place[taken], len(bounds) + 1, right[taken], weight[taken])
            for level, (taken, right) in enumerate(
                [(self.protocol_known, self.protocol_right), (asked, self.both_right)]
            )
        ]
        return ConfidenceMap(bounds, np.array(lines, np.float32), LEAST)


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
