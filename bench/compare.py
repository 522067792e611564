"""Two reports: what became slower or less accurate, beyond the noise of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from etcc_edge.engines.gate import MAX_DRIFT

Report = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One figure that both reports have. ``change`` is in % for speeds, in points for accuracies; ``low`` and
    ``high`` are what it is at least and at most by both intervals."""

    what: str
    old: float
    new: float
    change: float
    low: float
    high: float
    regressed: bool

    @property
    def within_noise(self) -> bool:
        return self.low <= 0 <= self.high


def compare(old: Report, new: Report, max_regression: float) -> list[Change]:
    """Every throughput and accuracy that both have, the regressions first. A throughput has regressed where it fell
    by more than ``max_regression`` % and the two intervals do not meet, an accuracy where it fell by more than
    `MAX_DRIFT` points."""
    before, after = _by_key(old), _by_key(new)
    changes = []
    for key in before.keys() & after.keys():
        (was, (was_low, was_high)), (now, (now_low, now_high)) = before[key], after[key]
        change, low, high = (100 * (ratio - 1) for ratio in (now / was, now_low / was_high, now_high / was_low))
        changes.append(Change(" ".join(key), was, now, change, low, high, change < -max_regression and high < 0))
    for name in old["contenders"].keys() & new["contenders"].keys():
        was, now = (_accuracy(report, name) for report in (old, new))
        if was is not None and now is not None:
            points = 100 * (now - was)
            changes.append(Change(f"{name} accuracy", was, now, points, points, points, points < -MAX_DRIFT))
    return sorted(changes, key=lambda change: (not change.regressed, change.what))


def differences(old: Report, new: Report) -> list[str]:
    """What makes two reports compare badly, a line each."""
    lines = [
        f"{name} differs: {was} and {now}"
        for name in ("cpu", "cpus", "python")
        if (was := old["environment"].get(name)) != (now := new["environment"].get(name))
    ]
    if old["bundle"]["hash"] != new["bundle"]["hash"]:
        lines.append(f"the bundles differ: {old['bundle']['name']} and {new['bundle']['name']}")
    if (old["flows"].get("source"), old["flows"].get("file")) != (new["flows"].get("source"), new["flows"].get("file")):
        lines.append("the flows differ")
    for report, which in ((old, "old"), (new, "new")):
        if report.get("noise", {}).get("noisy"):
            lines.append(f"the machine was noisy during the {which} bench")
        if not report["complete"]:
            lines.append(f"the {which} bench was interrupted")
    gone = sorted(" ".join(key) for key in _by_key(old).keys() - _by_key(new).keys())
    if gone:
        lines.append(f"only the old bench has: {', '.join(gone)}")
    return lines


def _by_key(report: Report) -> dict[tuple[str, ...], tuple[float, list[float]]]:
    """Flows a second and its interval of each measurement."""
    return {
        (
            row["contender"],
            row["precision"],
            row["scenario"],
            *([f"of {row['batch']}"] if row["batch"] else []),
            f"on {row['threads']}",
        ): (row["flows_per_s"], row["flows_per_s_interval"])
        for row in report["measurements"]
        if row.get("flows_per_s")
    }


def _accuracy(report: Report, name: str) -> float | None:
    drift = report["contenders"][name].get("drift") or {}
    accuracy: float | None = drift.get("accuracy")
    return accuracy
