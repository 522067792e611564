"""Checking a flows file: how it is read, what its values are, what gives its labels away."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcc_edge.checking.file import check_file
from etcc_edge.checking.findings import Finding, findings
from etcc_edge.checking.leakage import rounded, twins_across
from etcc_edge.checking.result import (
    AbsoluteTimes,
    Conflicts,
    DateLeakage,
    LabelCounts,
    Repeated,
    SplitLeakage,
    to_json,
)
from etcc_edge.errors import FlowsError
from etcc_edge.flows.features import dialect_named
from etcc_edge.flows.generated import sample_rows
from making import labelled_flows

TIME_HEADER = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat"
TIME_ROW = "600000,900,200,5042,7000,10"


def write(path: Path, rows: Iterable[str], header: str = TIME_HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def labelled(path: Path, rows: Iterable[tuple[object, str, str]], timestamps: Iterable[str] = ()) -> Path:
    """Flows that differ in their duration alone, with both labels, and perhaps timestamps."""
    dated = list(timestamps)
    header = TIME_HEADER + ",protocol,application" + (",Timestamp" if dated else "")
    lines = [f"{600_000 + int(duration)},900,200,5042,7000,10,{p},{a}" for duration, p, a in rows]
    return write(path, [f"{line},{date}" for line, date in zip(lines, dated, strict=True)] if dated else lines, header)


def about(found: list[Finding], topic: str) -> list[tuple[str, str]]:
    return [(finding.severity, finding.text) for finding in found if finding.topic == topic]


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    path = tmp_path / "generated.csv"
    path.write_text("".join(sample_rows(300, seed=3)))
    return path


def test_a_darknet_file_is_recognised_with_its_columns_and_bundles(generated: Path) -> None:
    figures = check_file(generated)
    assert (figures.dialect, figures.meter, figures.time_unit) == ("cicdarknet2020", "CICFlowMeter", "us")
    assert figures.columns["fwd_packets"] == "Total Fwd Packet"
    assert figures.features_missing == []
    assert [name for name, bundle in figures.bundles.items() if bundle.fits] == ["default", "no-ports", "wire"]
    assert [name for name, bundle in figures.bundles.items() if bundle.picked] == ["default"]
    assert "ISCXFlowMeter" in figures.bundles["iscx-tor-vpn-15s"].why_not
    assert figures.label_columns == {"protocol": "Label", "application": "Label.1"}
    assert figures.rows.readable == figures.labels.flows == 300


def test_odd_values_are_counted_as_a_plain_reading_counts_them(generated: Path) -> None:
    header, *rows = list(csv.reader(generated.read_text().splitlines()))
    values = check_file(generated).values
    for name, (key, *_) in dialect_named("cicdarknet2020").columns.items():
        cells = np.array([float(row[[cell.casefold() for cell in header].index(key)]) for row in rows])
        finite = cells[np.isfinite(cells)]
        assert values[name].missing == np.isnan(cells).sum()
        assert values[name].infinite == np.isinf(cells).sum()
        assert values[name].negative == (cells < 0).sum()
        assert values[name].constant == (len(set(finite.tolist())) <= 1)
        assert values[name].min == pytest.approx(finite.min(), rel=1e-6)
        assert values[name].max == pytest.approx(finite.max(), rel=1e-6)
    assert values["flow_packets_per_s"].infinite > 0


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *[(cell, "missing") for cell in ("", "NaN", "?")],
        *[(cell, "infinite") for cell in ("Infinity", "-inf", "1e39")],
        ("-1", "negative"),
    ],
)
def test_kinds_of_odd_cells_are_told_apart(tmp_path: Path, cell: str, kind: str) -> None:
    path = write(
        tmp_path / "flows.csv", [TIME_ROW, f"600000,{cell},200,5042,7000,10", f"600001,{cell},200,5042,7000,10"]
    )
    value = check_file(path).values["flow_bytes_per_s"]
    kinds = {"missing": value.missing, "infinite": value.infinite, "negative": value.negative}
    assert kinds == {**dict.fromkeys(kinds, 0), kind: 2}


def test_rows_that_cannot_be_read_are_counted_by_kind_and_left_out(tmp_path: Path) -> None:
    bad = ["1,2", "1,2,3,4,5,6,7", "x,2,3,4,5,6", '1,"2,3,4,5,6', "", TIME_HEADER]
    figures = check_file(write(tmp_path / "flows.csv", [TIME_ROW, *bad, TIME_ROW]))
    rows = figures.rows
    assert (rows.rows, rows.readable) == (6, 2)
    assert (rows.short, rows.long, rows.not_a_number, rows.stray_quote) == (1, 1, 1, 1)
    assert (rows.blank_lines, rows.repeated_headers) == (1, 1)
    assert figures.values["flow_duration"].min == 600000
    assert [severity for severity, _ in about(findings(figures), "rows")] == ["note", *["warning"] * 4, "note", "note"]


def test_repeats_are_by_bytes_and_by_features_ports_aside(generated: Path) -> None:
    header, first, second, *_ = generated.read_text().splitlines()
    other_port = first.split(",")
    other_port[2] = "1"
    other_zero = second.replace(",0,", ",-0.0,", 1)
    write(generated, [first, first, ",".join(other_port), second, other_zero], header)
    repeats = check_file(generated).repeats
    assert repeats.bytes == Repeated(flows=2, share=0.4, distinct=4)
    assert repeats.features == Repeated(flows=5, share=1.0, distinct=2)


def test_equal_flows_with_other_labels_bound_the_accuracy(tmp_path: Path) -> None:
    flows = [(1, "VPN", "Chat")] * 3 + [(1, "VPN", "Email"), (2, "Tor", "Chat"), (3, "Tor", "Chat")]
    conflicts = check_file(labelled(tmp_path / "flows.csv", flows)).leakage.conflicts
    assert conflicts["protocol"] == Conflicts(flows=0, share=0.0, best_accuracy=1.0)
    assert conflicts["application"] == Conflicts(flows=4, share=4 / 6, best_accuracy=5 / 6)
    assert conflicts["both"] == conflicts["application"]


@pytest.mark.parametrize(
    "timestamp",
    ["{0:02}/07/2015 04:09:48 PM", "{0:02}/05/2015 03:41:32 p.m.", "2013-11-{0} 10:54:25", "{0}/7/2017 8:55"],
)
def test_a_day_that_has_one_label_gives_it_away(tmp_path: Path, timestamp: str) -> None:
    days = [1 + i % 4 for i in range(200)]
    flows = [(i, ("VPN", "Tor")[day % 2], "Chat") for i, day in enumerate(days)]
    figures = check_file(labelled(tmp_path / "flows.csv", flows, map(timestamp.format, days)))
    date = figures.leakage.date
    assert (date.days, date.flows) == (4, 200)
    assert date.accuracy["protocol"].day == 1.0
    assert date.accuracy["protocol"].most_frequent < 0.6
    assert [severity for severity, _ in about(findings(figures), "date")] == ["warning", "ok"]


def test_a_day_of_its_own_tells_nothing_of_an_unseen_flow(tmp_path: Path) -> None:
    flows = [(i, ("VPN", "VPN", "Tor")[i % 3], "Chat") for i in range(300)]
    timestamps = [f"{1 + i % 28}/{1 + i // 28}/2015 01:00:00 AM" for i in range(300)]
    accuracy = check_file(labelled(tmp_path / "flows.csv", flows, timestamps)).leakage.date.accuracy
    assert accuracy["protocol"].day == accuracy["protocol"].most_frequent == pytest.approx(2 / 3)


def test_timestamps_without_a_date_are_said_to_tell_nothing(tmp_path: Path) -> None:
    figures = check_file(labelled(tmp_path / "flows.csv", [(1, "VPN", "Chat")] * 3, ["", "noon", "12:30"]))
    assert figures.leakage.date == DateLeakage(days=0, flows=0, accuracy={})
    assert about(findings(figures), "date") == [("note", "no timestamp has a date")]


def test_absolute_idle_times_are_told_by_their_values(generated: Path, tmp_path: Path) -> None:
    assert check_file(generated).leakage.absolute_times == {}
    rows = [line.split(",") for line in generated.read_text().splitlines()]
    for row in rows[1:]:
        row[rows[0].index("Idle Max")] = "1.43777E+15"
    write(generated, [",".join(row) for row in rows[1:]], ",".join(rows[0]))
    assert check_file(generated).leakage.absolute_times == {"Idle Max": AbsoluteTimes(300, None)}

    header = TIME_HEADER + ",mean_idle,max_idle,protocol,application"
    path = write(tmp_path / "iscx.csv", [TIME_ROW + ",5000000,1.43777E+15,VPN,Chat"], header)
    figures = check_file(path)
    assert figures.leakage.absolute_times == {"idle_max": AbsoluteTimes(1, "idle_max")}
    assert about(findings(figures), "times")[-1][0] == "warning"


def test_labels_are_spelled_and_flows_without_left_out(tmp_path: Path) -> None:
    flows = [(1, "VPN", "CHAT"), (2, "vpn", "chat"), (3, "NonVPN", "e-mail"), (4, "", "Chat"), (5, "Tor", "")]
    labels = check_file(labelled(tmp_path / "flows.csv", flows)).labels
    assert (labels.flows, labels.flows_without) == (3, 2)
    assert labels.by_level == {"protocol": {"Non-VPN": 1, "VPN": 2}, "application": {"Chat": 2, "Email": 1}}


def test_a_label_column_is_found_by_its_option_or_not_at_all(tmp_path: Path) -> None:
    path = write(tmp_path / "flows.csv", [f"{i},{TIME_ROW},{'AB'[i % 2]}" for i in range(4)], f",{TIME_HEADER},class1")
    figures = check_file(path)
    assert (figures.label_columns, figures.labels, figures.leakage) == ({}, None, None)
    assert "'class1'" in about(findings(figures), "labels")[0][1]
    one = check_file(path, application_column="class1")
    assert one.labels == LabelCounts(flows=4, flows_without=0, by_level={"application": {"A": 2, "B": 2}})
    assert set(one.leakage.conflicts) == {"application"}
    with pytest.raises(FlowsError, match=r"has no column 'clas1'; the nearest is 'class1'"):
        check_file(path, application_column="clas1")
    with pytest.raises(FlowsError, match="both labels are said to be in one column"):
        check_file(path, application_column="class1", protocol_column="class1")


def test_values_that_do_not_tell_the_unit_say_so(tmp_path: Path) -> None:
    check = check_file(write(tmp_path / "flows.csv", [TIME_ROW]))
    untold = check_file(write(tmp_path / "flows.csv", ["0,,,0,0,0"]))
    assert [severity for severity, _ in about(findings(check), "times")] == ["ok"]
    assert [severity for severity, _ in about(findings(untold), "times")] == ["note"]


def test_a_header_alone_is_a_warning(tmp_path: Path) -> None:
    figures = check_file(labelled(tmp_path / "flows.csv", [], ()))
    assert about(findings(figures), "rows") == [("warning", "no flows")]


def test_batches_add_up(tmp_path: Path) -> None:
    rows = list(
        itertools.islice(
            itertools.cycle([TIME_ROW, "600001,NaN,200,5042,7000,10", "600007,-1,200,5042,7000,10"]), 40_000
        )
    )
    figures = check_file(write(tmp_path / "flows.csv", rows))
    value = figures.values["flow_bytes_per_s"]
    assert (value.missing, value.negative, value.min, value.max) == (13_333, 13_333, -1, 900)
    assert figures.repeats.features == Repeated(flows=40_000, share=1.0, distinct=3)


def keys(value: object) -> object:
    """The keys of an object and of those in it, in order; None in place of anything else."""
    return [(key, keys(part)) for key, part in value.items()] if isinstance(value, dict) else None


def test_json_has_every_key_in_its_place(tmp_path: Path) -> None:
    flows = [(1, "VPN", "Chat"), (1, "Tor", "Email"), (2, "Tor", "Chat")]
    path = labelled(tmp_path / "flows.csv", flows, ["1/7/2015 8:55", "2/7/2015 8:55", "3/7/2015 8:55"])
    split = SplitLeakage("random", 0, train=2, test=1, twins=1, twins_share=1.0, near_twins=1, near_twins_share=1.0)
    check = check_file(path).with_split(split)
    several = dict.fromkeys(("flows", "share", "best_accuracy"))
    repeated = dict.fromkeys(("flows", "share", "distinct"))
    kinds = ("unit", "missing", "infinite", "negative", "constant", "min", "max")
    counts = (
        "rows",
        "short",
        "long",
        "not_a_number",
        "stray_quote",
        "contradictory",
        "with_missing_values",
        "blank_lines",
    )
    dates = dict.fromkeys(("day", "most_frequent"))
    fit = ("fits", "picked", "view", "timeout_s", "outside_range", "why_not")
    expected = {
        **dict.fromkeys(("file", "dialect", "meter", "time_unit", "notes")),
        "columns": dict.fromkeys(check.columns),
        **dict.fromkeys(("other_columns", "features_missing")),
        "bundles": dict.fromkeys(check.bundles, dict.fromkeys(fit)),
        "rows": dict.fromkeys((*counts, "repeated_headers", "readable")),
        **dict.fromkeys(("capture", "damage", "relations", "contradiction", "failure")),
        "values": {name: dict.fromkeys(kinds) for name in check.columns},
        "repeats": {"bytes": repeated, "features": repeated},
        "label_columns": dict.fromkeys(("protocol", "application")),
        "labels": {
            **dict.fromkeys(("flows", "flows_without")),
            "protocol": dict.fromkeys(("Tor", "VPN")),
            "application": dict.fromkeys(("Chat", "Email")),
        },
        "leakage": {
            "identifiers": None,
            "absolute_times": {},
            "conflicts": {"protocol": several, "application": several, "both": several},
            "date": {
                "days": None,
                "flows": None,
                "accuracy": dict.fromkeys(("protocol", "application", "both"), dates),
            },
            "split": dict.fromkeys(
                ("kind", "seed", "train", "test", "twins", "twins_share", "near_twins", "near_twins_share")
            ),
        },
    }
    assert keys(to_json(check)) == keys(expected)
    figures = to_json(check)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_json_of_flows_without_labels_has_none_in_place_of_what_they_tell(tmp_path: Path) -> None:
    check = check_file(write(tmp_path / "flows.csv", [TIME_ROW]))
    figures = to_json(check)
    assert (figures["label_columns"], figures["labels"], figures["leakage"]) == ({}, None, None)
    with pytest.raises(ValueError, match="flows without labels are not split"):
        check.with_split(SplitLeakage("random", 0, 1, 1, 0, 0.0, 0, 0.0))


@given(st.floats(min_value=2.0**-99, max_value=2.0**99, width=32), st.sampled_from([-1, 1]))
def test_rounding_keeps_three_digits(value: float, sign: int) -> None:
    near = rounded(np.array([[sign * value]], np.float32))[0, 0]
    assert abs(near - sign * value) <= 0.00501 * value
    assert np.float32(f"{near:.3g}") == near


def test_rounding_keeps_zero_and_nan() -> None:
    assert rounded(np.array([[0, np.nan]], np.float32)).tolist()[0] == [0, pytest.approx(np.nan, nan_ok=True)]


def test_twins_across_a_split_are_counted_ports_aside() -> None:
    features = np.array(
        [[1, 1000, np.nan], [2, 5000, 0], [3, 1000, np.nan], [4, 1001, np.nan], [5, 5000, -0.0], [6, 7000, 0]],
        np.float32,
    )
    flows = labelled_flows(("src_port", "flow_duration", "flow_iat_mean"), features)
    figures = twins_across(flows, "random", 0, np.array([0, 1]), np.array([2, 3, 4, 5]))
    assert (figures.train, figures.test) == (2, 4)
    assert (figures.twins, figures.twins_share) == (2, 0.5)
    assert (figures.near_twins, figures.near_twins_share) == (3, 0.75)


def test_real_flows_leak_what_they_are_known_to_leak(real_flows: Path) -> None:
    figures = check_file(real_flows / "cicdarknet2020-part" / "flows.csv")
    assert (figures.rows.rows, figures.repeats.bytes.flows) == (39_529, 0)
    assert set(figures.leakage.absolute_times) >= {"Idle Mean", "Idle Max", "Idle Min"}
    accuracy = figures.leakage.date.accuracy["protocol"]
    assert accuracy.day > 0.9 > 0.6 > accuracy.most_frequent


def test_real_dialects_are_all_read(real_flows: Path) -> None:
    for path in sorted((real_flows / "dialects").iterdir()):
        figures = check_file(path)
        assert figures.rows.rows == figures.rows.readable > 0, path.name
        assert all(finding.text and "\n" not in finding.text for finding in findings(figures))


def test_flows_beyond_a_bundles_range_are_a_warning(generated: Path) -> None:
    header, *rows = list(csv.reader(generated.read_text().splitlines()))
    before = check_file(generated).bundles["default"].outside_range
    longest = header.index("Fwd Packet Length Max")
    for row in rows[:3]:
        row[longest] = "9000000"
    with generated.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    check = check_file(generated)
    outside = check.bundles["default"].outside_range
    assert 3 <= outside <= before + 3
    ((severity, text), *_) = about(findings(check), "range")
    assert severity == "warning"
    assert text.startswith(f"{outside} flows ({100 * outside / 300:.1f} %) lie beyond the range that default was")
