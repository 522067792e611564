"""What gives a flow's labels away: repeats, equal features with other labels, the date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F32, I64, U64
from etcc_edge.checking.result import Conflicts, DateAccuracy, DateLeakage, LabelCounts, Repeated, SplitLeakage
from etcc_edge.checking.tally import Tally, is_compared
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.labels import label_key, spell
from etcc_edge.flows.truth import LabelledFlows

DIGITS = 3  # to which near twins are equal
_CHUNK = 1 << 14  # rows that are hashed at once


@dataclass(frozen=True)
class LabelCodes:
    """The labels of the flows that have them all: int64 codes [n] by level, and ``both`` where there are two."""

    names: dict[str, list[str]]
    levels: dict[str, I64]
    features: U64
    days: I64  # -1 for no date
    unlabelled: int

    @classmethod
    def of(cls, tally: Tally) -> LabelCodes:
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

    def counts(self) -> LabelCounts:
        by_level = {}
        for level, names in self.names.items():
            counts = np.bincount(self.levels[level], minlength=len(names)).tolist()
            by_level[level] = {name: n for name, n in zip(names, counts, strict=True) if name and n}
        return LabelCounts(len(self.features), self.unlabelled, by_level)

    def by_day(self) -> DateLeakage:
        """How often the most frequent label of its day is a flow's: learned on one half, scored on the other,
        both ways; beside the most frequent label of all, learned and scored the same way."""
        dated = np.flatnonzero(self.days >= 0)
        halves = np.array_split(np.random.default_rng(0).permutation(dated), 2)
        accuracy: dict[str, DateAccuracy] = {}
        days = len(np.unique(self.days[dated]))
        if len(dated) < 2:
            return DateLeakage(days, len(dated), accuracy)
        for level, labels in self.levels.items():
            day = always = 0
            for learn, score in (halves, halves[::-1]):
                table = np.zeros((int(self.days.max()) + 1, int(labels.max()) + 1), np.int64)
                np.add.at(table, (self.days[learn], labels[learn]), 1)
                usual = int(table.sum(axis=0).argmax())
                of_day = np.where(table.any(axis=1), table.argmax(axis=1), usual)
                day += int((of_day[self.days[score]] == labels[score]).sum())
                always += int((labels[score] == usual).sum())
            accuracy[level] = DateAccuracy(day=day / len(dated), most_frequent=always / len(dated))
        return DateLeakage(days, len(dated), accuracy)


def repeats(hashes: U64) -> Repeated:
    """Of flows by their hashes [n]."""
    _, count = np.unique(hashes, return_counts=True)
    flows = int(count[count > 1].sum())
    return Repeated(flows, _share(flows, len(hashes)), len(count))


def conflicts(features: U64, labels: I64) -> Conflicts:
    """Of flows by the hashes of their features [n] and their label codes [n]."""
    if not len(labels):
        return Conflicts(0, 0.0, None)
    which = np.unique(features, return_inverse=True)[1].astype(np.int64)
    width = int(labels.max()) + 1
    pairs, count = np.unique(which * width + labels, return_counts=True)
    of_pair = pairs // width
    several = np.bincount(of_pair)[which] > 1
    most = np.zeros(int(which.max()) + 1, np.int64)
    np.maximum.at(most, of_pair, count)
    flows = int(several.sum())
    return Conflicts(flows, _share(flows, len(labels)), int(most.sum()) / len(labels))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def twins_across(flows: LabelledFlows, kind: str, seed: int, train: I64, test: I64) -> SplitLeakage:
    """Of a split into the training rows and the test rows of the given numbers."""
    kept = [i for i, name in enumerate(flows.feature_names) if is_compared(name)]
    exact, near = [], []
    for start in range(0, len(flows), _CHUNK):
        part = flows.features[start : start + _CHUNK, kept]
        exact.append(feature_hashes(part))
        near.append(feature_hashes(rounded(part)))
    twins, near_twins = (
        int(np.isin(hashes[test], hashes[train]).sum()) for hashes in (np.concatenate(exact), np.concatenate(near))
    )
    n = len(test)
    return SplitLeakage(kind, seed, len(train), n, twins, twins / n, near_twins, near_twins / n)


def rounded(values: F32) -> F32:
    """Each value to 3 significant digits; NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = values.astype(np.float64)
        step = 10.0 ** (np.floor(np.log10(np.abs(exact))) - (DIGITS - 1))
        return np.where(exact == 0, 0, np.round(exact / step) * step).astype(np.float32)
