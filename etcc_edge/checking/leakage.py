"""What gives a flow's labels away: repeats, equal features with other labels, the date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I64, U64
from etcc_edge.checking.tally import Tally, is_compared
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.labels import label_key, spell
from etcc_edge.flows.truth import LabelledFlows

DIGITS = 3  # to which near twins are equal
_CHUNK = 1 << 14  # rows that are hashed at once


@dataclass(frozen=True)
class Truth:
    """The labels of the flows that have them all: int64 codes [n] by level, and ``both`` where there are two."""

    names: dict[str, list[str]]
    levels: dict[str, I64]
    features: U64
    days: I64  # -1 for no date
    unlabelled: int

    @classmethod
    def of(cls, tally: Tally) -> Truth:
        names: dict[str, list[str]] = {}
        levels: dict[str, I64] = {}
        keep = np.ones(tally.flows, bool)
        for level, codes in tally.label_text.items():
            written, at = list(codes.index), tally.label_codes(level)
            counts = np.bincount(at, minlength=len(written)).tolist()
            spelling = spell(text for text, n in zip(written, counts, strict=True) for _ in range(n))
            names[level] = sorted({spelling[label_key(text)] for text in written})
            to_code = [names[level].index(spelling[label_key(text)]) for text in written]
            levels[level] = np.array(to_code, np.int64)[at]
            keep &= np.array([bool(name) for name in names[level]], bool)[levels[level]]
        levels = {level: codes[keep] for level, codes in levels.items()}
        if len(levels) == 2:
            first, second = levels.values()
            levels["both"] = np.unique(first * (1 + second.max(initial=0)) + second, return_inverse=True)[1]
        days = tally.days().astype(np.int64)[keep] if len(tally.days()) else np.full(int(keep.sum()), -1)
        if "" in tally.day_text.index:
            days[days == tally.day_text.index[""]] = -1
        return cls(names, levels, tally.features[keep], days, int((~keep).sum()))

    def counts(self) -> dict[str, Any]:
        report: dict[str, Any] = {"flows": len(self.features), "flows_without": self.unlabelled}
        for level, names in self.names.items():
            found = np.bincount(self.levels[level], minlength=len(names)).tolist()
            report[level] = {name: n for name, n in zip(names, found, strict=True) if name and n}
        return report

    def by_day(self) -> dict[str, Any]:
        """How often the most frequent label of its day is a flow's: learned on one half, scored on the other,
        both ways; beside the most frequent label of all, learned and scored the same way."""
        dated = np.flatnonzero(self.days >= 0)
        halves = np.array_split(np.random.default_rng(0).permutation(dated), 2)
        report: dict[str, Any] = {"days": len(np.unique(self.days[dated])), "flows": len(dated), "accuracy": {}}
        if len(dated) < 2:
            return report
        for level, labels in self.levels.items():
            day = always = 0
            for learn, score in (halves, halves[::-1]):
                table = np.zeros((int(self.days.max()) + 1, int(labels.max()) + 1), np.int64)
                np.add.at(table, (self.days[learn], labels[learn]), 1)
                usual = int(table.sum(axis=0).argmax())
                of_day = np.where(table.any(axis=1), table.argmax(axis=1), usual)
                day += int((of_day[self.days[score]] == labels[score]).sum())
                always += int((labels[score] == usual).sum())
            report["accuracy"][level] = {"day": day / len(dated), "most_frequent": always / len(dated)}
        return report


def repeats(hashes: U64) -> dict[str, Any]:
    """Flows that have an equal elsewhere in the file, and what would be left with one of each."""
    _, count = np.unique(hashes, return_counts=True)
    flows = int(count[count > 1].sum())
    return {"flows": flows, "share": _share(flows, len(hashes)), "distinct": len(count)}


def conflicts(features: U64, labels: I64) -> dict[str, Any]:
    """Flows whose equal in features has another label, and the best accuracy that these features then allow."""
    if not len(labels):
        return {"flows": 0, "share": 0.0, "best_accuracy": None}
    which = np.unique(features, return_inverse=True)[1].astype(np.int64)
    width = int(labels.max()) + 1
    pairs, count = np.unique(which * width + labels, return_counts=True)
    of_pair = pairs // width
    several = np.bincount(of_pair)[which] > 1
    most = np.zeros(int(which.max()) + 1, np.int64)
    np.maximum.at(most, of_pair, count)
    flows = int(several.sum())
    return {"flows": flows, "share": _share(flows, len(labels)), "best_accuracy": int(most.sum()) / len(labels)}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def twins_across(flows: LabelledFlows, kind: str, seed: int, train: I64, test: I64) -> dict[str, Any]:
    """How many test rows [t] have a twin among the training rows: equal numeric features ports aside, or
    (near) equal after rounding each feature to 3 significant digits."""
    kept = [i for i, name in enumerate(flows.feature_names) if is_compared(name)]
    exact, near = [], []
    for start in range(0, len(flows), _CHUNK):
        part = flows.features[start : start + _CHUNK, kept]
        exact.append(feature_hashes(part))
        near.append(feature_hashes(rounded(part)))
    figures: dict[str, Any] = {"kind": kind, "seed": seed, "train": len(train), "test": len(test)}
    for name, hashes in (("twins", np.concatenate(exact)), ("near_twins", np.concatenate(near))):
        figures[name] = int(np.isin(hashes[test], hashes[train]).sum())
        figures[f"{name}_share"] = figures[name] / len(test)
    return figures


def rounded(values: F32) -> F32:
    """Each value to 3 significant digits; NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = values.astype(np.float64)
        step = 10.0 ** (np.floor(np.log10(np.abs(exact))) - (DIGITS - 1))
        return np.where(exact == 0, 0, np.round(exact / step) * step).astype(np.float32)
