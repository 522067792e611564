"""Two reports: what became slower or less accurate, beyond the noise of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from etcc_edge.engines.gate import MAX_DRIFT

Report = dict[str, Any]
Row = dict[str, Any]


# What others do to caches and memory shows in processor time too: between benches of the same code on two busy cores
# it differed by up to 33 %.
LEAST_IN_NOISE = 40.0


@dataclass(frozen=True)
class Change:
    """One figure that both reports have. ``change`` is in % for speeds, in points for accuracies; ``low`` and
    ``high`` are what it is at least and at most by the usual range of the turns of both."""

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
    """Every throughput and accuracy that both have, the regressions first.

    A throughput has regressed where it fell by more than ``max_regression`` % (`LEAST_IN_NOISE` at least where the
    machine was noisy) and the usual ranges of the turns do not meet; an accuracy where it fell by more than
    `MAX_DRIFT` points. The server scenario is left out: its search is not repeated.
    """
    figure = compared_figure(old, new)
    if figure == "flows_per_cpu_s":
        max_regression = max(max_regression, LEAST_IN_NOISE)
    before, after = (_by_key(report, figure) for report in (old, new))
    changes = []
    for key in before.keys() & after.keys():
        was, now = before[key], after[key]
        (was_low, was_high), (now_low, now_high) = was[f"{figure}_range"], now[f"{figure}_range"]
        ratios = (now[figure] / was[figure], now_low / was_high, now_high / was_low)
        change, low, high = (100 * (ratio - 1) for ratio in ratios)
        lost = change < -max_regression and high < 0
        changes.append(Change(" ".join(key), was[figure], now[figure], change, low, high, lost))
    for name in old["contenders"].keys() & new["contenders"].keys():
        first, second = _accuracy(old, name), _accuracy(new, name)
        if first is not None and second is not None:
            points = 100 * (second - first)
            changes.append(Change(f"{name} accuracy", first, second, points, points, points, points < -MAX_DRIFT))
    return sorted(changes, key=lambda change: (not change.regressed, change.what))


def compared_figure(old: Report, new: Report) -> str:
    """Throughput by wall clock, or by processor time where others used the machine during one of the two."""
    noisy = any(report.get("noise", {}).get("noisy") for report in (old, new))
    return "flows_per_cpu_s" if noisy else "flows_per_s"


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
            lines.append(
                f"the machine was noisy during the {which} bench: flows a second of processor time are compared, and "
                f"falls of less than {LEAST_IN_NOISE:g} % are not told from noise"
            )
        if not report["complete"]:
            lines.append(f"the {which} bench was interrupted")
    gone = sorted(" ".join(key) for key in _by_key(old, "flows_per_s").keys() - _by_key(new, "flows_per_s").keys())
    if gone:
        lines.append(f"only the old bench has: {', '.join(gone)}")
    return lines


def _by_key(report: Report, figure: str) -> dict[tuple[str, ...], Row]:
    """Measurements that have the figure with its range, by what they are of."""
    return {
        (
            row["contender"],
            row["precision"],
            row["scenario"],
            *([f"of {row['batch']}"] if row["batch"] else []),
            f"on {row['threads']}",
        ): row
        for row in report["measurements"]
        if row.get(f"{figure}_range")
    }


def _accuracy(report: Report, name: str) -> float | None:
    drift = report["contenders"][name].get("drift") or {}
    accuracy: float | None = drift.get("accuracy")
    return accuracy
