"""Sequential forward floating selection (SFFS) of features, by which the paper picks its 41.

A set of features scores the accuracy of a small random forest that sees those features alone, binned by their
quantiles: fast, indifferent to scale, and not misled by correlated features. One sample of the training rows fits
it, another scores it; the rows that `train` tests on with the same split and seed are never looked at. Nor are those
that it validates on, where its recipe validates on as large a share as the default one and splits them the same way.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from mlxtend.feature_selection import SequentialFeatureSelector
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier

from etcc_edge.arrays import F32, I64, Text
from etcc_edge.errors import EtccError
from etcc_edge.flows.labels import PAPER_APPLICATIONS, label_key
from etcc_edge.flows.text.writer import open_output
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import split

TARGETS = ("protocol", "application", "both")
BINS = 256
TREES = 6
MAX_FIT_FLOWS = 20_000
MAX_SCORE_FLOWS = 8_000
MIN_FLOWS = 100  # fewer rank nothing


@dataclass(frozen=True)
class Goal:
    """What the features are to tell, and on which rows: the options that `train` has too."""

    target: str = "protocol"  # one of `TARGETS`
    applications: str = "paper"  # or all: the flows that count where applications are told
    split: str = "random"
    test_share: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Step:
    """The best set of one size, against the best set of one feature less."""

    size: int
    accuracy: float  # on the scoring flows, a fraction
    added: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    features: tuple[str, ...]  # in the order of choice: by the size from which on the best sets hold them
    steps: tuple[Step, ...]  # by size, from 1 to k
    candidates: int
    constant: tuple[str, ...]  # with one value in all fitting flows, so no candidates
    fit_flows: int
    score_flows: int


@dataclass(frozen=True)
class Examples:
    """The flows that fit the forests, and those that score them."""

    fit: F32  # [n, f], NaN for no value
    fit_label: Text
    score: F32
    score_label: Text


class _Interrupted(Exception):
    """A keyboard interrupt on its way through mlxtend, which would print a line and return half a result."""


def select_features(
    flows: LabelledFlows,
    k: int,
    goal: Goal | None = None,
    *,
    state: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Selection:
    """Chooses k of the features of ``flows``; ``tell`` gets a line at each step.

    ``state``: a file that keeps every score, written after each step and left there by an interrupt. The search
    asks for the same scores again in the same order, so that one which finds them there ends as it would have
    without the interrupt. Whoever has stored the result removes it.

    Raises EtccError where fewer than k features vary, too few labelled flows are left, or ``state`` belongs to
    another search (k apart: scores do not depend on it) or is damaged.
    """
    goal = goal or Goal()
    examples = _examples(flows, goal)
    varies = np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in examples.fit.T])
    names = np.array(flows.feature_names)[varies]
    if not 1 <= k <= len(names):
        raise EtccError(f"{flows.name}: {len(names)} features vary, so that -k can be 1 to {len(names)}, not {k}")
    fit, score = binned(examples.fit[:, varies], examples.score[:, varies])
    examples = replace(examples, fit=fit, score=score)
    scores = _Scores(examples, names.tolist(), k, goal, state, tell)
    # mlxtend searches over column numbers, and has each set's score from `scores`.
    search = SequentialFeatureSelector(
        DummyClassifier(),
        k_features=k,
        forward=True,
        floating=True,
        cv=0,
        clone_estimator=False,
        scoring=lambda _, columns, __: scores(tuple(sorted(columns[0].tolist()))),
    )
    try:
        search.fit(np.arange(len(names))[None, :], np.zeros(1))
    except _Interrupted:
        search.interrupted_ = True
    finally:
        scores.save()
    if search.interrupted_:
        raise KeyboardInterrupt
    best = {size: frozenset(names[list(subset["feature_idx"])].tolist()) for size, subset in search.subsets_.items()}
    steps = []
    for size in range(1, k + 1):
        before = best.get(size - 1, frozenset())
        change = (tuple(sorted(best[size] - before)), tuple(sorted(before - best[size])))
        steps.append(Step(size, float(search.subsets_[size]["avg_score"]), *change))
    constant = np.array(flows.feature_names)[np.logical_not(varies)]
    return Selection(
        features=_in_order(best, k),
        steps=tuple(steps),
        candidates=len(names),
        constant=tuple(constant.tolist()),
        fit_flows=len(examples.fit),
        score_flows=len(examples.score),
    )


def _examples(flows: LabelledFlows, goal: Goal) -> Examples:
    label = _labels(flows, goal)
    learn = split(flows, goal.split, goal.seed, RECIPES["default"].validation_share, test_share=goal.test_share).train
    learn = learn[label[learn] != ""]
    if len(learn) < MIN_FLOWS or len(np.unique(label[learn])) < 2:
        raise EtccError(
            f"{flows.name}: {len(learn)} training flows of {len(np.unique(label[learn]))} labels are too few to "
            f"choose features by; it takes {MIN_FLOWS} flows and two labels"
        )
    inner = split(flows.take(learn), goal.split, goal.seed, 0.0)
    rng = np.random.default_rng(goal.seed)

    def sample(part: I64, most: int) -> I64:
        rows: I64 = learn[rng.permutation(part)[:most]]
        return rows

    fit, score = sample(inner.train, MAX_FIT_FLOWS), sample(inner.test, MAX_SCORE_FLOWS)
    return Examples(flows.features[fit], label[fit], flows.features[score], label[score])


def binned(fit: F32, score: F32) -> tuple[F32, F32]:
    """The features [n, f] and [m, f] as numbers of bins that hold about equally many flows of ``fit``; NaN falls into
    the last.

    Few distinct values make a tree's sorting fast.
    """
    fit_bins, score_bins = np.empty_like(fit), np.empty_like(score)
    for i, column in enumerate(fit.T):
        edges = np.unique(np.nanquantile(column, np.arange(BINS) / BINS))
        fit_bins[:, i] = np.searchsorted(edges, column)
        score_bins[:, i] = np.searchsorted(edges, score[:, i])
    return fit_bins, score_bins


def _labels(flows: LabelledFlows, goal: Goal) -> Text:
    """What is to be told of each flow, empty where the flow does not count."""
    if goal.target == "protocol":
        return flows.protocol
    known = np.full(len(flows), True)
    if goal.applications == "paper":
        known = np.array([label_key(name) in PAPER_APPLICATIONS for name in flows.application.tolist()])
    pair = np.char.add(np.char.add(flows.protocol, "/"), flows.application)
    return np.where(known, pair if goal.target == "both" else flows.application, "")


def _in_order(best: Mapping[int, frozenset[str]], k: int) -> tuple[str, ...]:
    """The best set of k features, by the size from which on every best set holds them."""
    order: list[str] = []
    kept = best[k]
    for size in range(k - 1, -1, -1):
        left = kept - best.get(size, frozenset())
        order[:0] = sorted(left)
        kept -= left
    return tuple(order)


def forest_accuracy(forest: RandomForestClassifier, examples: Examples, columns: list[int]) -> float:
    """The share of the scoring flows that the forest, fitted anew, labels right by these columns alone."""
    forest.fit(examples.fit[:, columns], examples.fit_label)
    return float(forest.score(examples.score[:, columns], examples.score_label))


class _Scores:
    """The accuracy of each set of columns, computed once and kept in a file."""

    def __init__(
        self,
        examples: Examples,
        names: list[str],
        k: int,
        goal: Goal,
        state: Path | None,
        tell: Callable[[str], None],
    ) -> None:
        self._examples = examples
        self._estimator = RandomForestClassifier(TREES, random_state=goal.seed)
        self._k = k
        self._state = state
        self._tell = tell
        self._size = 0  # of the sets in the current step: each step tries sets of one size, and the next of another
        self._best = 0.0
        self._computed = 0
        self._saved = 0
        self._started = time.monotonic()
        arrays = (examples.fit, examples.fit_label, examples.score, examples.score_label)
        # Whatever a score depends on; the fingerprint last, since every other difference changes it too.
        self._settings: dict[str, Any] = {
            **vars(goal),
            "candidates": names,
            "estimator": f"{self._estimator!r} of scikit-learn {sklearn.__version__}",
            "flows": hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest(),
        }
        self._known = _read_state(state, self._settings) if state is not None else {}

    def __call__(self, columns: tuple[int, ...]) -> float:
        if len(columns) != self._size:
            self._next_step(len(columns))
        key = " ".join(map(str, columns))
        if key not in self._known:
            try:
                self._known[key] = forest_accuracy(self._estimator, self._examples, list(columns))
            except KeyboardInterrupt as interrupt:
                raise _Interrupted from interrupt
            self._computed += 1
        self._best = max(self._best, self._known[key])
        return self._known[key]

    def _next_step(self, size: int) -> None:
        self.save()
        line = f"feature {min(size, self._k)} of {self._k}"
        if self._size:
            line += f", accuracy {100 * self._best:.2f} %"
        if self._computed:
            pace = (time.monotonic() - self._started) / self._computed
            line += f", about {_span(pace * self._sets_left(size))} left"
        self._tell(line)
        self._size, self._best = size, 0.0

    def _sets_left(self, size: int) -> int:
        """Sets that are still to score: those of each size with one more feature, and with one less."""
        candidates = self._examples.fit.shape[1]
        return sum(candidates - have + max(have - 1, 0) for have in range(size - 1, self._k))

    def save(self) -> None:
        if self._state is not None and self._computed > self._saved:
            with open_output(self._state) as out:
                out.write(json.dumps({"settings": self._settings, "scores": self._known}).encode())
            self._saved = self._computed


def _read_state(path: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    try:
        kept = json.loads(path.read_bytes())
        scores = {str(key): float(score) for key, score in kept["scores"].items()}
        other = [key for key, value in settings.items() if kept["settings"].get(key) != value]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EtccError(f"{path}: is no unfinished search; move it away, or name another output") from error
    if other:
        raise EtccError(
            f"{path}: is an unfinished search with another {other[0]}; finish that one, delete the file to begin anew, "
            "or name another output"
        )
    return scores


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
