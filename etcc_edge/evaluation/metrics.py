"""Every accuracy figure, from label codes. Fractions; NaN where nothing was counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import F64, I64, Bools, Floats, Integers

_ROUNDING = 1e-6  # flows; a share of them may come out a little above a whole number


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
    counts: I64

    @staticmethod
    def of(labels: tuple[str, ...], true: Integers, predicted: Integers) -> Confusion:
        """Codes [n] into ``labels``. Flows whose true code is none of them are left out."""
        n = len(labels)
        true, predicted = true.astype(np.int64), predicted.astype(np.int64)
        known = (true >= 0) & (true < n)
        column = np.where((predicted >= 0) & (predicted < n), predicted, n)
        cells = np.bincount(true[known] * (n + 1) + column[known], minlength=n * (n + 1))
        return Confusion(labels, cells.reshape(n, n + 1).astype(np.int64))

    @property
    def support(self) -> I64:
        """Flows of each true class."""
        support: I64 = self.counts.sum(axis=1)
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


@dataclass(frozen=True)
class Reliability:
    """Flows by confidence, in equal-width bins over [0, 1]: float64 or int64 [bins], NaN in bins without flows."""

    confidence: F64  # mean of the bin
    accuracy: F64
    flows: I64

    @property
    def error(self) -> float:
        """Mean distance of confidence and accuracy, weighted by flows (Guo et al., ICML 2017)."""
        some = self.flows > 0
        distance = np.abs(self.confidence - self.accuracy)[some]
        return float(_ratio(distance @ self.flows[some], self.flows.sum()))


def reliability(confidence: Floats, right: Bools, bins: int = 15) -> Reliability:
    """How often flows of each confidence [n] are right [n]."""
    confidence = confidence.astype(np.float64)
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    flows = np.bincount(which, minlength=bins)
    sure, hits = (np.bincount(which, values, bins) for values in (confidence, right))
    return Reliability(_ratio(sure, flows), _ratio(hits, flows), flows.astype(np.int64))


@dataclass(frozen=True)
class RiskCoverage:
    """Accuracy over the flows that are kept when the least sure are refused (El-Yaniv and Wiener, JMLR 2010)."""

    accuracy: F64  # of those kept
    confidence: F64  # of the least sure flow kept
    area: float  # mean accuracy over keeping 1, 2, … all flows


def risk_coverage(confidence: Floats, right: Bools, kept: npt.ArrayLike) -> RiskCoverage:
    """The curve of confidences [n] and whether they are right [n], at the given shares kept, each in (0, 1].

    Equally sure flows are refused in no order: accuracy is its mean over all orders. A flow without label has
    confidence NaN and is the first to go. NaN where there are no flows.
    """
    shares = np.asarray(kept, np.float64)
    n = len(confidence)
    if not n:
        nothing = np.full(shares.shape, np.nan)
        return RiskCoverage(nothing, nothing, float("nan"))
    sure, which = np.unique(-np.nan_to_num(confidence.astype(np.float64), nan=-1.0), return_inverse=True)
    flows = np.cumsum(np.bincount(which))
    hits = np.cumsum(np.bincount(which, right))
    # Between two confidences the curve of hits is a straight line: that is the mean over all orders.
    at, reached = np.concatenate([[0], flows]), np.concatenate([[0.0], hits])

    def accuracy(count: F64) -> F64:
        return _ratio(np.interp(count, at, reached), count)

    least = -sure[np.minimum(np.searchsorted(flows, shares * n - _ROUNDING), len(flows) - 1)]
    area = float(accuracy(np.arange(1.0, n + 1)).mean())
    return RiskCoverage(accuracy(shares * n), np.where(least < 0, np.nan, least), area)


def bootstrap(right: Bools, counted: Bools, units: Integers, *, resamples: int = 1000, seed: int = 0) -> F64:
    """Ratios float64 [resamples, k] of k accuracies when whole units are drawn anew, with replacement.

    ``counted`` [n, k] says which accuracies a flow counts in, ``right`` [n, k] where it is right, ``units`` [n]
    its unit, numbered from 0: a unit a flow is the plain bootstrap, flows that depend on each other in one
    unit the cluster bootstrap. NaN where a draw counted nothing.
    """
    k = right.shape[1]
    table = np.zeros((int(units.max(initial=-1)) + 1, 2 * k), np.int64)
    np.add.at(table, units, np.concatenate([right & counted, counted], axis=1))
    # Units with the same counts are one to every ratio, so few kinds of them stand for all.
    kinds, members = np.unique(table, axis=0, return_counts=True)
    if not members.sum():
        return np.full((resamples, k), np.nan)
    rng = np.random.default_rng(seed)
    share = members / members.sum()
    sums = np.stack([rng.multinomial(members.sum(), share) @ kinds for _ in range(resamples)])
    return _ratio(sums[:, :k], sums[:, k:])


def interval(resampled: F64, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of resampled figures, those that counted nothing aside; None where the others are
    all one: then the draws tell nothing of how far off it may be."""
    known = resampled[~np.isnan(resampled)]
    if not known.size or known.min() == known.max():
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def separation(known: Floats, unknown: Floats) -> dict[str, float]:
    """How well a score [n] and [m], lower for known flows, parts them: ``auroc``, the chance that an unknown flow
    scores higher than a known one, ties half; ``fpr_at_95_tpr``, the share of unknown flows that pass where
    95 % of the known do. NaN where either is empty."""
    if not len(known) or not len(unknown):
        return {"auroc": float("nan"), "fpr_at_95_tpr": float("nan")}
    ordered = np.sort(known)
    below, up_to = (np.searchsorted(ordered, unknown, side) for side in ("left", "right"))
    passes = ordered[int(np.ceil(0.95 * len(ordered))) - 1]
    return {
        "auroc": float((below + up_to).mean() / (2 * len(ordered))),
        "fpr_at_95_tpr": float(np.mean(unknown <= passes)),
    }
