"""Which backend to take: the fastest whose drift passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import I32

from .figures import DriftFigures, NoneRecommended, Recommended
from .timing.turns import Turns, speed_up


@dataclass(frozen=True)
class Candidate:
    """A backend that was measured. ``codes``: the labels that it gave, int32 [levels, n]; None where it failed."""

    backend: str
    precision: str
    offline: Turns
    codes: I32 | None
    drift: DriftFigures | None

    @property
    def key(self) -> str:
        return f"{self.backend} {self.precision}"

    @property
    def why_refused(self) -> str:
        """Empty where it may be recommended."""
        if self.drift is None:
            return "" if self.precision == "fp32" else "its drift is not known: give flows with --flows"
        return self.drift.verdict or ""


def recommend(candidates: Sequence[Candidate]) -> Recommended | NoneRecommended:
    """The fastest that is not refused, and one for each precision. ``candidates`` are in the order in which `auto`
    tries them: it gets another than its first only where that is surely faster and gives every flow the same label."""
    refused = {candidate.key: candidate.why_refused for candidate in candidates if candidate.why_refused}
    best: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.key in refused:
            continue
        rival = best.setdefault(candidate.precision, candidate)
        if _same_labels(candidate, rival) and _surely_faster(candidate, rival):
            best[candidate.precision] = candidate
    if not best:
        return NoneRecommended(error="no backend could be measured, or none passes", refused=refused)
    first, *others = best.values()
    for candidate in others:
        if _surely_faster(candidate, first):
            first = candidate
    return Recommended(
        backend=first.backend,
        precision=first.precision,
        backends={precision: candidate.backend for precision, candidate in best.items()},
        refused=refused,
    )


def _same_labels(first: Candidate, second: Candidate) -> bool:
    return first.codes is not None and second.codes is not None and np.array_equal(first.codes, second.codes)


def _surely_faster(candidate: Candidate, rival: Candidate) -> bool:
    """By the whole interval of the ratio."""
    if candidate is rival:
        return False
    _, (low, _) = speed_up(candidate.offline, rival.offline)
    return low > 1
