"""A bench's report as tables and plots for people; docs of its keys are in bench/README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from etcc_edge.reports.numbers import NONE, percent
from etcc_edge.reports.pages import Page, Section
from etcc_edge.reports.plots import Axis, Frame, Points, line_plot, log_axis, share_plot
from etcc_edge.reports.tables import Table

from ..contenders.backends import REFERENCE
from ..stages import STAGES
from .compare import Change

Report = dict[str, Any]
Row = dict[str, Any]

_SIZE = (420, 320)


def rate(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def micro(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def size(value: float | None) -> str:
    return NONE if value is None else f"{value / 1e6:.1f}"


def _between(row: Row, key: str, show: Callable[[float], str]) -> str:
    """A figure with its interval."""
    if row.get(key) is None:
        return NONE
    limits = row.get(f"{key}_interval")
    return show(row[key]) + (f" ({show(limits[0])}–{show(limits[1])})" if limits else "")


def rows_of(report: Report, *scenarios: str, threads: int | None = None) -> list[Row]:
    return [
        row
        for row in report["measurements"]
        if (not scenarios or row["scenario"] in scenarios) and threads in (None, row["threads"])
    ]


def _key(row: Row) -> str:
    return f"{row['contender']} {row['precision']}"


def most_threads(report: Report) -> int:
    return max((row["threads"] for row in report["measurements"]), default=1)


def _by_contender(rows: Iterable[Row]) -> dict[str, Row]:
    return {_key(row): row for row in rows}


def change(drift: Row) -> str:
    """Points of accuracy from fp32, or the agreement where labels are missing."""
    if drift.get("agreement") is None:
        return NONE
    if drift.get("change_points") is not None:
        return f"{drift['change_points']:+.2f}"
    return f"{100 * drift['agreement']:.2f} % agree"


def summary(report: Report, short: bool = False) -> Table:
    """One row a contender: what it does and what it costs. ``short`` for a terminal."""
    threads = most_threads(report)
    offline = _by_contender(rows_of(report, "offline", threads=threads))
    single = _by_contender(rows_of(report, "single stream"))
    server = _by_contender(rows_of(report, "server"))
    process = _by_contender(rows_of(report, "process"))
    rows = []
    for name in dict.fromkeys([*report["contenders"], *process]):
        entry = report["contenders"].get(name, {})
        whole, at, one = process.get(name, {}), offline.get(name, {}), single.get(name, {})
        if entry.get("status") == "not available" or (not entry and "error" in whole):
            continue
        drift = entry.get("drift") or {}
        refused = f"kept out: {drift['verdict']}" if drift.get("verdict") else ""
        cells = {
            ("", ""): name,
            ("offline", "flows/s"): rate(at.get("flows_per_s")) if short else _between(at, "flows_per_s", rate),
            ("offline", f"times {' '.join(REFERENCE)}"): _between(at, "speed_up", times),
            ("offline", "flows/s per core"): rate(at.get("flows_per_cpu_s")),
            ("one flow", "p50 µs"): micro(one.get("p50_us")),
            ("one flow", "p99 µs"): micro(one.get("p99_us")),
            ("server", "flows/s"): rate(server.get(name, {}).get("flows_per_s")),
            ("file to file", "flows/s"): rate(whole.get("flows_per_s")),
            ("file to file", "peak MB"): size(whole.get("peak_bytes")),
            ("", "model MB"): size(entry.get("model_bytes")),
            ("", "accuracy %"): percent(drift.get("accuracy")),
            ("", "drift, points"): change(drift),
            ("", "note"): entry.get("reason") or at.get("error") or refused or "",
        }
        rows.append({_ON_TERMINAL[key]: cells[key] for key in _ON_TERMINAL} if short else cells)
    columns = [key for key in rows[0] if key[1] != "note" or any(cells[key] for cells in rows)] if rows else []
    title = f"Each contender, offline and as a server on {_threads(threads)}, one flow on one"
    return Table(title, columns, [[cells[key] for key in columns] for cells in rows])


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


def missing(report: Report) -> Table:
    """What this machine cannot run, and why."""
    rows = [
        [name, entry["reason"]] for name, entry in report["contenders"].items() if entry["status"] == "not available"
    ]
    return Table("Not available here", [("", ""), ("", "why")], rows)


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def recommended(report: Report) -> list[str]:
    """The choice and why, a sentence a line."""
    made = report.get("recommendation")
    if made is None:
        return ["no recommendation: the bench was not finished"]
    if "error" in made:
        return [f"no recommendation: {made['error']}"]
    name = f"{made['backend']} {made['precision']}"
    row = _by_contender(rows_of(report, "offline", threads=most_threads(report)))[name]
    drift = report["contenders"][name]["drift"]
    why = f"{rate(row['flows_per_s'])} flows/s on {_threads(row['threads'])}, the fastest backend"
    if "speed_up" in row:
        why += f", {_between(row, 'speed_up', times)} times {' '.join(REFERENCE)}"
    if made["precision"] == "fp32":
        why += "; fp32, so without drift"
    elif drift:
        why += f"; its drift passes (points: {change(drift)}, {drift['source']})"
    lines = [f"recommended: --backend {made['backend']} --precision {made['precision']}: {why}"]
    others = [f"{precision}: {backend}" for precision, backend in made["backends"].items()]
    lines.append(f"`auto` takes from now on, at the precision that it would take anyway: {', '.join(others)}")
    lines += [f"kept out: {key}: {reason}" for key, reason in made["refused"].items()]
    return lines


def cautions(report: Report) -> list[str]:
    """What a reader must know before believing a figure."""
    lines = []
    if not report["complete"]:
        lines.append("Warning: the bench was interrupted; what was measured until then is here.")
    noise = report.get("noise", {})
    if noise.get("noisy"):
        share = noise["others_cpu_share"]
        others = "" if share is None else f"; others took {100 * share:.0f} % of the processors"
        lines.append(
            f"Warning: the machine was noisy: {noise['noisy_rows']} of {noise['rows']} rows spread by more than 10 %"
            f"{others}. Trust intervals, ratios and flows/s per core, not single figures."
        )
    flows = report["flows"]
    if flows.get("source") == "generated":
        lines.append("Speeds are of generated flows; accuracies and drifts are those recorded at training.")
    elif not flows.get("labelled"):
        lines.append("The flows have no labels that the bundle was not trained on: drift is agreement, or recorded.")
    if report["left_out"]:
        lines.append(f"--quick leaves out: {', '.join(report['left_out'])}.")
    return lines


def change_table(changes: Sequence[Change]) -> Table:
    """Of `compare.compare`."""
    rows = []
    for change in changes:
        share = change.what.endswith(" accuracy")
        show, unit = (percent, "points") if share else (rate, "%")
        noise = "" if share else f" ({change.low:+.1f} to {change.high:+.1f})"
        verdict = "regressed" if change.regressed else "within the noise" if change.within_noise else ""
        rows.append([change.what, show(change.old), show(change.new), f"{change.change:+.1f} {unit}{noise}", verdict])
    return Table("", [("", name) for name in ("", "old", "new", "change, with noise", "verdict")], rows)


# --- the page ------------------------------------------------------------------------------------------------


def page(report: Report) -> Page:
    environment, flows = report["environment"], report["flows"]
    mix = ", ".join(f"{name} {100 * share:.0f} %" for name, share in flows.get("protocol_mix", {}).items())
    source = "generated flows" if flows.get("source") == "generated" else f"flows of {flows.get('file')}"
    introduction = [
        *cautions(report),
        *(line[:1].upper() + line[1:] + "." for line in recommended(report)),
        f"Bundle {report['bundle']['name']} ({report['bundle']['hash'][:12]}) on {source}; given protocols: "
        f"{mix or 'not known'}. {environment['cpu']}, {environment['cpus']} processors; {report['made']}, commit "
        f"{environment['commit'] or 'unknown'}: {report['command']}",
        "In parentheses: 95 % bootstrap intervals of medians over turns. Every contender of a batch size took turns "
        f"with the others; ratios to {' '.join(REFERENCE)} are taken turn by turn. A percentile needs enough calls "
        "above it, or there is none.",
    ]
    tables = [summary(report), *([absent] if (absent := missing(report)).rows else [])]
    sections = [Section("Summary", _SUMMARY, tables, *_pareto(report)), *_speed_sections(report)]
    sections += [_stage_section(report), _drift_section(report), _roofline_section(report), _settings_section(report)]
    return Page(f"etcc-edge bench: {report['bundle']['name']}", introduction, [s for s in sections if s.tables])


_SUMMARY = (
    "Offline: all flows in one call. One flow: asked one after the other, from raw features to both labels. Server: "
    "the highest rate of Poisson arrivals of which 99 % are answered within the bound. Per core: a second of processor "
    "time. File to file: a whole process, start and end included, on all threads. Model: what the backend reads. "
    "Accuracy: both labels right."
)


def _names(report: Report) -> list[str]:
    """Contenders with a row, in one order for all colours."""
    measured = {_key(row) for row in report["measurements"] if row.get("p50_us") is not None}
    return [name for name in report["contenders"] if name in measured]


def _pareto(report: Report) -> tuple[list[str], list[str]]:
    """Accuracy against the latency of one flow, with the front that nothing beats in both."""
    names = _names(report)
    single = _by_contender(rows_of(report, "single stream"))
    points = {
        name: (single[name]["p50_us"], 100 * drift["accuracy"])
        for name in names
        if name in single and (drift := report["contenders"][name]["drift"]) and drift.get("accuracy")
    }
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
    frame = Frame("Accuracy against latency, and the front", x_axis, y_axis, _SIZE)
    return [line_plot(frame, dots, opacity=0, step=front)], names


def _speed_sections(report: Report) -> list[Section]:
    names = _names(report)
    sections = []
    for threads in sorted({row["threads"] for row in report["measurements"] if row["batch"]}):
        rows = [row for row in rows_of(report, threads=threads) if row["batch"]]
        batches = sorted({row["batch"] for row in rows})
        found = {(_key(row), row["batch"]): row for row in rows}
        cells = [
            [name, *(_between(found.get((name, batch), {}), "flows_per_s", rate) for batch in batches)]
            for name in report["contenders"]
            if any((name, batch) in found for batch in batches)
        ]
        columns = [("", ""), *(("flows at once", rate(batch)) for batch in batches)]
        plots = []
        if len(batches) > 1 and names:
            for key, y_name, scale in (("flows_per_s", "flows/s", 1.0), ("p50_us", "p50 of a call, ms", 1e-3)):
                lines: list[Points] = [
                    [
                        (batch, scale * row[key], 2.5)
                        for batch in batches
                        if (row := found.get((name, batch))) and row.get(key) is not None
                    ]
                    for name in names
                ]
                values = [y for line in lines for _, y, _ in line]
                x_axis = log_axis("flows at once", batches)
                title = f"{'Throughput' if key == 'flows_per_s' else 'Latency'}, {_threads(threads)}"
                plots.append(line_plot(Frame(title, x_axis, log_axis(y_name, values), _SIZE), lines))
        text = f"Flows a second on {_threads(threads)}, by the number of flows in a call."
        table = Table(f"Flows/s, {_threads(threads)}", columns, cells)
        sections.append(Section(f"Throughput, {_threads(threads)}", text, [table], plots, names))
    return [*sections, _latency_section(report), _process_section(report)]


def _latency_section(report: Report) -> Section:
    rows = [
        [
            _key(row),
            row["scenario"],
            str(row["threads"]),
            rate(row["batch"]),
            rate(row.get("calls")),
            *(micro(row.get(f"{name}_us")) for name in ("p50", "p90", "p95", "p99", "max")),
            rate(row.get("flows_per_s")),
            times(row.get("speed_up")),
            row.get("error", ""),
        ]
        for row in report["measurements"]
        if row["scenario"] != "process"
    ]
    head = ["", "scenario", "threads", "flows at once", "calls", "p50", "p90", "p95", "p99", "max", "flows/s"]
    columns = [("", name) for name in [*head, f"times {' '.join(REFERENCE)}", "error"]]
    bound = report["settings"]["server_bound_ms"]
    text = (
        "Microseconds of a call; as a server from a flow's arrival to its answer, at the highest rate that held "
        f"{bound:g} ms for 99 %, with all flows that wait taken at once. Scenarios are named as MLPerf names them."
    )
    return Section("Scenarios and latency", text, [Table("µs", columns, rows)] if rows else [])


def _process_section(report: Report) -> Section:
    rows = [
        [
            _key(row),
            times(row.get("seconds")),
            times(row.get("cpu_seconds")),
            _between(row, "flows_per_s", rate),
            _between(row, "speed_up", times),
            rate(row.get("flows_per_cpu_s")),
            size(row.get("peak_bytes")),
            row.get("error", ""),
        ]
        for row in rows_of(report, "process")
    ]
    head = ["", "s", "processor s", "flows/s", f"times {' '.join(REFERENCE)}", "flows/s per core", "peak MB", "error"]
    tables = [Table("Whole processes", [("", name) for name in head], rows)] if rows else []
    if seconds := report.get("start_up_seconds"):
        cells = [[name, NONE if value is None else f"{1000 * value:.0f}"] for name, value in seconds.items()]
        tables.append(Table("Starting up, ms", [("", ""), ("", "ms")], cells))
    text = (
        f"From start to exit, file to file, {rate(report['flows'].get('in_a_process'))} flows, all threads: etcc-edge "
        "infer with each backend, and the scripts that one might write instead. Starting up: Python alone, importing "
        "this package, and infer on one flow."
    )
    return Section("Whole processes", text, tables)


def _stage_section(report: Report) -> Section:
    made = {
        name: entry["stages"]
        for name, entry in report["contenders"].items()
        if "stages" in entry and "error" not in entry["stages"]
    }
    if not made:
        return Section("Stages", "", [])
    rows = [
        [name, *(micro(stages["us_a_flow"][stage] or None) for stage in STAGES), _between(stages, "flows_per_s", rate)]
        for name, stages in made.items()
    ]
    table = Table("µs a flow", [("", name) for name in ["", *STAGES, "flows/s"]], rows)
    plot = share_plot("Share of each stage, %", {n: [s["share"][stage] for stage in STAGES] for n, s in made.items()})
    text = (
        "Labelling a file in one thread. Native runs the cascade in one call, so its scaling is in its stages and its "
        "routing in stage 2."
    )
    return Section("Stages", text, [table], [plot], STAGES)


def _drift_section(report: Report) -> Section:
    drifts = {name: entry["drift"] for name, entry in report["contenders"].items() if entry["drift"]}
    rows, moves, recalls = [], [], []
    for name, drift in drifts.items():
        whole = [name, "end to end", rate(drift.get("flows")), percent(drift.get("agreement"))]
        rows.append([*whole, percent(drift.get("accuracy")), change(drift), NONE, drift["source"]])
        for network, figures in drift.get("networks", {}).items():
            logit = figures.get("largest_logit_change")
            rows.append(
                [
                    name,
                    network,
                    rate(figures.get("flows")),
                    percent(figures.get("agreement")),
                    percent(figures.get("accuracy")),
                    change(figures),
                    NONE if logit is None else f"{logit:.2g}",
                    drift["source"],
                ]
            )
        moves += [[name, move["from"], move["to"], rate(move["flows"])] for move in drift.get("moves", [])]
        recalls += [
            [name, label, f"{points:+.2f}"]
            for level in drift.get("recall_change_points", {}).values()
            for label, points in level.items()
            if points
        ]
    head = ["", "network", "flows", "agreement %", "accuracy %", "change, points", "largest logit change", "source"]
    tables = [Table("Drift from fp32", [("", text) for text in head], rows)] if rows else []
    if moves:
        tables.append(Table("Labels that moved", [("", text) for text in ("", "from", "to", "flows")], moves))
    if recalls:
        tables.append(Table("Recall, points", [("", text) for text in ("", "label", "change")], recalls))
    text = (
        f"From {' '.join(REFERENCE)}. End to end counts the flows whose two labels the bundle knows. A precision "
        f"passes within {report['settings']['max_drift_points']:g} points; an agreement passes within that of 100 %."
    )
    return Section("Accuracy and drift", text, tables)


def _roofline_section(report: Report) -> Section:
    made = report.get("roofline")
    if not made:
        return Section("Roofline", "", [])
    rows = [
        [
            name,
            rate(figures["multiply_adds_a_flow"]),
            rate(figures["bytes_a_flow"]),
            percent(figures["multiply_add_share"]),
            percent(figures["memory_share"]),
        ]
        for name, figures in made["contenders"].items()
    ]
    peak = made["peak"]
    text = (
        f"Peaks of {peak['threads']} threads: {peak['multiply_adds_per_s'] / 1e9:.1f} G fp32 multiply-adds/s in "
        f"registers ({peak['instruction_set']}, this package's own loop), {peak['bytes_per_s'] / 1e9:.1f} GB/s read "
        "and written by numpy's copy of a large array. Shares are of the processor time that an engine had; the rest "
        "of it goes to scaling, looking up, routing and waiting for memory. Convolutions count as they are written: "
        "in Winograd's form, which needs fewer multiply-adds, an engine may seem to pass the peak."
    )
    head = ["", "multiply-adds a flow", "bytes a flow, at least", "of the multiply-add peak, %", "of memory's, %"]
    return Section("Roofline", text, [Table("Offline", [("", name) for name in head], rows)])


def _settings_section(report: Report) -> Section:
    chosen = [
        [
            name,
            entry["settings"] or "",
            "; ".join(f"{_threads(int(t))}: {_words(c)}" for t, c in entry["chosen"].items() if c),
            f"{entry['flows_per_joule']:.0f}" if entry.get("flows_per_joule") else entry.get("energy", ""),
        ]
        for name, entry in report["contenders"].items()
        if entry["status"] != "not available"
    ]
    environment = report["environment"]
    facts = {**environment, **environment["libraries"], **report["settings"], **report["flows"]}
    rows = [[name, _words(value)] for name, value in facts.items() if name != "libraries"]
    tables = [
        Table("What was set", [("", text) for text in ("", "settings", "chosen by trial", "flows a joule")], chosen),
        Table("Environment", [("", ""), ("", "")], rows),
    ]
    return Section("Settings and environment", "No contender is held back; each has its best settings.", tables)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Every key that some row has, in the order of first sight."""
    return list(dict.fromkeys(key for row in rows for key in row))
