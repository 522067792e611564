"""Every accuracy figure, from label codes. Fractions; NaN where nothing was counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.integer]
F64 = npt.NDArray[np.float64]


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> F64:
    """part / whole, NaN where the whole is nothing."""
    parts, wholes = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio: F64 = np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)
    return ratio


@dataclass(frozen=True)
class Confusion:
    """Counts int64 [classes, classes + 1]: true class by row, predicted class by column; the last column holds
    flows that got no label or one outside the classes."""

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]

    @staticmethod
    def of(labels: tuple[str, ...], true: Codes, predicted: Codes) -> Confusion:
        """Codes [n] into ``labels``. Flows whose true code is none of them are left out."""
        n = len(labels)
        true, predicted = true.astype(np.int64), predicted.astype(np.int64)
        known = (true >= 0) & (true < n)
        column = np.where((predicted >= 0) & (predicted < n), predicted, n)
        cells = np.bincount(true[known] * (n + 1) + column[known], minlength=n * (n + 1))
        return Confusion(labels, cells.reshape(n, n + 1).astype(np.int64))

    @property
    def support(self) -> npt.NDArray[np.int64]:
        """Flows of each true class."""
        support: npt.NDArray[np.int64] = self.counts.sum(axis=1)
        return support

    @property
    def accuracy(self) -> float:
        """Share of flows on the diagonal (the paper's equation 2, over all classes at once)."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def precision(self) -> F64:
        """By class; 0 for a class that was never predicted but occurs (equation 3)."""
        right, predicted = np.diag(self.counts), self.counts[:, :-1].sum(axis=0)
        return np.where(predicted > 0, _ratio(right, predicted), np.where(self.support > 0, 0.0, np.nan))

    @property
    def recall(self) -> F64:
        """By class (equation 4)."""
        return _ratio(np.diag(self.counts), self.support)

    @property
    def f1(self) -> F64:
        """By class (equation 5)."""
        return _ratio(2.0 * np.diag(self.counts), self.counts[:, :-1].sum(axis=0) + self.support)

    def summary(self) -> dict[str, float]:
        """Accuracy, and the means of precision, recall and F1 over the classes that occur."""
        occurs = self.support > 0
        figures = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            "accuracy": self.accuracy,
            **{name: float(np.mean(by[occurs])) if occurs.any() else float("nan") for name, by in figures.items()},
        }


def agreement(first: Codes, second: Codes) -> float:
    """Share of equal codes, over all levels of both (shape [n] or [levels, n])."""
    same = np.atleast_2d(first == second).all(axis=0)
    return float(np.mean(same)) if same.size else float("nan")


def expected_calibration_error(
    confidence: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over equal-width bins, weighted by flows (Guo et al., ICML 2017)."""
    if not len(confidence):
        return float("nan")
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    weight = np.bincount(which, minlength=bins)
    sure = np.bincount(which, confidence, bins)
    hits = np.bincount(which, right, bins)
    return float(np.abs(sure - hits).sum() / weight.sum())
