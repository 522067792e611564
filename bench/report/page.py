"""A bench's report as one page, with every figure and plots."""

from __future__ import annotations

import re
from typing import Any

from etcc_edge.reports.numbers import NONE, percent
from etcc_edge.reports.pages import Page, Section
from etcc_edge.reports.plots import Axis, Frame, Points, line_plot, log_axis, share_plot
from etcc_edge.reports.tables import Table

from ..contenders.backends import REFERENCE_KEY
from ..figures import (
    NOT_AVAILABLE,
    DriftFigures,
    Measurement,
    NetworkDrift,
    ProcessFigures,
    Report,
    ServerFigures,
    StageFigures,
    TurnFigures,
)
from ..stages import STAGES
from .plain import plain
from .tables import (
    TIMES_REFERENCE,
    between,
    by_contender,
    cautions,
    change_in_words,
    micro,
    process_of,
    rate,
    rate_between,
    recommended,
    rows_of,
    size,
    speed_up_between,
    summary,
    threads_in_words,
    times,
    turns_of,
)

_SIZE = (420, 320)


def page(report: Report) -> Page:
    environment, bundle, flows = report.environment, report.bundle, report.flows
    mix = ", ".join(f"{name} {100 * share:.0f} %" for name, share in (flows.protocol_mix or {}).items())
    source = "generated flows" if flows.source == "generated" else f"flows of {flows.file}"
    introduction = [
        *cautions(report),
        *(line[:1].upper() + line[1:] + "." for line in recommended(report)),
        f"Bundle {bundle.name} ({bundle.hash[:12]}) on {source}; given protocols: {mix or 'not known'}. "
        f"Measured on {environment.cpus} processors of {_cpu_in_words(environment.cpu)}, with "
        f"{size(environment.memory_bytes)} of memory; {report.made}, commit {environment.commit or 'unknown'}: "
        f"{report.command}",
        "In parentheses: 95 % bootstrap intervals of medians over turns. Every contender of a batch size took turns "
        f"with the others; ratios to {REFERENCE_KEY} are taken turn by turn. A percentile needs enough calls "
        "above it, or there is none.",
    ]
    sections = [
        _summary_section(report),
        *_throughput_sections(report),
        _latency_section(report),
        _process_section(report),
        _stage_section(report),
        _drift_section(report),
        _roofline_section(report),
        _settings_section(report),
    ]
    return Page(f"etcc-edge bench: {bundle.name}", introduction, [section for section in sections if section.tables])


def _summary_section(report: Report) -> Section:
    text = (
        "Offline: all flows in one call. One flow: asked one after the other, from raw features to both labels. "
        "Server: the highest rate of Poisson arrivals of which 99 % are answered within the bound. Per core: a second "
        "of processor time. File to file: a whole process, start and end included, on all threads. Model: what the "
        "backend reads. Accuracy: both labels right."
    )
    absent = [[name, each.reason] for name, each in report.contenders.items() if each.status == NOT_AVAILABLE]
    tables = [summary(report)]
    if absent:
        tables.append(Table("Not available here", [("", ""), ("", "why")], absent))
    return Section("Summary", text, tables, *_pareto(report))


def _plotted(report: Report) -> list[str]:
    """Contenders with latencies, in one order for all colours."""
    measured = {
        row.key
        for row in report.measurements
        if isinstance(row.figures, TurnFigures | ServerFigures) and row.figures.p50_us is not None
    }
    return [name for name in report.contenders if name in measured]


def _pareto(report: Report) -> tuple[list[str], list[str]]:
    """Accuracy against the latency of one flow, with the front that nothing beats in both; and the key."""
    names = _plotted(report)
    single = by_contender(rows_of(report, "single stream"))
    points = {}
    for name in names:
        figures, drift = turns_of(single.get(name)), report.contenders[name].drift
        if figures and figures.p50_us is not None and drift and drift.accuracy:
            points[name] = (figures.p50_us, 100 * drift.accuracy)
    if not points:
        return [], []
    front: list[tuple[float, float]] = []
    for x, y in sorted(points.values(), key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    x_axis = log_axis("p50 of one flow, µs", [x for x, _ in points.values()])
    heights = [y for _, y in points.values()]
    low, high = int(min(heights)) - 1, int(max(heights)) + 2
    step = max(1, (high - low) // 6)
    y_axis = Axis("both labels right, %", low, high, [(y, str(y)) for y in range(low, high + 1, step)])
    front = [*front, (x_axis.high, front[-1][1])]
    dots: list[Points] = [[(*points[name], 5.0)] if name in points else [] for name in names]
    title = "Accuracy against latency, and the front"
    return [line_plot(Frame(title, x_axis, y_axis, _SIZE), dots, opacity=0, step=front)], names


# --- speeds ----------------------------------------------------------------------------------------------------


def _throughput_sections(report: Report) -> list[Section]:
    """One for each number of threads."""
    counts = sorted({row.threads for row in report.measurements if row.batch})
    return [_throughput_section(report, threads) for threads in counts]


def _throughput_section(report: Report, threads: int) -> Section:
    names, words = _plotted(report), threads_in_words(threads)
    cells = {(row.key, row.batch): row for row in rows_of(report, threads=threads) if row.batch}
    batches = sorted({batch for _, batch in cells if batch})
    rows = [
        [name, *(rate_between(turns_of(cells.get((name, batch)))) for batch in batches)]
        for name in report.contenders
        if any((name, batch) in cells for batch in batches)
    ]
    columns = [("", ""), *(("flows at once", rate(batch)) for batch in batches)]
    plots = []
    if len(batches) > 1 and names:
        figures = {
            name: {batch: turns for batch in batches if (turns := turns_of(cells.get((name, batch))))} for name in names
        }
        throughput: list[Points] = [
            [(batch, turns.flows_per_s, 2.5) for batch, turns in figures[name].items()] for name in names
        ]
        latency: list[Points] = [
            [(batch, 1e-3 * turns.p50_us, 2.5) for batch, turns in figures[name].items() if turns.p50_us is not None]
            for name in names
        ]
        plots = [
            _batch_plot(f"Throughput, {words}", throughput, batches, "flows/s"),
            _batch_plot(f"Latency, {words}", latency, batches, "p50 of a call, ms"),
        ]
    text = f"Flows a second on {words}, by the number of flows in a call."
    return Section(f"Throughput, {words}", text, [Table(f"Flows/s, {words}", columns, rows)], plots, names)


def _batch_plot(title: str, lines: list[Points], batches: list[int], y_name: str) -> str:
    y_axis = log_axis(y_name, [y for line in lines for _, y, _ in line])
    return line_plot(Frame(title, log_axis("flows at once", batches), y_axis, _SIZE), lines)


def _latency_section(report: Report) -> Section:
    rows = [_latency_row(row) for row in report.measurements if row.scenario != "process"]
    head = ["", "scenario", "threads", "flows at once", "calls", "p50", "p90", "p95", "p99", "max", "flows/s"]
    text = (
        "Microseconds of a call; as a server from a flow's arrival to its answer, at the highest rate that held "
        f"{report.settings.server_bound_ms:g} ms for 99 %, with all flows that wait taken at once. Scenarios are named "
        "as MLPerf names them."
    )
    columns = [("", name) for name in [*head, TIMES_REFERENCE, "error"]]
    return Section("Scenarios and latency", text, [Table("µs", columns, rows)] if rows else [])


def _latency_row(row: Measurement) -> list[str]:
    figures = row.figures
    assert not isinstance(figures, ProcessFigures)
    turns = turns_of(row)
    latencies: list[float | None] = [None] * 5
    if figures:
        latencies = [figures.p50_us, figures.p90_us, figures.p95_us, figures.p99_us, figures.max_us]
    return [
        row.key,
        row.scenario,
        str(row.threads),
        rate(row.batch),
        rate(figures.calls if figures else None),
        *map(micro, latencies),
        rate(figures.flows_per_s if figures else None),
        times(turns.speed_up if turns else None),
        row.error,
    ]


def _process_section(report: Report) -> Section:
    rows = []
    for row in rows_of(report, "process"):
        figures = process_of(row)
        rows.append(
            [
                row.key,
                times(figures.seconds if figures else None),
                times(figures.cpu_seconds if figures else None),
                rate_between(figures),
                speed_up_between(figures),
                rate(figures.flows_per_cpu_s if figures else None),
                size(figures.peak_bytes if figures else None),
                row.error,
            ]
        )
    head = ["", "s", "processor s", "flows/s", TIMES_REFERENCE, "flows/s per core", "peak memory", "error"]
    tables = [Table("Whole processes", [("", name) for name in head], rows)] if rows else []
    if report.start_up_seconds:
        cells = [
            [name, NONE if seconds is None else f"{1000 * seconds:.0f}"]
            for name, seconds in report.start_up_seconds.items()
        ]
        tables.append(Table("Starting up, ms", [("", ""), ("", "ms")], cells))
    text = (
        f"From start to exit, file to file, {rate(report.flows.in_a_process)} flows, all threads: etcc-edge "
        "infer with each backend, and the scripts that one might write instead. Starting up: Python alone, importing "
        "this package, and infer on one flow."
    )
    return Section("Whole processes", text, tables)


def _stage_section(report: Report) -> Section:
    stages = {
        name: contender.stages
        for name, contender in report.contenders.items()
        if isinstance(contender.stages, StageFigures)
    }
    if not stages:
        return Section("Stages", "", [])
    rows = [
        [
            name,
            *(micro(figures.us_a_flow[stage] or None) for stage in STAGES),
            between(figures.flows_per_s, figures.flows_per_s_interval, rate),
        ]
        for name, figures in stages.items()
    ]
    table = Table("µs a flow", [("", name) for name in ["", *STAGES, "flows/s"]], rows)
    shares = {name: [figures.share[stage] for stage in STAGES] for name, figures in stages.items()}
    text = (
        "Labelling a file in one thread. Native runs the cascade in one call, so its scaling is in its stages and its "
        "routing in stage 2."
    )
    return Section("Stages", text, [table], [share_plot("Share of each stage, %", shares)], STAGES)


# --- accuracy --------------------------------------------------------------------------------------------------


def _drift_section(report: Report) -> Section:
    drifts = {name: contender.drift for name, contender in report.contenders.items() if contender.drift}
    rows = [row for name, drift in drifts.items() for row in _drift_rows(name, drift)]
    moves = [
        [name, move.from_, move.to, rate(move.flows)] for name, drift in drifts.items() for move in drift.moves or []
    ]
    recalls = [
        [name, label, f"{points:+.2f}"]
        for name, drift in drifts.items()
        for changes in (drift.recall_change_points or {}).values()
        for label, points in changes.items()
        if points
    ]
    head = ["", "network", "flows", "agreement %", "accuracy %", "change, points", "largest logit change", "source"]
    tables = [Table("Drift from fp32", [("", text) for text in head], rows)] if rows else []
    if moves:
        tables.append(Table("Labels that moved", [("", text) for text in ("", "from", "to", "flows")], moves))
    if recalls:
        tables.append(Table("Recall, points", [("", text) for text in ("", "label", "change")], recalls))
    text = (
        f"From {REFERENCE_KEY}. End to end counts the flows whose two labels the bundle knows. A precision "
        f"passes within {report.settings.max_drift_points:g} points; an agreement passes within that of 100 %."
    )
    return Section("Accuracy and drift", text, tables)


def _drift_rows(name: str, drift: DriftFigures) -> list[list[str]]:
    """Of the cascade, and of each network."""
    rows = []
    parts: dict[str, DriftFigures | NetworkDrift] = {"end to end": drift, **(drift.networks or {})}
    for part, figures in parts.items():
        logit = None if isinstance(figures, DriftFigures) else figures.largest_logit_change
        rows.append(
            [
                name,
                part,
                rate(figures.flows),
                percent(figures.agreement),
                percent(figures.accuracy),
                change_in_words(figures),
                NONE if logit is None else f"{logit:.2g}",
                drift.source,
            ]
        )
    return rows


# --- the machine -----------------------------------------------------------------------------------------------


def _roofline_section(report: Report) -> Section:
    roofline = report.roofline
    if not roofline:
        return Section("Roofline", "", [])
    rows = [
        [
            name,
            rate(shares.multiply_adds_a_flow),
            size(shares.bytes_a_flow),
            percent(shares.multiply_add_share),
            percent(shares.memory_share),
        ]
        for name, shares in roofline.contenders.items()
    ]
    peak = roofline.peak
    text = (
        f"Peaks of {peak.threads} threads: {peak.multiply_adds_per_s / 1e9:.1f} G fp32 multiply-adds/s in "
        f"registers ({peak.instruction_set}, this package's own loop), {peak.bytes_per_s / 1e9:.1f} GB/s read "
        "and written by numpy's copy of a large array. Shares are of the processor time that an engine had; the rest "
        "of it goes to scaling, looking up, routing and waiting for memory. Convolutions count as they are written: "
        "in Winograd's form, which needs fewer multiply-adds, an engine may seem to pass the peak."
    )
    head = ["", "multiply-adds a flow", "memory a flow, at least", "of the multiply-add peak, %", "of memory's, %"]
    return Section("Roofline", text, [Table("Offline", [("", name) for name in head], rows)])


def _settings_section(report: Report) -> Section:
    chosen = [
        [
            name,
            contender.settings or "",
            "; ".join(f"{threads_in_words(int(t))}: {_words(dict(c))}" for t, c in contender.chosen.items() if c),
            f"{contender.flows_per_joule:.0f}" if contender.flows_per_joule else contender.energy or "",
        ]
        for name, contender in report.contenders.items()
        if contender.status != NOT_AVAILABLE
    ]
    environment = plain(report.environment)
    libraries = environment.pop("libraries")
    environment["cpu"] = _cpu_in_words(report.environment.cpu)
    environment["memory"] = size(environment.pop("memory_bytes"))
    facts = {**environment, **libraries, **plain(report.settings), **plain(report.flows)}
    tables = [
        Table("What was set", [("", text) for text in ("", "settings", "chosen by trial", "flows a joule")], chosen),
        Table("Environment", [("", ""), ("", "")], [[name, _words(value)] for name, value in facts.items()]),
    ]
    return Section("Settings and environment", "No contender is held back; each has its best settings.", tables)


def _cpu_in_words(name: str) -> str:
    """Of `cpu_name`, which ends in the processor's family, model and stepping where the system tells them."""
    return re.sub(r" (\d+) (\d+) (\d+)$", r" (family \1, model \2, stepping \3)", name)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
