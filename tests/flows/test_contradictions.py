"""Rows whose numbers contradict each other get no label, and a file of many is named for what probably happened."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import OK
from etcc_edge.flows.features import dialect_named
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.relations import RELATIONS, relations_of
from etcc_edge.flows.text.reader import CONTRADICTION, FlowFile
from etcc_edge.flows.truth import read_labelled
from etcc_edge.infer.file import label_file

FLOWS = 400
CIC = {name: keys[0] for name, keys in dialect_named("cicdarknet2020").columns.items()}
MEASURED = [name for name in CIC if name not in ("src_port", "dst_port", "ip_protocol")]
TIMES = ["flow_duration", *(name for name in CIC if "iat" in name)]


@pytest.fixture(scope="module")
def table() -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(sample_rows(FLOWS, seed=4)))))


def place(table: list[list[str]], feature: str) -> int:
    return [name.strip().casefold() for name in table[0]].index(CIC[feature])


def written(path: Path, table: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    return path


def changed(table: list[list[str]], rows: slice, columns: list[str], change: Callable[[float], str]) -> list[list[str]]:
    table = [list(row) for row in table]
    places = [place(table, name) for name in columns]
    for row in table[1:][rows]:
        for i in places:
            row[i] = change(float(row[i]))
    return table


def statuses(path: Path) -> np.ndarray:
    with FlowFile(path) as file:
        return np.concatenate([batch.status for batch in file.batches(["flow_duration"])])


def label(path: Path, tmp_path: Path):
    return label_file(path, tmp_path / "out.csv", bundle="default")


# --- what is a contradiction --------------------------------------------------------------------------------


def test_every_generated_flow_keeps_all_relations(tmp_path, table):
    path = written(tmp_path / "flows.csv", table)
    with FlowFile(path) as file:
        assert len(file.relations) == 10  # without idle times, which hold capture times here
    assert not statuses(path).any()
    assert label(path, tmp_path).contradiction == ""


@pytest.mark.parametrize("name", ["cicdarknet2020-part", "cicdarknet2020-more", "vnat-part", "iscx-tor-vpn-15s"])
def test_every_real_flow_keeps_all_relations(real_flows, name):
    assert not (statuses(real_flows / name / "flows.csv") == CONTRADICTION).any()


def test_every_dialects_real_flows_keep_all_relations(real_flows):
    for path in [*(real_flows / "dialects").iterdir(), *(real_flows / "meter").glob("*/*.csv")]:
        with FlowFile(path) as file:
            list(file.batches(list(file.reading.columns)))
            assert file.counts.contradictory == 0, path


@pytest.mark.parametrize("factor", [0.5, 0.94, 1.06, 1000.0])
@pytest.mark.parametrize("feature", ["flow_packets_per_s", "flow_bytes_per_s"])
def test_a_rate_that_is_off_by_more_than_5_percent_is_one(tmp_path, table, feature, factor):
    path = written(tmp_path / "flows.csv", changed(table, slice(5, 6), [feature], lambda rate: repr(rate * factor)))
    found = statuses(path)
    assert np.flatnonzero(found).tolist() == [5]
    assert found[5] == CONTRADICTION


@pytest.mark.parametrize("decimals", [2, 3, 6])
def test_a_rate_that_was_rounded_is_none(tmp_path, table, decimals):
    rates = ["flow_packets_per_s", "flow_bytes_per_s"]
    rows = changed(table, slice(None), rates, lambda rate: f"{rate:.{decimals}f}")
    for row in rows[1:5]:  # two packets in 71 s are 0.028 packets/s
        values = dict.fromkeys(("fwd_packets", "bwd_packets", "fwd_packet_length_total"), "1")
        values |= dict.fromkeys(("flow_duration", "flow_iat_min", "flow_iat_mean", "flow_iat_max"), "71000000")
        values |= {"bwd_packet_length_total": "0", "flow_packets_per_s": f"{2 / 71:.{decimals}f}"}
        values |= {"flow_bytes_per_s": f"{1 / 71:.{decimals}f}"}
        for name, value in values.items():
            row[place(rows, name)] = value
    assert not statuses(written(tmp_path / "flows.csv", rows)).any()


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_gaps_in_another_unit_than_the_duration_are_one(tmp_path, table, factor):
    gaps = [name for name in TIMES if name != "flow_duration"]
    rows = changed(table, slice(FLOWS // 2, None), gaps, lambda time: repr(time * factor))
    expected = [
        i >= FLOWS // 2 and all(float(row[place(table, name)]) > 0 for name in ("flow_duration", "flow_iat_mean"))
        for i, row in enumerate(table[1:])
    ]
    assert sum(expected) > FLOWS // 3
    assert (statuses(written(tmp_path / "flows.csv", rows)) == CONTRADICTION).tolist() == expected


def test_a_mean_gap_of_zero_says_nothing(tmp_path, table):
    gaps = [f"flow_iat_{part}" for part in ("min", "mean", "max")]
    assert not statuses(written(tmp_path / "flows.csv", changed(table, slice(None), gaps, lambda _: "0"))).any()


def read_flow(packets: int, duration: int, rate: float, gap: float) -> int:
    """The status of a flow with these numbers."""
    values = (packets - 1, 1, rate, duration, gap)
    relations = [("sum", [0, 1, 2, 3]), ("gaps", [4, 2, 3])]
    features, status, fault = np.empty((1, 5), np.float32), np.empty(1, np.uint8), np.empty(1, np.int32)
    cells = [(np.array([value], np.float64), None, 0, None, 1.0) for value in values]
    _native.read_columns(cells, relations, features, status, fault)
    return int(status[0])


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.integers(2, 10**6), st.integers(1, 10**9), st.integers(2, 9))
def test_no_flow_contradicts_itself_by_rounding(packets, duration, decimals):
    rate, gap = (round(value, decimals) for value in (packets / duration * 1e6, duration / (packets - 1)))
    assert read_flow(packets, duration, rate, gap) == OK


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.integers(2, 10**6), st.integers(1, 10**9), st.sampled_from([1e-6, 1e-3, 1e3, 1e6]))
def test_gaps_in_another_unit_show_in_every_flow(packets, duration, factor):
    gap = duration / (packets - 1)
    assert read_flow(packets, duration, packets / duration * 1e6, gap) == OK
    assert read_flow(packets, duration, packets / duration * 1e6, gap * factor) == CONTRADICTION


def test_a_rate_that_is_off_by_less_is_none(tmp_path, table):
    path = written(tmp_path / "flows.csv", changed(table, slice(None), ["flow_bytes_per_s"], lambda r: repr(r * 1.04)))
    assert not statuses(path).any()


@pytest.mark.parametrize("relation", [r for r in relations_of(CIC.keys()) if r.kind == "order"], ids=lambda r: r.text)
def test_a_mean_beyond_its_bounds_is_one(tmp_path, table, relation):
    rows = [list(row) for row in table]
    low, mean, high = (place(rows, name) for name in relation.columns)
    rows[3][low], rows[3][mean], rows[3][high] = "5", "4", "9"
    rows[4][low], rows[4][mean], rows[4][high] = "5", "10", "9"
    rows[5][low], rows[5][mean], rows[5][high] = "-1", "-1", "-1"  # none
    rows[6][low], rows[6][mean], rows[6][high] = "", "7", "3"
    found = statuses(written(tmp_path / "flows.csv", rows))
    assert np.isin([2, 3], np.flatnonzero(found == CONTRADICTION)).all()
    if "flow_iat" not in relation.columns[0]:  # which has another relation with the duration
        assert np.flatnonzero(found).tolist() == [2, 3]


def test_a_column_that_only_a_relation_needs_may_hold_text(tmp_path, table):
    rows = [list(row) for row in table]
    rows[3][place(rows, "fwd_packets")] = "many"
    path = written(tmp_path / "flows.csv", rows)
    assert not statuses(path).any()
    with FlowFile(path) as file:
        assert np.concatenate([b.status for b in file.batches(["fwd_packets"])]).nonzero()[0].tolist() == [2]


def test_strict_reading_names_the_relation(tmp_path, table):
    path = written(tmp_path / "flows.csv", changed(table, slice(5, 6), ["flow_bytes_per_s"], lambda r: repr(r * 2)))
    with FlowFile(path) as file, pytest.raises(FlowsError, match=r"flows.csv:7: contradicts itself: bytes = byte rate"):
        list(file.batches(["flow_duration"], strict=True))


def test_the_relations_name_features_and_kinds_that_exist():
    canonical = dialect_named("canonical").columns
    for relation in RELATIONS:
        assert set(relation.columns) <= canonical.keys()
        assert len(relation.columns) == (4 if relation.kind == "sum" else 3)


# --- a file that is not what it seems -----------------------------------------------------------------------


def test_a_few_rows_that_contradict_themselves_cost_themselves_alone(tmp_path, table):
    path = written(tmp_path / "flows.csv", changed(table, slice(5, 7), ["flow_bytes_per_s"], lambda r: repr(r * 2)))
    summary = label(path, tmp_path)
    assert (summary.contradiction, summary.rows["contradictory"]) == ("", 2)
    rows = list(csv.reader((tmp_path / "out.csv").open()))[1:]
    assert [i for i, row in enumerate(rows) if row[-4] == ""] == [5, 6]


def mixed_orders(table):
    numbers = [place(table, name) for name in CIC]
    order = list(range(len(table[0])))
    for i, other in zip(numbers, np.random.default_rng(0).permutation(numbers).tolist(), strict=True):
        order[i] = other
    return table + [[row[i] for i in order] for row in table[1:]]


CASES = {
    "seconds after microseconds": (
        lambda table: changed(table, slice(FLOWS // 2, None), TIMES, lambda t: repr(t / 1e6)),
        "some durations are in s, others are not",
    ),
    "minutes after microseconds": (
        lambda table: changed(table, slice(FLOWS // 2, None), TIMES, lambda t: repr(t / 6e7)),
        "some durations are in minutes, others are not",
    ),
    "gaps alone in milliseconds after microseconds": (
        lambda table: changed(table, slice(FLOWS // 2, None), TIMES[1:], lambda t: repr(t / 1e3)),
        "some inter-arrival times are in ms, others are not",
    ),
    "logarithms": (
        lambda table: changed(table, slice(None), MEASURED, lambda v: repr(math.log1p(max(v, 0)))),
        "logarithms",
    ),
    "min-max": (lambda table: scaled(table), "scaled to 0 … 1"),
    "points for thousands": (
        lambda table: changed(table, slice(None), TIMES, lambda t: f"{t:,.0f}".replace(",", ".")),
        "points for thousands",
    ),
    "one changed column": (
        lambda table: changed(table, slice(0, 60), ["fwd_packet_length_mean"], lambda v: repr(v * 100 + 9)),
        "some columns were changed after the meter wrote them, those of times not",
    ),
    "another order of columns": (mixed_orders, "columns are mixed up"),
}


def scaled(table):
    table = [list(row) for row in table]
    for i in (place(table, name) for name in MEASURED):
        values = np.nan_to_num(np.array([float(row[i]) for row in table[1:]]), posinf=0)
        span = np.ptp(values) or 1
        for row, value in zip(table[1:], (values - values.min()) / span, strict=True):
            row[i] = repr(float(value))
    return table


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_many_says_what_probably_happened_and_is_written_all_the_same(tmp_path, table, case):
    make, cause = CASES[case]
    made = make(table)
    summary = label(written(tmp_path / "flows.csv", made), tmp_path)
    assert cause in summary.contradiction
    rows = list(csv.reader((tmp_path / "out.csv").open()))[1:]
    assert len(rows) == len(made) - 1
    unlabelled = sum(row[-4] == "" for row in rows)
    assert unlabelled == summary.rows["contradictory"] + summary.rows["not_a_number"] > FLOWS // 10


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "ms"), (1e-6, "s"), (1e3, "ns")])
def test_gaps_in_two_units_are_named_where_packets_are_not_counted(tmp_path, table, factor, unit):
    rows = changed(table, slice(FLOWS // 2, None), TIMES[1:], lambda time: repr(time * factor))
    counts = {place(rows, name) for name in ("fwd_packets", "bwd_packets")}
    rows = [[cell for i, cell in enumerate(row) if i not in counts] for row in rows]
    with FlowFile(written(tmp_path / "flows.csv", rows)) as file:
        list(file.batches(["flow_duration"]))
        assert f"some inter-arrival times are in {unit}, others are not" in file.contradiction()


def test_such_a_file_trains_and_scores_nothing(tmp_path, table):
    path = written(tmp_path / "flows.csv", changed(table, slice(200, None), TIMES, lambda t: repr(t / 1e6)))
    with pytest.raises(FlowsError, match="contradict themselves"):
        read_labelled(path)
