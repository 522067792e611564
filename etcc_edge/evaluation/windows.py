"""How well the evidence of a host's flows, summed over five minutes, names the application."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from etcc_edge.arrays import F64, I64, Bools, Text
from etcc_edge.engines.result import Result
from etcc_edge.evaluation.metrics import bootstrap, interval
from etcc_edge.evaluation.result import WindowScore
from etcc_edge.infer.windows import SumBy, evidence

BY = SumBy.of("host,5min")
_RESAMPLES, _SEED, _LEVEL = 1000, 0, 0.95


def window_score(
    result: Result, true_codes: I64, counted: Bools, packets: F64, flow_id: Text, start: I64, session: Text
) -> WindowScore | None:
    """The score of n flows' windows. ``result`` holds every guess, ``true_codes`` [n] the true applications among its
    last labels; ``counted``: the foreground flows whose truth the bundle knows. ``packets`` [n] weigh them, ``start``
    [n] is in microseconds since 1970 (-1: not known), and a Flow ID names its source first. None where no flow has
    all of them."""
    counted = counted & (start >= 0) & (np.char.count(flow_id, "-") >= 4) & (true_codes >= 0)
    if not counted.any():
        return None
    rows = np.flatnonzero(counted)
    hosts = np.array([text.split("-", 1)[0] for text in flow_id[rows].tolist()], np.str_)
    units, unit = np.unique(session[rows], return_inverse=True)
    keys = np.char.add(np.char.add(unit.astype(np.str_), " "), hosts)
    guess = replace(result, codes=result.codes[:, rows], confidence=result.confidence[:, rows])
    certain = np.stack([guess.codes[0], true_codes[rows]]).astype(np.int32)
    truth = replace(guess, codes=certain, confidence=np.ones(certain.shape, np.float32))
    weight, times = np.nan_to_num(packets[rows].astype(np.float64)), start[rows]
    said, true = (evidence(BY, [keys], times, weight, weight, part) for part in (guess, truth))
    shares = said.levels[1]
    right = (shares.argmax(axis=1) == true.levels[1].argmax(axis=1)) & (shares.sum(axis=1) > 0)
    confidence = shares.max(axis=1) / np.maximum(shares.sum(axis=1), 1e-12)
    surer = np.argsort(-confidence, kind="stable")[: len(right) // 2]
    of_session = np.array([int(key.split(" ", 1)[0]) for key in said.keys], np.int64)
    every = np.ones((len(right), 1), bool)
    limits = interval(bootstrap(right[:, None], every, of_session, resamples=_RESAMPLES, seed=_SEED)[:, 0], _LEVEL)
    return WindowScore(
        windows=len(right),
        accuracy=float(right.mean()),
        accuracy_interval=list(limits) if limits and len(units) > 1 else None,
        accuracy_of_surer_half=float(right[surer].mean()) if len(surer) else None,
        mean_confidence=float(confidence.mean()),
    )
