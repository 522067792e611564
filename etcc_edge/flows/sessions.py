"""Sessions: captures that recorded the same traffic at the same time, so that a split may not part them."""

from __future__ import annotations

import numpy as np

from etcc_edge.arrays import I64, Text
from etcc_edge.flows.identity import conversation

SHARED = 3
"""Flow IDs, whatever their direction, that two captures of one session share at least."""
WITHIN_US = 300_000_000
"""The starts of a shared Flow ID lie no further apart, in µs."""


def sessions(capture: Text, flow_id: Text, start: I64) -> Text:
    """The session of each flow [n], from its capture, Flow ID and start (µs, -1 where unknown): the name of the first
    of the session's captures in alphabetical order. A flow without capture has no session, an empty text."""
    names, of_capture = np.unique(capture, return_inverse=True)
    first = np.arange(len(names))  # of each capture's session
    for one, other in _linked(of_capture.astype(np.int64), capture, flow_id, start):
        ends = first[one], first[other]
        first[first == max(ends)] = min(ends)
    session: Text = names[first[of_capture]]
    return session


def _linked(of_capture: I64, capture: Text, flow_id: Text, start: I64) -> list[tuple[int, int]]:
    """The pairs of captures, by number, that share enough Flow IDs."""
    usable = np.flatnonzero((capture != "") & (flow_id != "") & (start >= 0))
    ids = np.array([conversation(text) for text in flow_id[usable].tolist()], np.str_)
    which = np.unique(ids, return_inverse=True)[1]
    rows = np.unique(np.stack([which, start[usable], of_capture[usable]]).astype(np.int64), axis=1)
    found = [np.empty((3, 0), np.int64)]
    for step in range(1, rows.shape[1]):
        here, there = rows[:, :-step], rows[:, step:]
        near = (here[0] == there[0]) & (there[1] - here[1] <= WITHIN_US)
        if not near.any():
            break
        pair = np.sort(np.stack([here[2], there[2]]), axis=0)
        found.append(np.concatenate([here[:1], pair])[:, near & (pair[0] != pair[1])])
    shared = np.unique(np.concatenate(found, axis=1), axis=1)
    pairs, count = np.unique(shared[1:], axis=1, return_counts=True)
    return [(one, other) for one, other in pairs[:, count >= SHARED].T.tolist()]
