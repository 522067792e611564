"""Evidence of many flows summed by host, subnet or capture, and time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcc_edge.engines.result import Result
from etcc_edge.errors import FlowsError
from etcc_edge.infer.file import label_file
from etcc_edge.infer.windows import NO_TIME, SumBy, Windows, WindowWriter, evidence

NAMES = (("Tor", "VPN"), ("Chat", "Email", "Audio"))
MINUTE = 60_000_000
SAMPLE = Path(__file__).parents[1] / "data" / "generated-flows.csv"


def result_of(protocols, applications, confidence=0.8):
    codes = np.array([protocols, applications], np.int32)
    return Result(("protocol", "application"), NAMES, codes, np.full(codes.shape, confidence, np.float32), codes * 0.0)


def summed(by, hosts, times, packets, result, windows=None, services=()):
    part = evidence(
        by,
        [np.array(hosts, np.str_)],
        np.array(times, np.int64),
        np.array(packets, np.float64),
        np.array(packets, np.float64) * 100,
        result,
        services,
    )
    windows = windows or Windows(NAMES)
    return [*windows.add(part), *windows.rest()], windows


def test_a_window_holds_the_flows_of_a_host_in_a_span():
    by = SumBy.of("host,5min")
    given, _ = summed(
        by, ["a", "b", "a", "a"], [0, 0, 4 * MINUTE, 5 * MINUTE], [1, 2, 3, 4], result_of([0] * 4, [0] * 4)
    )
    assert [(w.key, w.start, w.flows, w.packets, w.bytes) for w in given] == [
        ("a", 0, 2, 4, 400),
        ("b", 0, 1, 2, 200),
        ("a", 5 * MINUTE, 1, 4, 400),
    ]


def test_a_flow_weighs_the_square_root_of_its_packets():
    given, _ = summed(SumBy.of("host,1h"), ["a"] * 4, [0] * 4, [1, 1, 1, 16], result_of([0] * 4, [0, 0, 0, 1]))
    assert given[0].labels == ("Tor", "Email")
    # Of a weight of 7, the flow of 16 packets gives 0.8 of its 4 to its label, and the others a third of the 0.6.
    assert given[0].confidence[1] == pytest.approx((4 * 0.8 + 3 * 0.1) / 7)


def test_a_service_that_a_rule_names_says_nothing_of_the_application():
    given, _ = summed(SumBy.of("host,1h"), ["a"] * 2, [0, 0], [1, 100], result_of([0, 1], [0, 1]), services=["Email"])
    assert given[0].labels == ("VPN", "Chat")
    assert given[0].confidence[1] == pytest.approx(0.8)  # of the labels of networks, two are left
    assert given[0].flows == 2


def test_without_labels_a_window_has_none():
    given, _ = summed(SumBy.of("host,1h"), ["a"], [0], [5], result_of([-1], [-1], np.nan))
    assert given[0].labels == ("", "")
    assert np.isnan(given[0].confidence).all()


def test_a_flow_without_time_is_counted_and_in_no_window():
    given, windows = summed(SumBy.of("host,1h"), ["a", "a"], [NO_TIME, 0], [1, 1], result_of([0, 0], [0, 0]))
    assert [w.flows for w in given] == [1]
    assert windows.without_time == 1


def test_too_many_open_windows_close_the_oldest_and_count_what_comes_late():
    windows = Windows(NAMES, most=2)
    by, given = SumBy.of("host,1min"), []
    for minute in (0, 1, 2, 0, 3):
        part = evidence(
            by,
            [np.array(["a"])],
            np.array([minute * MINUTE], np.int64),
            np.ones(1),
            np.ones(1),
            result_of([0], [0]),
        )
        given.append([w.start // MINUTE for w in windows.add(part)])
    assert given == [[], [], [0], [], [1]]
    assert [w.start // MINUTE for w in windows.rest()] == [2, 3]
    assert (windows.late_flows, windows.given) == (1, 4)


@given(
    flows=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 1), st.integers(-1, 2), st.integers(1, 99)),
        min_size=1,
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_windows_do_not_depend_on_how_flows_are_cut_into_batches(flows, cut):
    by = SumBy.of("host,2min")

    def windows_of(parts):
        windows = Windows(NAMES)
        for part in filter(None, parts):
            hosts, minutes, protocols, applications, packets = zip(*part, strict=True)
            numbers = np.array(packets, np.float64)
            times = np.array(minutes, np.int64) * MINUTE
            result = result_of(protocols, applications)
            windows.add(evidence(by, [np.array(hosts)], times, numbers, numbers, result))
        return windows.rest()

    whole, parts = windows_of([flows]), windows_of([flows[:cut], flows[cut:]])
    assert sum(w.flows for w in whole) == len(flows)
    for one, other in zip(whole, parts, strict=True):
        assert (one.key, one.start, one.flows, one.packets) == (other.key, other.start, other.flows, other.packets)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-12)


def test_both_sides_of_a_flow_can_count():
    by = SumBy.of("subnet,1h", "both")
    keys = by.keys(np.array(["192.0.2.9", "2001:db8:0:1::5"]), np.array(["198.51.100.3", "no address"]), "x")
    assert [side.tolist() for side in keys] == [
        ["192.0.2.0/24", "2001:db8:0:1::/64"],
        ["198.51.100.0/24", "no address"],
    ]


@pytest.mark.parametrize("text", ["host", "host,", "host,0min", "host,5", "port,5min", "subnet,5weeks", "capture,", ""])
def test_what_cannot_be_summed_by_is_refused(text):
    with pytest.raises(FlowsError, match="cannot sum by"):
        SumBy.of(text)


def test_a_window_is_a_row_with_its_start_in_utc():
    out = io.BytesIO()
    given, _ = summed(SumBy.of("host,1h"), ["a"], [3_600_000_000], [4], result_of([0], [-1]))
    WindowWriter(out, SumBy.of("host,1h"), ("protocol", "application")).write(given)
    assert out.getvalue().decode().splitlines() == [
        "host,start,flows,packets,bytes,etcc_protocol,etcc_protocol_confidence,etcc_application,"
        "etcc_application_confidence",
        "a,1970-01-01T01:00:00Z,1,4,400,Tor,0.8000,,",
    ]


@pytest.mark.parametrize("columns", ["all", "labels", "key"])
def test_a_files_flows_are_all_in_its_windows(tmp_path, columns):
    label_file(SAMPLE, tmp_path / "plain.csv", columns=columns)
    labels, windows = tmp_path / "labels.csv", tmp_path / "windows.csv"
    summary = label_file(SAMPLE, labels, columns=columns, sum_by=SumBy.of("host,1d"), windows=windows)
    assert labels.read_bytes() == (tmp_path / "plain.csv").read_bytes()
    rows = [line.split(",") for line in windows.read_text().splitlines()[1:]]
    assert summary.windows.windows == len(rows) > 1
    assert sum(int(row[2]) for row in rows) == summary.flows - summary.windows.without_time
    assert summary.windows.without_time == 0


def test_a_file_without_addresses_cannot_be_summed_by_host(tmp_path):
    lines = SAMPLE.read_text().splitlines()
    header = lines[0].replace("Src IP", "From")
    (tmp_path / "flows.csv").write_text("\n".join([header, *lines[1:]]) + "\n")
    with pytest.raises(FlowsError, match="has no column of source"):
        label_file(tmp_path / "flows.csv", tmp_path / "o.csv", sum_by=SumBy.of("host,1d"), windows=tmp_path / "w.csv")
    assert not (tmp_path / "o.csv").exists()


def with_times(tmp_path, times):
    """The sample's first flows at these times."""
    header, *rows = [line.split(",") for line in SAMPLE.read_text().splitlines()]
    place = header.index("Timestamp")
    for row, time in zip(rows, times, strict=False):
        row[place] = time
    lines = [",".join(row) for row in [header, *rows[: len(times)]]]
    (tmp_path / "flows.csv").write_text("\n".join(lines) + "\n")
    windows = tmp_path / "windows.csv"
    summary = label_file(tmp_path / "flows.csv", tmp_path / "out.csv", sum_by=SumBy.of("capture,1d"), windows=windows)
    return summary, [line.split(",")[1] for line in windows.read_text().splitlines()[1:]]


def test_dates_with_the_month_first_among_others_are_told(tmp_path):
    summary, starts = with_times(tmp_path, ["7/10/2017 08:00:00", "7/12/2017 08:00:00", "7/13/2017 08:00:00"])
    assert starts[-1] == "2017-12-07T00:00:00Z"
    assert any(note.startswith("dates of 1 flows put the month before the day") for note in summary.notes)
    summary, _ = with_times(tmp_path, ["10/7/2017 08:00:00", "13/7/2017 08:00:00"])
    assert not any("month before the day" in note for note in summary.notes)


@pytest.mark.parametrize(
    "time",
    ["9999-12-31T23:59:59-10:00", "9" * 20, "20170710090000", "12", "-5", "10/07/17 08:00:00", "0001-01-01 00:00:00"],
)
def test_what_is_no_time_is_in_no_window(tmp_path, time):
    summary, starts = with_times(tmp_path, [time, "10/7/2017 08:00:00"])
    assert (summary.windows.without_time, starts) == (1, ["2017-07-10T00:00:00Z"])


def test_nanoseconds_since_1970_are_a_time(tmp_path):
    summary, starts = with_times(tmp_path, ["1577880000000000000"])
    assert (summary.windows.without_time, starts) == (0, ["2020-01-01T00:00:00Z"])
