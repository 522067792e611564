"""Whether a flows file can be labelled or trained on: how it is read, what its values are, what gives labels away."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from etcc_edge.bundle import load_bundle, shipped_bundles
from etcc_edge.bundle.hashing import feature_hashes, row_hashes
from etcc_edge.errors import FlowsError
from etcc_edge.flows.features import FLOW_ID_KEYS, dialect_named, header_key
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.reader import OK, FlowBatch, FlowFile
from etcc_edge.labelled import LabelledFlows
from etcc_edge.labelling import pick_bundle, why_bundle_does_not_fit
from etcc_edge.labels import label_key, spell

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

# Shares above which a finding is a warning.
WARNING_SHARE = 0.05
DATE_GAIN = 0.1  # of accuracy, by the day alone

_IDENTIFIERS = frozenset(
    ["timestamp", *FLOW_ID_KEYS]
    + [side + ip for side in ("src", "source", "dst", "destination") for ip in (" ip", "_ip")]
)
_ABSOLUTE_US = (1e15, 5e15)  # times since 1970 in the years 2001 to 2128; no flow lasts 30 years
_DIGITS = 3  # to which near twins are equal
_CHUNK = 1 << 14  # rows that are hashed at once
_NAMED = 4  # names that a finding lists


@dataclass(frozen=True)
class Finding:
    part: str  # reading, values or leakage
    severity: str  # ok, note or warning
    topic: str
    text: str  # what was found, and what to do about it


def check_file(
    path: str | os.PathLike[str],
    *,
    protocol_column: str | None = None,
    application_column: str | None = None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> dict[str, Any]:
    """The figures of a flows file, read once; memory grows by 16 bytes a row, 28 for a labelled one.

    Counts are of flows, or of cells within the flows that can be read; accuracies and shares are fractions;
    ``values`` are in canonical units. What does not apply is None. ``leakage`` is None without labels.
    Raises FlowsError for a file that cannot be read, or lacks a label column that was named.
    """
    with FlowFile(path) as file:
        labels = _label_columns(file, protocol_column, application_column)
        date = next((i for i, name in enumerate(file.columns) if header_key(name) == "timestamp"), None)
        tally = _Tally(file, labels, date if labels else None)
        for batch in file.batches(tally.names, tally.texts):
            tally.add(batch)
            progress(file.position(), file.size)
        reading = file.reading
        truth = _Truth.of(tally) if labels else None
        return {
            "file": file.name,
            "dialect": reading.dialect.name,
            "meter": reading.dialect.meter,
            "time_unit": reading.time_unit,
            "notes": list(reading.notes),
            "columns": {name: file.columns[index].strip() for name, index in reading.columns.items()},
            "other_columns": [name for i, name in enumerate(file.columns) if i not in reading.columns.values()],
            "features_missing": [name for name in reading.dialect.columns if name not in reading.columns],
            "bundles": _bundles(file),
            "rows": {**vars(file.counts), "readable": file.counts.rows - file.counts.unlabelled},
            "values": tally.values(),
            "repeats": {"bytes": _repeats(tally.rows), "features": _repeats(tally.features)},
            "label_columns": {level: file.columns[index] for level, index in labels.items()},
            "labels": truth and truth.counts(),
            "leakage": truth
            and {
                "identifiers": [name for name in file.columns if header_key(name) in _IDENTIFIERS],
                "absolute_times": tally.absolute_times(),
                "conflicts": {level: _conflicts(truth.features, codes) for level, codes in truth.levels.items()},
                "date": truth.by_day() if date is not None else None,
                "split": None,
            },
        }


def twins_across(flows: LabelledFlows, kind: str, seed: int, train: I64, test: I64) -> dict[str, Any]:
    """How many test rows [t] have a twin among the training rows: equal numeric features ports aside, or
    (near) equal after rounding each feature to 3 significant digits."""
    kept = [i for i, name in enumerate(flows.feature_names) if _compared(name)]
    exact, near = [], []
    for start in range(0, len(flows), _CHUNK):
        part = flows.features[start : start + _CHUNK, kept]
        exact.append(feature_hashes(part))
        near.append(feature_hashes(rounded(part)))
    figures: dict[str, Any] = {"kind": kind, "seed": seed, "train": len(train), "test": len(test)}
    for name, hashes in (("twins", np.concatenate(exact)), ("near_twins", np.concatenate(near))):
        figures[name] = int(np.isin(hashes[test], hashes[train]).sum())
        figures[f"{name}_share"] = figures[name] / len(test)
    return figures


def rounded(values: F32) -> F32:
    """Each value to 3 significant digits; NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = values.astype(np.float64)
        step = 10.0 ** (np.floor(np.log10(np.abs(exact))) - (_DIGITS - 1))
        return np.where(exact == 0, 0, np.round(exact / step) * step).astype(np.float32)


def _compared(feature: str) -> bool:
    return feature_table()[feature].family != "port"


def _label_columns(file: FlowFile, protocol: str | None, application: str | None) -> dict[str, int]:
    """Level to column: the named ones, and the dialect's usual ones where the file has them."""
    dialect = file.reading.dialect
    columns: dict[str, int] = {}
    levels = {"protocol": (protocol, dialect.protocol_label), "application": (application, dialect.application_label)}
    for level, (given, usual) in levels.items():
        if given or (usual and header_key(usual) in map(header_key, file.columns)):
            columns[level] = file.column_index(given or usual)
    if len(set(columns.values())) < len(columns):
        raise FlowsError(f"{file.name}: both labels are said to be in one column; name one, or two different ones")
    return columns


def _bundles(file: FlowFile) -> dict[str, dict[str, Any]]:
    """Which shipped bundles fit a file, which of them `infer` takes, and why not the others."""
    try:
        picked = pick_bundle(file, "auto")[0].name
    except FlowsError:
        picked = ""
    report = {}
    for name, path in shipped_bundles().items():
        bundle = load_bundle(path)
        why_not = why_bundle_does_not_fit(bundle, file)
        report[name] = {
            "fits": not why_not,
            "picked": name == picked,
            "timeout_s": bundle.flow_definition.timeout_s,
            "why_not": why_not,
        }
    return report


class _Codes:
    """Texts to small integers, in order of appearance."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def of(self, texts: Iterable[str]) -> I32:
        index = self.index
        return np.fromiter((index.setdefault(text, len(index)) for text in texts), np.int32)


class _Tally:
    """What one pass over a file adds up, of the rows that can be read."""

    def __init__(self, file: FlowFile, labels: Mapping[str, int], date: int | None) -> None:
        columns = file.reading.columns
        self.names = list(columns)
        self._feature_text = [columns[name] for name in self.names]
        # Absolute times are looked for in every column that is a time, and in those called idle.
        self._idle = {
            file.columns[i]: i
            for i, cell in enumerate(file.columns)
            if "idle" in header_key(cell) and i not in columns.values()
        }
        self._labels = dict(labels)
        self._date = date
        more = [*self._idle.values(), *labels.values(), *([] if date is None else [date])]
        self.texts = list(dict.fromkeys([*self._feature_text, *more]))
        self._compared = np.array([_compared(name) for name in self.names])
        self._is_time = np.array([feature_table()[name].unit == "us" for name in self.names])
        f = len(self.names)
        self.flows = 0
        self._missing, self._infinite, self._negative = (np.zeros(f, np.int64) for _ in range(3))
        self._absolute = np.zeros(f, np.int64)
        self._absolute_idle = dict.fromkeys(self._idle, 0)
        self._low, self._high = np.full(f, np.inf, np.float32), np.full(f, -np.inf, np.float32)
        self._rows: list[U64] = []
        self._features: list[U64] = []
        self.label_text = {level: _Codes() for level in labels}
        self.day_text = _Codes()
        self._label_codes: dict[str, list[I32]] = {level: [] for level in labels}
        self._days: list[I32] = []

    def add(self, batch: FlowBatch) -> None:
        readable = batch.status == OK
        values = batch.features[readable]
        nan = np.isnan(values)
        self.flows += len(values)
        for i in np.flatnonzero(nan.any(axis=0)).tolist():
            cells = np.array(self._text(batch, self._feature_text[i]), object)[readable][nan[:, i]]
            self._infinite[i] += (infinite := sum(map(_is_infinite, cells)))
            self._missing[i] += len(cells) - infinite
        self._negative += (values < 0).sum(axis=0)
        self._absolute += _are_absolute(values).sum(axis=0)
        for name, column in self._idle.items():
            self._absolute_idle[name] += int(_are_absolute(_numbers(self._text(batch, column)))[readable].sum())
        self._low = np.fmin(self._low, np.fmin.reduce(values, axis=0, initial=np.inf))
        self._high = np.fmax(self._high, np.fmax.reduce(values, axis=0, initial=-np.inf))
        self._rows.append(row_hashes(batch.row_bytes())[readable])
        self._features.append(feature_hashes(values[:, self._compared]))
        for level, column in self._labels.items():
            text = compress(self._text(batch, column), readable)
            self._label_codes[level].append(self.label_text[level].of(text))
        if self._date is not None:
            text = compress(self._text(batch, self._date), readable)
            self._days.append(self.day_text.of(_day(cell[:10]) for cell in text))

    def _text(self, batch: FlowBatch, column: int) -> list[str]:
        return batch.text(self.texts.index(column))

    @property
    def rows(self) -> U64:
        return np.concatenate([np.empty(0, np.uint64), *self._rows])

    @property
    def features(self) -> U64:
        return np.concatenate([np.empty(0, np.uint64), *self._features])

    def label_codes(self, level: str) -> I32:
        return np.concatenate([np.empty(0, np.int32), *self._label_codes[level]])

    def days(self) -> I32:
        return np.concatenate([np.empty(0, np.int32), *self._days])

    def values(self) -> dict[str, dict[str, Any]]:
        report = {}
        for i, name in enumerate(self.names):
            low, high = (float(f"{bound:.7g}") for bound in (self._low[i], self._high[i]))
            report[name] = {
                "unit": feature_table()[name].unit,
                "missing": int(self._missing[i]),
                "infinite": int(self._infinite[i]),
                "negative": int(self._negative[i]),
                "constant": bool(self.flows > 0 and self._low[i] >= self._high[i]),
                "min": low if low <= high else None,
                "max": high if low <= high else None,
            }
        return report

    def absolute_times(self) -> dict[str, dict[str, Any]]:
        """Columns that hold absolute times: how many, and which feature they would be."""
        found = {
            name: {"flows": int(self._absolute[i]), "feature": name}
            for i, name in enumerate(self.names)
            if self._is_time[i] and self._absolute[i]
        }
        return found | {name: {"flows": n, "feature": None} for name, n in self._absolute_idle.items() if n}


def _are_absolute(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((values >= _ABSOLUTE_US[0]) & (values <= _ABSOLUTE_US[1]))


def _is_infinite(cell: str) -> bool:
    """Whether a cell without a value is a number, too large for one; else it is empty, ? or NaN."""
    value = _number(cell)
    return value == value


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _numbers(cells: list[str]) -> npt.NDArray[np.float64]:
    return np.fromiter(map(_number, cells), np.float64, len(cells))


@lru_cache(maxsize=1 << 12)
def _day(start: str) -> str:
    """The date that a timestamp starts with, in its own order of day and month; empty if there is none."""
    found = re.match(r"(\d{1,4})[-/.](\d{1,2})[-/.](\d{1,4})", start)
    return "-".join(str(int(part)) for part in found.groups()) if found else ""


@dataclass(frozen=True)
class _Truth:
    """The labels of the flows that have them all: int64 codes [n] by level, and ``both`` where there are two."""

    names: dict[str, list[str]]
    levels: dict[str, I64]
    features: U64
    days: I64  # -1 for no date
    unlabelled: int

    @classmethod
    def of(cls, tally: _Tally) -> _Truth:
        names: dict[str, list[str]] = {}
        levels: dict[str, I64] = {}
        keep = np.ones(tally.flows, bool)
        for level, codes in tally.label_text.items():
            written, at = list(codes.index), tally.label_codes(level)
            counts = np.bincount(at, minlength=len(written)).tolist()
            spelling = spell(text for text, n in zip(written, counts, strict=True) for _ in range(n))
            names[level] = sorted({spelling[label_key(text)] for text in written})
            to_code = [names[level].index(spelling[label_key(text)]) for text in written]
            levels[level] = np.array(to_code, np.int64)[at]
            keep &= np.array([bool(name) for name in names[level]], bool)[levels[level]]
        levels = {level: codes[keep] for level, codes in levels.items()}
        if len(levels) == 2:
            first, second = levels.values()
            levels["both"] = np.unique(first * (1 + second.max(initial=0)) + second, return_inverse=True)[1]
        days = tally.days().astype(np.int64)[keep] if len(tally.days()) else np.full(int(keep.sum()), -1)
        if "" in tally.day_text.index:
            days[days == tally.day_text.index[""]] = -1
        return cls(names, levels, tally.features[keep], days, int((~keep).sum()))

    def counts(self) -> dict[str, Any]:
        report: dict[str, Any] = {"flows": len(self.features), "flows_without": self.unlabelled}
        for level, names in self.names.items():
            found = np.bincount(self.levels[level], minlength=len(names)).tolist()
            report[level] = {name: n for name, n in zip(names, found, strict=True) if name and n}
        return report

    def by_day(self) -> dict[str, Any]:
        """How often the most frequent label of its day is a flow's: learned on one half, scored on the other,
        both ways; beside the most frequent label of all, learned and scored the same way."""
        dated = np.flatnonzero(self.days >= 0)
        halves = np.array_split(np.random.default_rng(0).permutation(dated), 2)
        report: dict[str, Any] = {"days": len(np.unique(self.days[dated])), "flows": len(dated), "accuracy": {}}
        if len(dated) < 2:
            return report
        for level, labels in self.levels.items():
            day = always = 0
            for learn, score in (halves, halves[::-1]):
                table = np.zeros((int(self.days.max()) + 1, int(labels.max()) + 1), np.int64)
                np.add.at(table, (self.days[learn], labels[learn]), 1)
                usual = int(table.sum(axis=0).argmax())
                of_day = np.where(table.any(axis=1), table.argmax(axis=1), usual)
                day += int((of_day[self.days[score]] == labels[score]).sum())
                always += int((labels[score] == usual).sum())
            report["accuracy"][level] = {"day": day / len(dated), "most_frequent": always / len(dated)}
        return report


def _repeats(hashes: U64) -> dict[str, Any]:
    """Flows that have an equal elsewhere in the file, and what would be left with one of each."""
    _, count = np.unique(hashes, return_counts=True)
    flows = int(count[count > 1].sum())
    return {"flows": flows, "share": _share(flows, len(hashes)), "distinct": len(count)}


def _conflicts(features: U64, labels: I64) -> dict[str, Any]:
    """Flows whose equal in features has another label, and the best accuracy that these features then allow."""
    if not len(labels):
        return {"flows": 0, "share": 0.0, "best_accuracy": None}
    which = np.unique(features, return_inverse=True)[1].astype(np.int64)
    width = int(labels.max()) + 1
    pairs, count = np.unique(which * width + labels, return_counts=True)
    of_pair = pairs // width
    several = np.bincount(of_pair)[which] > 1
    most = np.zeros(int(which.max()) + 1, np.int64)
    np.maximum.at(most, of_pair, count)
    flows = int(several.sum())
    return {"flows": flows, "share": _share(flows, len(labels)), "best_accuracy": int(most.sum()) / len(labels)}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


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
            f"{what} {twins} to {_DIGITS} digits; the more, the less their accuracy says of new flows",
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
