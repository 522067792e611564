"""Which flows train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from etcc_edge.errors import EtccError
from etcc_edge.labelled import LabelledFlows

I64 = npt.NDArray[np.int64]

TEST_SHARE = 0.2  # the paper's 4 : 1
KINDS = ("random", "flow-id", "groups")


@dataclass(frozen=True)
class Split:
    """Row numbers, sorted. ``validation`` chooses (epochs, temperatures); ``test`` only measures."""

    kind: str
    seed: int
    train: I64
    validation: I64
    test: I64


def split(flows: LabelledFlows, kind: str, seed: int, validation_share: float) -> Split:
    """Splits by flow (stratified by both labels), by Flow ID, or by group: no Flow ID or group lies on two
    sides. ``validation_share`` is of the rows that do not test. Raises EtccError where the file lacks what a
    kind needs."""
    rows = np.arange(len(flows))
    if kind == "random":
        # A pair of labels with a single flow cannot be stratified; such flows share one stratum.
        _, stratum, size = np.unique(
            np.char.add(np.char.add(flows.protocol, "/"), flows.application), return_inverse=True, return_counts=True
        )
        stratum = np.where(size[stratum] < 10, -1, stratum)

        def cut(part: I64, share: float) -> tuple[I64, I64]:
            few = np.bincount(stratum[part] + 1)[stratum[part] + 1].min() < 2
            first, second = train_test_split(
                part, test_size=share, random_state=seed, stratify=None if few else stratum[part]
            )
            return np.sort(first), np.sort(second)
    else:
        names = flows.flow_id if kind == "flow-id" else flows.group
        if len(np.unique(names)) < 3:
            need = "a Flow ID column" if kind == "flow-id" else "--groups with at least three groups"
            raise EtccError(f"{flows.name}: a split by {kind} needs {need}")

        def cut(part: I64, share: float) -> tuple[I64, I64]:
            shuffle = GroupShuffleSplit(1, test_size=share, random_state=seed)
            first, second = next(shuffle.split(part, groups=names[part]))
            return part[first], part[second]

    rest, test = cut(rows, TEST_SHARE)
    train, validation = cut(rest, validation_share) if validation_share else (rest, rest[:0])
    return Split(kind, seed, train, validation, test)
