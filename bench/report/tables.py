"""A bench's report in short, for people: a table of contenders, the recommendation, and what to beware of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from etcc_edge.reports.numbers import NONE, percent
from etcc_edge.reports.tables import Table

from ..contenders.backends import REFERENCE_KEY
from ..figures import (
    NOT_AVAILABLE,
    ContenderFigures,
    DriftFigures,
    Interval,
    Measurement,
    NetworkDrift,
    NoneRecommended,
    ProcessFigures,
    Report,
    ServerFigures,
    TurnFigures,
)
from .compare import Change

TIMES_REFERENCE = f"times {REFERENCE_KEY}"


def rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def micro(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def size(value: float | None) -> str:
    """Bytes in the largest unit that they fill."""
    if value is None:
        return NONE
    for unit, width in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= width:
            return f"{value / width:.1f} {unit}"
    return f"{value:.0f} B"


def threads_in_words(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def between(value: float | None, interval: Interval | None, show: Callable[[float], str]) -> str:
    """A figure with its interval."""
    if value is None:
        return NONE
    return show(value) + (f" ({show(interval[0])}–{show(interval[1])})" if interval else "")


def rate_between(figures: TurnFigures | ServerFigures | ProcessFigures | None) -> str:
    return between(figures.flows_per_s, figures.flows_per_s_interval, rate) if figures else NONE


def speed_up_between(figures: TurnFigures | ProcessFigures | None) -> str:
    return between(figures.speed_up, figures.speed_up_interval, times) if figures else NONE


def change_in_words(drift: DriftFigures | NetworkDrift) -> str:
    """Points of accuracy from fp32, or the agreement where labels are missing."""
    if drift.agreement is None:
        return NONE
    if drift.change_points is not None:
        return f"{drift.change_points:+.2f}"
    return f"{100 * drift.agreement:.2f} % agree"


def rows_of(report: Report, *scenarios: str, threads: int | None = None) -> list[Measurement]:
    return [
        row
        for row in report.measurements
        if (not scenarios or row.scenario in scenarios) and threads in (None, row.threads)
    ]


def by_contender(rows: Iterable[Measurement]) -> dict[str, Measurement]:
    return {row.key: row for row in rows}


def turns_of(row: Measurement | None) -> TurnFigures | None:
    """The row's figures where it is of turns."""
    return row.figures if row and isinstance(row.figures, TurnFigures) else None


def process_of(row: Measurement | None) -> ProcessFigures | None:
    """The row's figures where it is of whole processes."""
    return row.figures if row and isinstance(row.figures, ProcessFigures) else None


def _most_threads(report: Report) -> int:
    return max((row.threads for row in report.measurements), default=1)


# What fits a terminal, under shorter names.
_ON_TERMINAL = {
    ("", ""): ("", ""),
    ("offline", "flows/s"): ("", "flows/s"),
    ("one flow", "p50 µs"): ("", "p50 µs"),
    ("one flow", "p99 µs"): ("", "p99 µs"),
    ("file to file", "flows/s"): ("", "file to file"),
    ("", "accuracy %"): ("", "right %"),
    ("", "drift, points"): ("", "drift"),
    ("", "note"): ("", "note"),
}


def summary(report: Report, short: bool = False) -> Table:
    """One row a contender: what it does and what it costs. ``short`` for a terminal."""
    threads = _most_threads(report)
    offline = by_contender(rows_of(report, "offline", threads=threads))
    single = by_contender(rows_of(report, "single stream"))
    server = by_contender(rows_of(report, "server"))
    process = by_contender(rows_of(report, "process"))
    rows = []
    for name in dict.fromkeys([*report.contenders, *process]):
        contender, whole = report.contenders.get(name), process.get(name)
        if contender and contender.status == NOT_AVAILABLE:
            continue
        if not contender and whole and whole.error:
            continue
        at_once, alone = offline.get(name), turns_of(single.get(name))
        served = server[name].figures if name in server else None
        cells = {
            ("", ""): name,
            **_offline_cells(turns_of(at_once), short),
            ("one flow", "p50 µs"): micro(alone.p50_us if alone else None),
            ("one flow", "p99 µs"): micro(alone.p99_us if alone else None),
            ("server", "flows/s"): rate(served.flows_per_s if served else None),
            **_process_cells(process_of(whole)),
            **_accuracy_cells(contender),
            ("", "note"): (contender and contender.reason) or (at_once and at_once.error) or _refusal(contender),
        }
        rows.append({column: cells[key] for key, column in _ON_TERMINAL.items()} if short else cells)
    columns = [key for key in rows[0] if key[1] != "note" or any(cells[key] for cells in rows)] if rows else []
    title = f"Each contender, offline and as a server on {threads_in_words(threads)}, one flow on one"
    return Table(title, columns, [[cells[key] for key in columns] for cells in rows])


def _offline_cells(figures: TurnFigures | None, short: bool) -> dict[tuple[str, str], str]:
    return {
        ("offline", "flows/s"): rate(figures.flows_per_s if figures else None) if short else rate_between(figures),
        ("offline", TIMES_REFERENCE): speed_up_between(figures),
        ("offline", "flows/s per core"): rate(figures.flows_per_cpu_s if figures else None),
    }


def _process_cells(figures: ProcessFigures | None) -> dict[tuple[str, str], str]:
    return {
        ("file to file", "flows/s"): rate(figures.flows_per_s if figures else None),
        ("file to file", "peak memory"): size(figures.peak_bytes if figures else None),
    }


def _accuracy_cells(contender: ContenderFigures | None) -> dict[tuple[str, str], str]:
    drift = contender.drift if contender else None
    return {
        ("", "model"): size(contender.model_bytes if contender else None),
        ("", "accuracy %"): percent(drift.accuracy if drift else None),
        ("", "drift, points"): change_in_words(drift) if drift else NONE,
    }


def _refusal(contender: ContenderFigures | None) -> str:
    verdict = contender.drift.verdict if contender and contender.drift else ""
    return f"kept out: {verdict}" if verdict else ""


def recommended(report: Report) -> list[str]:
    """The choice and why, a sentence a line."""
    choice = report.recommendation
    if choice is None:
        return ["no recommendation: the bench was not finished"]
    if isinstance(choice, NoneRecommended):
        return [f"no recommendation: {choice.error}"]
    name = f"{choice.backend} {choice.precision}"
    row = by_contender(rows_of(report, "offline", threads=_most_threads(report)))[name]
    figures, drift = turns_of(row), report.contenders[name].drift
    assert figures is not None
    why = f"{rate(figures.flows_per_s)} flows/s on {threads_in_words(row.threads)}, the fastest backend"
    if figures.speed_up is not None:
        why += f", {speed_up_between(figures)} {TIMES_REFERENCE}"
    if choice.precision == "fp32":
        why += "; fp32, so without drift"
    elif drift:
        why += f"; its drift passes (points: {change_in_words(drift)}, {drift.source})"
    lines = [f"recommended: --backend {choice.backend} --precision {choice.precision}: {why}"]
    others = [f"{precision}: {backend}" for precision, backend in choice.backends.items()]
    lines.append(f"`auto` takes from now on, at the precision that it would take anyway: {', '.join(others)}")
    lines += [f"kept out: {key}: {reason}" for key, reason in choice.refused.items()]
    return lines


def cautions(report: Report) -> list[str]:
    """What a reader must know before believing a figure."""
    lines, noise, flows = [], report.noise, report.flows
    if not report.complete:
        lines.append("Warning: the bench was interrupted; what was measured until then is here.")
    if noise and noise.noisy:
        share = noise.others_cpu_share
        others = "" if share is None else f"; others took {100 * share:.0f} % of the processors"
        lines.append(
            f"Warning: the machine was noisy: {noise.noisy_rows} of {noise.rows} rows spread by more than 10 %"
            f"{others}. Trust intervals, ratios and flows/s per core, not single figures."
        )
    if flows.source == "generated":
        lines.append("Speeds are of generated flows; accuracies and drifts are those recorded at training.")
    elif not flows.labelled:
        lines.append("The flows have no labels that the bundle was not trained on: drift is agreement, or recorded.")
    if report.left_out:
        lines.append(f"--quick leaves out: {', '.join(report.left_out)}.")
    return lines


def change_table(changes: Sequence[Change]) -> Table:
    """Of `compare.changes`."""
    rows = []
    for change in changes:
        share = change.name.endswith(" accuracy")
        show, unit = (percent, "points") if share else (rate, "%")
        noise = "" if share else f" ({change.low:+.1f} to {change.high:+.1f})"
        verdict = "regressed" if change.regressed else "within the noise" if change.within_noise else ""
        rows.append([change.name, show(change.old), show(change.new), f"{change.change:+.1f} {unit}{noise}", verdict])
    return Table("", [("", name) for name in ("", "old", "new", "change, with noise", "verdict")], rows)
