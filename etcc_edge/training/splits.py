"""Which flows train, validate and test."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from etcc_edge.arrays import I64, Bools, Text
from etcc_edge.errors import EtccError
from etcc_edge.flows.identity import conversation
from etcc_edge.flows.truth import LabelledFlows

KINDS = ("random", "flow-id", "session")


@dataclass(frozen=True)
class Split:
    """Row numbers, sorted. ``validation`` fits temperatures, confidences and thresholds; ``test`` only
    measures.

    ``dropped`` rows do neither: their Flow ID occurs in a session that validates or tests. ``untested``: the pairs of
    labels that come from a single session, which trains.
    """

    train: I64
    validation: I64
    test: I64
    dropped: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    untested: tuple[str, ...] = ()


def split(
    flows: LabelledFlows,
    kind: str,
    seed: int,
    validation_share: float,
    validation_kind: str | None = None,
    test_share: float = 0.2,
    fold: int = 0,
) -> Split:
    """Splits by flow (``random``, stratified by both labels), by Flow ID, or by session: no Flow ID, in whichever
    direction, lies on two sides, and no session. ``test_share`` is of all rows (0.2 is the paper's 4 : 1),
    ``validation_share`` of the others; those are cut the same way, or by ``validation_kind``. By session, ``fold``
    says which of the 1 / ``test_share`` folds tests; every session that may test does so in one of them. Raises
    EtccError where the file lacks what a kind needs."""
    rest, test = _cut(flows, kind, np.arange(len(flows)), test_share, seed, fold)
    train, validation = rest, rest[:0]
    if validation_share:
        train, validation = _cut(flows, validation_kind or kind, rest, validation_share, seed)
    ids = _conversations(flows.flow_id)
    whole = np.union1d(train, validation)
    if kind == "session":
        train, validation = (part[~_occurs(ids, part, test)] for part in (train, validation))
    if (validation_kind or kind) == "session":
        train = train[~_occurs(ids, train, validation)]
    dropped = np.setdiff1d(whole, np.union1d(train, validation))
    return Split(train, validation, test, dropped, _untested(flows)[0] if kind == "session" else ())


def _cut(flows: LabelledFlows, kind: str, rows: I64, share: float, seed: int, fold: int = 0) -> tuple[I64, I64]:
    """The rows in two parts, the second of about the given share, neither empty."""
    if len(rows) < 2:
        raise EtccError(f"{flows.name}: too few flows to split: {len(flows)}")
    if kind == "random":
        # A pair of labels with few flows cannot be stratified; such flows share one stratum.
        _, stratum, size = np.unique(_pairs(flows), return_inverse=True, return_counts=True)
        return at_random(rows, np.where(size[stratum] < 10, -1, stratum)[rows], share, seed)
    if kind == "session":
        return _by_session(flows, rows, share, seed, fold)
    names = _conversations(flows.flow_id)
    units = len(np.unique(names[rows]))
    if units < 2:
        raise EtccError(
            f"{flows.name}: a split by flow-id needs a column of enough Flow IDs for each part; one was left to part"
        )
    shuffle = GroupShuffleSplit(1, test_size=_some_of(units, share), random_state=seed)
    first, second = next(shuffle.split(rows, groups=names[rows]))
    return rows[first], rows[second]


def at_random(rows: I64, stratum: I64, share: float, seed: int) -> tuple[I64, I64]:
    """The rows [n] in two parts, the second of about the given share, each with its part of every ``stratum`` [n] where
    there are rows enough."""
    _, size = np.unique(stratum, return_counts=True)
    second_rows = _some_of(len(rows), share)
    whole = size.min() >= 2 and len(size) <= min(second_rows, len(rows) - second_rows)
    first, second = train_test_split(
        rows, test_size=second_rows, random_state=seed, stratify=stratum if whole else None
    )
    return np.sort(first), np.sort(second)


def _by_session(flows: LabelledFlows, rows: I64, share: float, seed: int, fold: int) -> tuple[I64, I64]:
    """Folds of whole sessions, each with its part of every pair of labels where sessions allow it."""
    pinned = np.isin(flows.session, _untested(flows)[1])
    parted = rows[~pinned[rows]]
    units = len(np.unique(flows.session[parted]))
    stratum = np.unique(_pairs(flows)[parted], return_inverse=True)[1]
    # No more than the flows of some pair of labels: folds that no pair can fill are refused.
    folds = min(max(2, round(1 / share)), units, np.bincount(stratum).max(initial=0))
    if folds < 2:
        raise EtccError(
            f"{flows.name}: a split by session needs --groups with enough captures for each part; {units} sessions "
            "were left to part"
        )
    kfold = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of a pair of labels with fewer flows than folds. What no test flow has is named by the card.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        cuts = [chosen for _, chosen in kfold.split(parted, stratum, flows.session[parted])]
    second = parted[cuts[fold % folds]]
    return np.setdiff1d(rows, second), np.sort(second)


def _untested(flows: LabelledFlows) -> tuple[tuple[str, ...], Text]:
    """The pairs of labels that come from a single session, by name, and those sessions."""
    pair = _pairs(flows)
    of_pair = {name: np.unique(flows.session[pair == name]) for name in np.unique(pair).tolist()}
    single = {name: own for name, own in of_pair.items() if len(own) == 1}
    return tuple(single), np.concatenate([flows.session[:0], *single.values()])


def _pairs(flows: LabelledFlows) -> Text:
    pairs: Text = np.char.add(np.char.add(flows.protocol, " "), flows.application)
    return pairs


def _conversations(flow_id: Text) -> Text:
    return np.array([conversation(name) for name in flow_id.tolist()], np.str_)


def _occurs(ids: Text, rows: I64, others: I64) -> Bools:
    """bool [n]: the Flow ID of the row is one of the other rows'."""
    occurs: Bools = np.isin(ids[rows], ids[others]) & (ids[rows] != "")
    return occurs


def _some_of(n: int, share: float) -> int:
    return min(int(np.ceil(share * n)), n - 1)
