"""What the figures of a flows file mean, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etcc_edge.checking.leakage import DIGITS
from etcc_edge.flows.features import dialect_named, header_key

# Shares above which a finding is a warning.
WARNING_SHARE = 0.05
DATE_GAIN = 0.1  # of accuracy, by the day alone
_NAMED = 4  # names that a finding lists


@dataclass(frozen=True)
class Finding:
    part: str  # reading, values or leakage
    severity: str  # ok, note or warning
    topic: str
    text: str  # what was found, and what to do about it


Line = tuple[str, str, str]  # severity, topic, text


def findings(figures: Mapping[str, Any]) -> list[Finding]:
    """What the figures of `check_file` mean, a line each."""
    parts = {"reading": _about_reading, "values": _about_values, "leakage": _about_leakage}
    return [Finding(part, *line) for part, about in parts.items() for line in about(figures)]


def _about_reading(figures: Mapping[str, Any]) -> Iterator[Line]:
    dialect = dialect_named(figures["dialect"])
    yield "ok", "dialect", f"{dialect.name}, as {dialect.meter} writes it"
    if figures["rows"]["rows"] and not any("assumed" in text for text in figures["notes"]):
        yield "ok", "times", f"in {figures['time_unit']}, by the values: packets = rate × duration"
    for text in figures["notes"]:
        yield "note", "dialect" if text == dialect.note else "times", text
    if missing := figures["features_missing"]:
        yield "note", "features", f"{len(figures['columns'])} of {len(dialect.columns)}; absent: {_some(missing)}"
    else:
        yield "ok", "features", f"all {len(figures['columns'])} of the dialect"
    bundles = figures["bundles"]
    if not any(bundle["fits"] for bundle in bundles.values()):
        yield "warning", "bundles", "no shipped one fits; train your own"
        yield from (("note", "bundles", f"{name} {bundle['why_not']}") for name, bundle in bundles.items())
    for name, bundle in bundles.items():
        if bundle["fits"]:
            how = "infer takes it by itself" if bundle["picked"] else f"infer takes it with --bundle {name}"
            yield "ok", "bundles", f"{name} fits, if the meter's flow timeout is {bundle['timeout_s']:g} s; {how}"


_BAD_ROWS = {
    "short": "had too few cells; infer leaves them unlabelled, train out",
    "long": "had too many cells; infer leaves them unlabelled, train out",
    "not_a_number": "hold text where a number belongs; infer leaves them unlabelled where it needs the column",
    "stray_quote": "have a quote that does not close, or text after it; infer leaves them unlabelled, train out",
}
_NO_VALUE = {"missing": "empty or NaN", "infinite": "infinite or beyond float32"}


def _about_values(figures: Mapping[str, Any]) -> Iterator[Line]:
    rows, values = figures["rows"], figures["values"]
    if not rows["rows"]:
        yield "warning", "rows", "a header but no flows"
        return
    if rows["readable"] == rows["rows"]:
        yield "ok", "rows", f"{rows['rows']}, all readable"
    else:
        yield "note", "rows", f"{rows['rows']}, {rows['readable']} of them readable; what follows is about these"
    for kind, what in _BAD_ROWS.items():
        if n := rows[kind]:
            yield _grave(n / rows["rows"]), "rows", f"{n} {what}"
    for kind, what in (("blank_lines", "blank or comment lines"), ("repeated_headers", "repeated headers")):
        if n := rows[kind]:
            yield "note", "rows", f"{n} {what} are skipped"
    if not rows["readable"]:
        return
    constant = [name for name, value in values.items() if value["constant"]]
    odd = {
        kind: {name: value[kind] for name, value in values.items() if value[kind] and not value["constant"]}
        for kind in (*_NO_VALUE, "negative")
    }
    for kind, what in _NO_VALUE.items():
        if cells := odd[kind]:
            severity = _grave(max(cells.values()) / rows["readable"])
            yield severity, kind, f"{what}: {_listed(cells)}; infer takes the training median for them"
    if not (odd["missing"] or odd["infinite"]):
        yield "ok", "missing", "every feature that varies has a finite value in every flow"
    if cells := odd["negative"]:
        yield "note", "negative", f"{_listed(cells)}; taken as they are, -1 mostly stands for “none”"
    if constant:
        yield (
            "note",
            "constant",
            f"{len(constant)} features have one value or none; train drops them: {_some(constant)}",
        )
    same_bytes, same_features = figures["repeats"]["bytes"], figures["repeats"]["features"]
    if same_bytes["flows"]:
        yield "note", "repeats", f"{_of(same_bytes)} are there more than once, byte for byte; keep one of each to train"
    if same_features["flows"]:
        distinct = f"{same_features['distinct']} are distinct"
        what = f"{_of(same_features)} equal another in every feature but the ports ({distinct})"
        yield _grave(same_features["share"]), "repeats", f"{what}; a random split tests on flows it trained on"
    else:
        yield "ok", "repeats", "no two flows have the same features"


_NO_FEATURE = "no command here takes them for features; drop them before other training"


def _about_leakage(figures: Mapping[str, Any]) -> Iterator[Line]:
    leakage, labels, levels = figures["leakage"], figures["labels"], figures["label_columns"]
    if leakage is None:
        likely = [repr(name) for name in figures["other_columns"] if re.search("label|class", header_key(name))]
        known = f"no usual label column{' but ' + ', '.join(likely) if likely else ''}, so no audit"
        yield "note", "labels", f"{known}; name them with --protocol-column and --application-column"
        return
    for level, column in levels.items():
        counts = sorted(labels[level].items(), key=lambda item: -item[1])
        yield "ok", "labels", f"{level} in column {column!r}: {', '.join(f'{k} {n}' for k, n in counts) or 'none'}"
    for absent in {"protocol", "application"}.difference(levels):
        yield "note", "labels", f"no {absent}; train and evaluate need both: name it with --{absent}-column"
    if "protocol" in labels and len(labels["protocol"]) < 2:
        yield "warning", "labels", "fewer than two protocols; train needs two at least"
    if n := labels["flows_without"]:
        yield "note", "labels", f"{n} flows lack a label and are left out here"
    if not labels["flows"]:
        return
    if names := leakage["identifiers"]:
        yield "note", "identifiers", f"{', '.join(names)} name the capture; {_NO_FEATURE}"
    times = leakage["absolute_times"]
    if used := [name for name, time in times.items() if time["feature"]]:
        yield "warning", "times", f"{', '.join(used)} hold absolute times; train without them: --features FILE"
    if unused := [name for name in times if name not in used]:
        yield "note", "times", f"{', '.join(unused)} hold absolute times; {_NO_FEATURE}"
    for level in levels:
        if (conflict := leakage["conflicts"][level])["flows"]:
            what = f"{_of(conflict)} equal a flow of another {level} in every feature but the ports"
            best = f"by these features no more than {_percent(conflict['best_accuracy'])} can be labelled right"
            yield _grave(conflict["share"]), "conflicts", f"{what}; {best}"
    if date := leakage["date"]:
        yield from _about_date(date, list(levels))
    if split := leakage["split"]:
        what = f"{split['kind']}, seed {split['seed']}: {_percent(split['twins_share'])} of {split['test']} test flows"
        twins = f"equal one of {split['train']} training flows but for ports, {_percent(split['near_twins_share'])}"
        yield (
            _grave(split["twins_share"], "ok"),
            "split",
            f"{what} {twins} to {DIGITS} digits; the more, the less their accuracy says of new flows",
        )


def _about_date(date: Mapping[str, Any], levels: Sequence[str]) -> Iterator[Line]:
    if date["days"] < 2:
        yield (
            ("ok", "date", "all flows are of one day") if date["days"] else ("note", "date", "no timestamp has a date")
        )
        return
    for level in levels:
        day, usual = date["accuracy"][level]["day"], date["accuracy"][level]["most_frequent"]
        told = day - usual > DATE_GAIN
        what = f"the day alone, one of {date['days']}, tells {_percent(day)} of the {level}s, the most frequent"
        then = "; test on captures of other days" if told else ""
        yield "warning" if told else "ok", "date", f"{what} {level} {_percent(usual)}{then}"


def _grave(share: float, otherwise: str = "note") -> str:
    return "warning" if share > WARNING_SHARE else otherwise


def _of(counted: Mapping[str, Any]) -> str:
    return f"{counted['flows']} flows ({_percent(counted['share'])})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listed(cells: Mapping[str, int]) -> str:
    return _some([f"{name} {n}" for name, n in sorted(cells.items(), key=lambda item: -item[1])])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more (--columns)" if more > 0 else "")
