"""Which flows train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from etcc_edge.arrays import I64
from etcc_edge.errors import EtccError
from etcc_edge.flows.truth import LabelledFlows, conversation

KINDS = ("random", "flow-id", "groups")


@dataclass(frozen=True)
class Split:
    """Row numbers, sorted. ``validation`` chooses (epochs, temperatures); ``test`` only measures."""

    train: I64
    validation: I64
    test: I64


def split(
    flows: LabelledFlows,
    kind: str,
    seed: int,
    validation_share: float,
    validation_kind: str | None = None,
    test_share: float = 0.2,
) -> Split:
    """Splits by flow (``random``, stratified by both labels), by Flow ID, or by group: no Flow ID, in whichever
    direction, and no group lies on two sides. ``test_share`` is of all rows (0.2 is the paper's 4 : 1),
    ``validation_share`` of the others; those are cut the same way, or by ``validation_kind``. Raises EtccError
    where the file lacks what a kind needs."""
    rest, test = _cut(flows, kind, np.arange(len(flows)), test_share, seed)
    if not validation_share:
        return Split(rest, rest[:0], test)
    train, validation = _cut(flows, validation_kind or kind, rest, validation_share, seed)
    return Split(train, validation, test)


def _cut(flows: LabelledFlows, kind: str, rows: I64, share: float, seed: int) -> tuple[I64, I64]:
    """The rows in two parts, the second of about the given share, neither empty."""
    if len(rows) < 2:
        raise EtccError(f"{flows.name}: {len(flows)} flows are too few to split")
    if kind == "random":
        # A pair of labels with few flows cannot be stratified; such flows share one stratum.
        _, stratum, size = np.unique(
            np.char.add(np.char.add(flows.protocol, "/"), flows.application), return_inverse=True, return_counts=True
        )
        stratum = np.where(size[stratum] < 10, -1, stratum)[rows]
        _, size = np.unique(stratum, return_counts=True)
        second_rows = _some_of(len(rows), share)
        whole = size.min() >= 2 and len(size) <= min(second_rows, len(rows) - second_rows)
        first, second = train_test_split(
            rows, test_size=second_rows, random_state=seed, stratify=stratum if whole else None
        )
        return np.sort(first), np.sort(second)
    names = flows.group
    if kind == "flow-id":
        names = np.array([conversation(name) for name in flows.flow_id.tolist()], np.str_)
    units = len(np.unique(names[rows]))
    if units < 2:
        need = "a column of enough Flow IDs" if kind == "flow-id" else "--groups with enough groups"
        raise EtccError(f"{flows.name}: a split by {kind} needs {need} for each part; one was left to part")
    shuffle = GroupShuffleSplit(1, test_size=_some_of(units, share), random_state=seed)
    first, second = next(shuffle.split(rows, groups=names[rows]))
    return rows[first], rows[second]


def _some_of(n: int, share: float) -> int:
    return min(int(np.ceil(share * n)), n - 1)
