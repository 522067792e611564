"""A table's rows are read and checked as those of a text file, whatever holds the columns."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import CONTRADICTION, NOT_A_NUMBER, OK
from etcc_edge.flows.table import BATCH_ROWS, ArrayTable, TableFlows
from etcc_edge.flows.text.reader import FlowFile

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
CELLS = ("1", "10", "0.001", "-1", "-2.5", "1000000", "", "?", "9 pkt", "1e3x", "x", "1e400", "0")
FEATURES = ("flow_duration", "flow_iat_mean", "flow_iat_max")


def flows_of(columns: dict[str, Any]) -> TableFlows:
    arrays = [np.asarray(column) for column in columns.values()]
    return TableFlows(ArrayTable("table", list(columns), arrays.__getitem__))


def columns(rows: int = 4) -> dict[str, Any]:
    gap = np.arange(1.0, rows + 1)
    return {
        "duration": 10 * gap,
        "flowPktsPerSecond": 1e6 / gap,
        "mean_flowiat": gap,
        "max_flowiat": gap,
        "min_flowiat": gap,
    }


def test_a_table_of_texts_is_read_as_its_file() -> None:
    with FlowFile(GENERATED) as file:
        features = list(file.reading.columns)
        [expected] = file.batches(features, range(len(file.columns)))
        cells = [expected.text(i) for i in range(len(file.columns))]
        arrays = [np.array(column, object) for column in cells]
    with TableFlows(ArrayTable("table", file.cells, arrays.__getitem__)) as flows:
        [batch] = flows.batches(features, range(len(file.columns)))
        assert flows.reading == file.reading
        assert (flows.identifiers, flows.relations) == (file.identifiers, file.relations)
        assert vars(flows.counts) == vars(file.counts)
    np.testing.assert_array_equal(batch.features, expected.features)
    assert [batch.text(i) for i in range(len(cells))] == cells
    assert len(set(batch.row_bytes())) == len(set(expected.row_bytes()))


def test_each_row_has_the_status_that_a_text_file_gives_it() -> None:
    table = columns(5)
    table["max_flowiat"] = np.array([1.0, "x", "", 0.5, "?"], object)
    with flows_of(table) as flows:
        [batch] = flows.batches(FEATURES)
        assert batch.status.tolist() == [OK, NOT_A_NUMBER, OK, CONTRADICTION, OK]
        assert np.isnan(batch.features[:, 2]).tolist() == [False, True, True, False, True]
        counts = flows.counts
    assert (counts.rows, counts.not_a_number, counts.contradictory, counts.with_missing_values) == (5, 1, 1, 2)


@pytest.mark.parametrize(
    ("cell", "words"),
    [("x", "row 3: column 'max_flowiat' holds a cell that is not a number"), ("0.5", "row 3: contradicts itself: min")],
)
def test_strict_stops_at_the_first_row_without_labels(cell: str, words: str) -> None:
    table = columns()
    table["max_flowiat"] = np.array([1, 2, cell, 4], object)
    with flows_of(table) as flows, pytest.raises(FlowsError, match=f"^table: {words}"):
        list(flows.batches(FEATURES, strict=True))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(CELLS)] * 5), min_size=1, max_size=20), st.sampled_from(["us", "ms", "s"]))
def test_a_table_and_a_file_of_the_same_cells_give_the_same_rows(rows: list[tuple[str, ...]], unit: str) -> None:
    factor = {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]
    known = [f"{value:g}" for value in (10 / factor, 1e6, 1 / factor, 1 / factor, 1 / factor)]
    table = [known, *rows]  # the first tells the unit, mostly
    names = list(columns())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.csv"
        path.write_text("\n".join(map(",".join, [names, *table])) + "\n")
        with FlowFile(path) as file:
            [expected] = file.batches(["flow_iat_max"])
    cells = np.array(table, object)
    with flows_of({name: cells[:, i] for i, name in enumerate(names)}) as flows:
        [batch] = flows.batches(["flow_iat_max"])
        assert (flows.reading.factors, vars(flows.counts)) == (file.reading.factors, vars(file.counts))
    np.testing.assert_array_equal(batch.features, expected.features)
    assert batch.status.tolist() == expected.status.tolist()


def test_many_rows_come_in_several_batches_with_their_numbers() -> None:
    with flows_of(columns(2 * BATCH_ROWS + 1)) as flows:
        batches = list(flows.batches(FEATURES))
        assert [(batch.first, len(batch)) for batch in batches] == [
            (0, BATCH_ROWS),
            (BATCH_ROWS, BATCH_ROWS),
            (2 * BATCH_ROWS, 1),
        ]
        assert (
            np.concatenate([batch.features for batch in batches])[:, 1].tolist()
            == columns(2 * BATCH_ROWS + 1)["mean_flowiat"].tolist()
        )


def test_a_time_unit_is_told_by_the_values() -> None:
    in_seconds = columns()
    for name in ("duration", "mean_flowiat", "max_flowiat", "min_flowiat"):
        in_seconds[name] = in_seconds[name] / 1e6
    with flows_of(in_seconds) as flows:
        assert flows.reading.time_unit == "s"
        [batch] = flows.batches(FEATURES)
    assert np.allclose(batch.features[:, 0], columns()["duration"])


def test_texts_of_any_type_are_those_of_a_file() -> None:
    times = np.array(["2017-07-05T10:00:00", "NaT", "2017-07-05", "2018-01-01"], "datetime64[us]")
    cells = np.array(["a", None, b"b", float("nan")], object)
    with flows_of({**columns(), "Timestamp": times, "Flow ID": cells, "n": np.arange(4)}) as flows:
        [batch] = flows.batches(FEATURES, [5, 6, 7])
    assert batch.text(0) == [
        "2017-07-05T10:00:00.000000",
        "",
        "2017-07-05T00:00:00.000000",
        "2018-01-01T00:00:00.000000",
    ]
    assert batch.text(1) == ["a", "", "b", ""]
    assert batch.text(2) == ["0", "1", "2", "3"]


# --- the core ------------------------------------------------------------------------------------------------


def read(values: Any, n: int, validity: Any = None, offset: int = 0, wrong: Any = None, factor: float = 1.0) -> Any:
    features, status, fault = np.empty((n, 1), np.float32), np.empty(n, np.uint8), np.empty(n, np.int32)
    _native.read_columns([(values, validity, offset, wrong, factor)], [], features, status, fault)
    return features[:, 0]


def test_a_value_is_multiplied_before_it_is_rounded() -> None:
    values = np.array([1 / 3, 1e35, -1e35, np.inf, 5e-324])
    expected = (values * 1e3).astype(np.float32)
    np.testing.assert_array_equal(read(values, 5, factor=1e3), np.where(np.isfinite(expected), expected, np.nan))


@pytest.mark.parametrize("type_", ["f4", "f8", "i1", "i2", "i4", "i8"])
def test_minus_one_means_none_in_any_unit(type_: str) -> None:
    values = np.array([-1, 2, -3] * 50).astype(type_)
    assert read(values, 150, factor=1e3).tolist() == [-1, 2000, -3000] * 50
    assert read(values[::3], 50, factor=1e3).tolist() == [-1] * 50


@pytest.mark.parametrize("n", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("offset", [0, 3, 8])
def test_rows_without_value_are_those_whose_bit_is_0(n: int, offset: int) -> None:
    present = np.random.default_rng(n).random(n + offset) < 0.5
    validity = np.packbits(present, bitorder="little")
    values = read(np.arange(n, dtype=np.int64), n, validity, offset)
    np.testing.assert_array_equal(values, np.where(present[offset:], np.arange(n), np.nan))


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="columns differ in rows"):
        read(np.zeros(3), 4)
    with pytest.raises(ValueError, match="columns differ in rows"):
        read(np.zeros(9), 9, np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="columns differ in rows"):
        read(np.zeros(2), 2, None, 0, np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="a column of numbers is"):
        read(np.zeros(2, bool), 2)
    with pytest.raises(ValueError, match="beyond the others"):
        _native.read_columns(
            [(np.zeros(2), None, 0, None, 1.0)],
            [("order", [0, 0, 1])],
            np.empty((2, 1), np.float32),
            np.empty(2, np.uint8),
            np.empty(2, np.int32),
        )


def test_cells_of_text_are_parsed_as_in_a_file() -> None:
    data = b'1.5 +2"7"x?9 pkt1e4001e400x'
    ends = np.array([0, 3, 6, 9, 10, 11, 11, 16, 21, 27])
    numbers, wrong = _native.parse_cells(np.frombuffer(data, np.uint8), ends)
    np.testing.assert_array_equal(numbers, [1.5, 2, 7, np.nan, np.nan, np.nan, np.nan, np.inf, np.nan])
    assert wrong.tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 1]
    for ends in ([0, 99], [3, 1], [-1, 1], []):
        with pytest.raises(ValueError, match=r"text|ends"):
            _native.parse_cells(np.frombuffer(data, np.uint8), np.array(ends, np.int64))


def test_cells_are_gathered_without_quotes_and_blanks() -> None:
    block = b'a, "b ""c""" ,,"d"'
    spans = np.array([[[0, 1], [2, 13]], [[14, 14], [15, 18]]], np.int64)
    for place, expected in ((0, [b"a", b""]), (1, [b'b "c"', b"d"])):
        data, ends = _native.gather_cells(block, spans, place)
        assert [data.tobytes()[a:b] for a, b in pairwise(ends.tolist())] == expected
    with pytest.raises(ValueError, match="texts must be"):
        _native.gather_cells(block, spans, 2)
    with pytest.raises(IndexError):
        _native.gather_cells(block[:5], spans, 1)
