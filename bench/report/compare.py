"""Two reports: what became slower or less accurate, beyond the noise of both."""

from __future__ import annotations

from dataclasses import dataclass

from etcc_edge.engines.gate import MAX_DRIFT

from ..figures import Measurement, ProcessFigures, Report, TurnFigures

# What others do to caches and memory shows in processor time too: between benches of the same code on two busy cores
# it differed by up to 33 %.
LEAST_IN_NOISE = 40.0


@dataclass(frozen=True)
class Change:
    """One figure that both reports have. ``change`` is in % for speeds, in points for accuracies; ``low`` and
    ``high`` are what it is at least and at most by the usual range of the turns of both."""

    name: str
    old: float
    new: float
    change: float
    low: float
    high: float
    regressed: bool

    @property
    def within_noise(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class _Rate:
    """Flows a second, and the usual range of the turns."""

    flows_per_s: float
    low: float
    high: float


def changes(old: Report, new: Report, max_regression: float) -> list[Change]:
    """Every throughput and accuracy that both have, the regressions first.

    A throughput has regressed where it fell by more than ``max_regression`` % (`LEAST_IN_NOISE` at least where the
    machine was noisy) and the usual ranges of the turns do not meet; an accuracy where it fell by more than
    `MAX_DRIFT` points. The server scenario is left out: its search is not repeated.
    """
    per_core = _noisy(old) or _noisy(new)
    if per_core:
        max_regression = max(max_regression, LEAST_IN_NOISE)
    old_rates, new_rates = _rates(old, per_core), _rates(new, per_core)
    rows = [
        _rate_change(" ".join(key), old_rates[key], new_rates[key], max_regression)
        for key in old_rates.keys() & new_rates.keys()
    ]
    for name in old.contenders.keys() & new.contenders.keys():
        before, after = _accuracy(old, name), _accuracy(new, name)
        if before is not None and after is not None:
            points = 100 * (after - before)
            rows.append(Change(f"{name} accuracy", before, after, points, points, points, points < -MAX_DRIFT))
    return sorted(rows, key=lambda row: (not row.regressed, row.name))


def _rate_change(name: str, old: _Rate, new: _Rate, max_regression: float) -> Change:
    ratios = (new.flows_per_s / old.flows_per_s, new.low / old.high, new.high / old.low)
    change, low, high = (100 * (ratio - 1) for ratio in ratios)
    regressed = change < -max_regression and high < 0
    return Change(name, old.flows_per_s, new.flows_per_s, change, low, high, regressed)


def differences(old: Report, new: Report) -> list[str]:
    """What makes two reports compare badly, a line each."""
    pairs = {
        "cpu": (old.environment.cpu, new.environment.cpu),
        "cpus": (old.environment.cpus, new.environment.cpus),
        "python": (old.environment.python, new.environment.python),
    }
    lines = [f"{name} differs: {before} and {after}" for name, (before, after) in pairs.items() if before != after]
    if old.bundle.hash != new.bundle.hash:
        lines.append(f"the bundles differ: {old.bundle.name} and {new.bundle.name}")
    if (old.flows.source, old.flows.file) != (new.flows.source, new.flows.file):
        lines.append("the flows differ")
    for report, age in ((old, "old"), (new, "new")):
        if _noisy(report):
            lines.append(
                f"the machine was noisy during the {age} bench: flows a second of processor time are compared, and "
                f"falls of less than {LEAST_IN_NOISE:g} % are not told from noise"
            )
        if not report.complete:
            lines.append(f"the {age} bench was interrupted")
    gone = sorted(" ".join(key) for key in _rates(old, False).keys() - _rates(new, False).keys())
    if gone:
        lines.append(f"only the old bench has: {', '.join(gone)}")
    return lines


def _noisy(report: Report) -> bool:
    return report.noise is not None and report.noise.noisy


def _rates(report: Report, per_core: bool) -> dict[tuple[str, ...], _Rate]:
    """By what was measured, the rates by wall clock or ``per_core`` by processor time, which others hardly touch."""
    rates = {}
    for row in report.measurements:
        if not isinstance(row.figures, TurnFigures | ProcessFigures):
            continue
        rate, limits = row.figures.flows_per_s, row.figures.flows_per_s_range
        if per_core:
            if row.figures.flows_per_cpu_s is None or row.figures.flows_per_cpu_s_range is None:
                continue
            rate, limits = row.figures.flows_per_cpu_s, row.figures.flows_per_cpu_s_range
        rates[_key(row)] = _Rate(rate, *limits)
    return rates


def _key(row: Measurement) -> tuple[str, ...]:
    batch = [f"of {row.batch}"] if row.batch else []
    return (row.contender, row.precision, row.scenario, *batch, f"on {row.threads}")


def _accuracy(report: Report, name: str) -> float | None:
    drift = report.contenders[name].drift
    return drift.accuracy if drift else None
