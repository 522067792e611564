"""What the figures of a flows file mean, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from etcc_edge.checking.leakage import DIGITS
from etcc_edge.checking.result import Check, Conflicts, DateLeakage, Repeated
from etcc_edge.flows.features import dialect_named, header_key
from etcc_edge.reports.numbers import percent

# Shares above which a finding is a warning.
WARNING_SHARE = 0.05
DATE_GAIN = 0.1  # of accuracy, by the day alone
_NAMED = 4  # names that a finding lists

_percent = partial(percent, sign=" %", decimals=1)


@dataclass(frozen=True)
class Finding:
    part: str  # reading, values or leakage
    severity: str  # ok, note or warning
    topic: str
    text: str  # what was found, and what to do about it


Line = tuple[str, str, str]  # severity, topic, text


def findings(check: Check) -> list[Finding]:
    """What the figures of a file mean, a line each."""
    parts = {"reading": _about_reading, "values": _about_values, "leakage": _about_leakage}
    return [Finding(part, *line) for part, about in parts.items() for line in about(check)]


def verdict(check: Check) -> str:
    """Whether `infer` labels the file as it is, in one clause."""
    if check.failure:
        return f"cannot be labelled as it is: {check.failure}"
    if not check.rows.readable:
        return "nothing to label: " + ("no row can be read" if check.rows.rows else "no flows")
    return f"can be labelled, by bundle {next(name for name, bundle in check.bundles.items() if bundle.picked)}"


def _about_reading(check: Check) -> Iterator[Line]:
    dialect = dialect_named(check.dialect)
    if check.capture:
        cut = f"a capture, cut into flows by {check.capture['profile']} at {check.capture['timeout_s']:g} s"
        yield "ok", "meter", f"{cut}: {check.capture['packets']} packets"
        if lone := check.capture["flows_of_one_packet"]:
            yield "note", "meter", f"{lone} flows of one packet, which are no rows"
        if ip6 := check.capture["flows_of_ip6"]:
            yield "note", "meter", f"{ip6} flows of IPv6: of the shipped bundles only wire learnt such ones"
        if check.damage:
            yield "warning", "meter", f"{check.damage}; what follows is about the flows up to there"
    else:
        yield "ok", "dialect", f"{dialect.name}, as {dialect.meter} writes it"
    if check.rows.rows and not check.capture and not any("assumed" in text for text in check.notes):
        yield "ok", "times", f"in {check.time_unit}, by the values: packets = rate × duration"
    for text in check.notes:
        yield "note", "dialect" if text == dialect.note else "times", text
    if missing := check.features_missing:
        yield "note", "features", f"{len(check.columns)} of {len(dialect.columns)}; absent: {_some(missing)}"
    else:
        yield "ok", "features", f"all {len(check.columns)} of the dialect"
    if not any(bundle.fits for bundle in check.bundles.values()):
        yield "warning", "bundles", "no shipped one fits; train your own"
    elif not any(bundle.picked for bundle in check.bundles.values()):
        yield "warning", "bundles", "infer takes none by itself"
    for name, bundle in check.bundles.items():
        if bundle.fits:
            how = "infer takes it by itself" if bundle.picked else f"infer takes it with --bundle {name}"
            timeout = f"if the meter's flow timeout is {bundle.timeout_s:g} s"
            yield "ok", "bundles", f"{name} fits flows of view {bundle.view or '(not stated)'}, {timeout}; {how}"
            if bundle.outside_range:
                share = _percent(bundle.outside_range / check.rows.readable)
                what = f"{bundle.outside_range} flows ({share}) lie beyond the range that {name} was trained on"
                yield "warning", "range", f"{what}; its confidence for them is 50 % at most"


def _about_values(check: Check) -> Iterator[Line]:
    rows = check.rows
    if not rows.rows:
        yield "warning", "rows", "no flows"
        return
    if rows.readable == rows.rows:
        yield "ok", "rows", f"{rows.rows}, all readable"
    else:
        yield "note", "rows", f"{rows.rows}, {rows.readable} of them readable; what follows is about these"
    for n, what in (
        (rows.short, "had too few cells; infer leaves them unlabelled, train out"),
        (rows.long, "had too many cells; infer leaves them unlabelled, train out"),
        (
            rows.not_a_number,
            "hold text where a number belongs; infer leaves them unlabelled where it needs the column",
        ),
        (
            rows.stray_quote,
            "have a quote that does not close, or text after it; infer leaves them unlabelled, train out",
        ),
        (rows.contradictory, "hold numbers that contradict each other; infer leaves them unlabelled, train out"),
    ):
        if n:
            yield _severity(n / rows.rows), "rows", f"{n} {what}"
    for n, what in ((rows.blank_lines, "blank or comment lines"), (rows.repeated_headers, "repeated headers")):
        if n:
            yield "note", "rows", f"{n} {what} are skipped"
    if check.contradiction:
        yield "warning", "numbers", check.contradiction
    elif check.relations and not rows.contradictory:
        yield "ok", "numbers", f"agree with each other in every row: {'; '.join(check.relations)}"
    if rows.readable:
        yield from _about_cells(check)
        yield from _about_repeats(check.repeats.bytes, check.repeats.features)


def _about_cells(check: Check) -> Iterator[Line]:
    varying = {name: value for name, value in check.values.items() if not value.constant}
    missing = {name: value.missing for name, value in varying.items() if value.missing}
    infinite = {name: value.infinite for name, value in varying.items() if value.infinite}
    negative = {name: value.negative for name, value in varying.items() if value.negative}
    for topic, what, cells in (
        ("missing", "empty or NaN", missing),
        ("infinite", "infinite or beyond float32", infinite),
    ):
        if cells:
            severity = _severity(max(cells.values()) / check.rows.readable)
            yield severity, topic, f"{what}: {_listed(cells)}; infer takes the training median for them"
    if not (missing or infinite):
        yield "ok", "missing", "every feature that varies has a finite value in every flow"
    if negative:
        yield "note", "negative", f"{_listed(negative)}; taken as they are, -1 mostly stands for “none”"
    if constant := [name for name in check.values if name not in varying]:
        yield (
            "note",
            "constant",
            f"{len(constant)} features have one value or none; train drops them: {_some(constant)}",
        )


def _about_repeats(in_bytes: Repeated, in_features: Repeated) -> Iterator[Line]:
    if in_bytes.flows:
        yield "note", "repeats", f"{_of(in_bytes)} are there more than once, byte for byte; keep one of each to train"
    if in_features.flows:
        distinct = f"{in_features.distinct} are distinct"
        what = f"{_of(in_features)} equal another in every feature but the ports ({distinct})"
        yield _severity(in_features.share), "repeats", f"{what}; a random split tests on flows it trained on"
    else:
        yield "ok", "repeats", "no two flows have the same features"


_NO_FEATURE = "no command here takes them for features; drop them before other training"


def _about_leakage(check: Check) -> Iterator[Line]:
    leakage, labels, levels = check.leakage, check.labels, check.label_columns
    if leakage is None or labels is None:
        likely = [repr(name) for name in check.other_columns if re.search("label|class", header_key(name))]
        known = f"no usual label column{' but ' + ', '.join(likely) if likely else ''}, so no audit"
        yield "note", "labels", f"{known}; name them with --protocol-column and --application-column"
        return
    for level, column in levels.items():
        counts = sorted(labels.by_level[level].items(), key=lambda item: -item[1])
        yield "ok", "labels", f"{level} in column {column!r}: {', '.join(f'{k} {n}' for k, n in counts) or 'none'}"
    for absent in {"protocol", "application"}.difference(levels):
        yield "note", "labels", f"no {absent}; train and evaluate need both: name it with --{absent}-column"
    if "protocol" in levels and len(labels.by_level["protocol"]) < 2:
        yield "warning", "labels", "fewer than two protocols; train needs two at least"
    if n := labels.flows_without:
        yield "note", "labels", f"{n} flows lack a label and are left out here"
    if not labels.flows:
        return
    if names := leakage.identifiers:
        yield "note", "identifiers", f"{', '.join(names)} name the capture; {_NO_FEATURE}"
    times = leakage.absolute_times
    if used := [name for name, time in times.items() if time.feature]:
        yield "warning", "times", f"{', '.join(used)} hold absolute times; train without them: --features FILE"
    if unused := [name for name in times if name not in used]:
        yield "note", "times", f"{', '.join(unused)} hold absolute times; {_NO_FEATURE}"
    for level in levels:
        conflicts = leakage.conflicts[level]
        if conflicts.flows and conflicts.best_accuracy is not None:
            what = f"{_of(conflicts)} equal a flow of another {level} in every feature but the ports"
            best = f"by these features no more than {_percent(conflicts.best_accuracy)} can be labelled right"
            yield _severity(conflicts.share), "conflicts", f"{what}; {best}"
    if date := leakage.date:
        yield from _about_date(date, list(levels))
    if split := leakage.split:
        what = f"{split.kind}, seed {split.seed}: {_percent(split.twins_share)} of {split.test} test flows"
        twins = f"equal one of {split.train} training flows but for ports, {_percent(split.near_twins_share)}"
        yield (
            _severity(split.twins_share, "ok"),
            "split",
            f"{what} {twins} to {DIGITS} digits; the more, the less their accuracy says of new flows",
        )


def _about_date(date: DateLeakage, levels: Sequence[str]) -> Iterator[Line]:
    if date.days < 2:
        yield ("ok", "date", "all flows are of one day") if date.days else ("note", "date", "no timestamp has a date")
        return
    for level in levels:
        accuracy = date.accuracy[level]
        leaks = accuracy.day - accuracy.most_frequent > DATE_GAIN
        what = f"the day alone, one of {date.days}, tells {_percent(accuracy.day)} of the {level}s, the most frequent"
        then = "; test on captures of other days" if leaks else ""
        yield "warning" if leaks else "ok", "date", f"{what} {level} {_percent(accuracy.most_frequent)}{then}"


def _severity(share: float, otherwise: str = "note") -> str:
    return "warning" if share > WARNING_SHARE else otherwise


def _of(part: Repeated | Conflicts) -> str:
    return f"{part.flows} flows ({_percent(part.share)})"


def _listed(cells: Mapping[str, int]) -> str:
    return _some([f"{name} {n}" for name, n in sorted(cells.items(), key=lambda item: -item[1])])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more (--columns)" if more > 0 else "")
