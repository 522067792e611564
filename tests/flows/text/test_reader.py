from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.text import reader
from etcc_edge.flows.text.reader import LONG, NOT_A_NUMBER, OK, SHORT, FlowFile

HEADER = b"duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat,note\n"
ROW = b"1000000,800,2,1000000,1000000,1000000,a\n"  # microseconds, by its rate
FEATURES = ("flow_duration", "flow_bytes_per_s")
NOTE = 6
PROPERTY = settings(max_examples=150, derandomize=True, deadline=None)


@pytest.fixture
def opened(tmp_path) -> Iterator[Callable[[bytes], FlowFile]]:
    """Opens these bytes as a flows file."""
    with ExitStack() as files:

        def opened(data: bytes, name: str = "f.csv") -> FlowFile:
            (tmp_path / name).write_bytes(data)
            return files.enter_context(FlowFile(tmp_path / name))

        yield opened


def cut_into_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Makes the reader take so many bytes at once, the header among them."""
    monkeypatch.setattr(reader, "_START_BYTES", size)
    monkeypatch.setattr(reader, "_BLOCK_BYTES", size)


# --- numbers ------------------------------------------------------------------------------------------------


def number(cell: bytes, factor: float = 1.0) -> float | None:
    """A cell as the parser reads it; None where it is no number."""
    parser = _native.RowParser(width=2, numbers=[(1, factor)], texts=[], header=b"")
    rows = parser.parse(b"x," + cell, last=True)
    return None if rows["status"][0] == NOT_A_NUMBER else float(rows["features"][0, 0])


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (b"7", 7),
        (b"-1", -1),
        (b"+5", 5),
        (b"-0", 0),
        (b".5", 0.5),
        (b"5.", 5),
        (b"1e3", 1000),
        (b"1.5E+2", 150),
        (b"25e-1", 2.5),
        (b"16777217", 16777216),  # rounds to even, as float32 does
        (b"3.4028234e38", np.finfo(np.float32).max),
        (b"1e-40", np.float32(1e-40)),
        (b"1e-45", np.finfo(np.float32).smallest_subnormal),
        (b"5e-324", 0),
        (b"1e-400", 0),
        (b" 7\t", 7),
        (b'"7"', 7),
        (b' " 7 " ', 7),
    ],
)
def test_a_decimal_number_is_read_as_float32(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize(
    "cell",
    [
        b"",
        b" ",
        b'""',
        b"?",
        b"NaN",
        b"nan",
        b"Infinity",
        b"-Infinity",
        b"inf",
        b"+INF",
        b"1e400",
        b"-1e400",
        b"3.5e38",
    ],
)
def test_a_cell_without_a_finite_float32_is_no_value(cell):
    assert np.isnan(number(cell))


@pytest.mark.parametrize(
    "cell",
    [
        b"abc",
        b"0x1f",
        b"1e",
        b"--1",
        b"+-1",
        b"-+1",
        b"++1",
        b"+",
        b"-",
        b"1 2",
        b"1_000",
        b'"1,5"',
        b"null",
        b"1.2.3",
    ],
)
def test_text_is_no_number(cell):
    assert number(cell) is None


def numbers(cells: list[bytes], factor: float, instruction_set: str) -> list[float | None]:
    """The same of many cells, which are no quoted ones, in rows that follow each other."""
    parser = _native.RowParser(2, [(1, factor)], [], header=b"", instruction_set=instruction_set)
    rows = parser.parse(b"".join(b"x,%b\n" % cell for cell in cells), last=True)
    pairs = zip(rows["status"], rows["features"][:, 0].tolist(), strict=True)
    return [None if status == NOT_A_NUMBER else value for status, value in pairs]


DIGITS = st.from_regex(rb"-?[0-9]{0,18}(\.[0-9]{0,18})?", fullmatch=True)
NEARLY_DIGITS = st.text("0019.-+eE /:", max_size=20).map(str.encode)
ODD_BYTES = st.binary(max_size=18).map(lambda cell: bytes(byte for byte in cell if byte not in b'",\r\n'))
EXTREMES = (b"-", b".", b"-.", b"5.", b"-0", b"--1", b"1..2", b"9007199254740992", b"9007199254740993", b"9" * 16)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@PROPERTY
@given(
    st.lists(DIGITS | NEARLY_DIGITS | ODD_BYTES | st.sampled_from(EXTREMES), min_size=30, max_size=30),
    st.sampled_from([1.0, 1e6, 1e-3, 1e300]),
)
def test_a_number_is_the_same_however_it_is_read(instruction_set, cells, factor):
    """Quoted cells are read one by one, others in vectors."""
    exact = [number(b'"%b"' % cell, factor) for cell in cells]
    assert list(map(repr, numbers(cells, factor, instruction_set))) == list(map(repr, exact))


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@pytest.mark.parametrize("cell", [b"-1", b"-1.0", b"-1.000000000000000000000", b"-1e0", b" -1 "])
def test_minus_one_means_none_in_any_unit(instruction_set, cell):
    assert numbers([cell] * 40, 1e6, instruction_set) == [-1] * 40
    assert numbers([b"-1.5", b"1", b"-0.1"] * 40, 1e3, instruction_set) == [-1500, 1000, -100] * 40


def test_a_number_is_scaled_before_it_is_rounded():
    assert number(b"0.1", 1e6) == 100_000
    assert number(b"1e-330", 1e6) == 0
    assert np.isnan(number(b"1e35", 1e6))


# --- rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        HEADER + ROW * 2,
        (HEADER + ROW * 2).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + HEADER + ROW * 2,
        (HEADER + ROW * 2).removesuffix(b"\n"),
        HEADER + b"\n" + ROW + b" \t\r\n" + ROW + b"\n\n",
        HEADER + ROW + HEADER + ROW,
        (b"\xef\xbb\xbf" + HEADER + ROW) * 2,
        HEADER + ROW + b"\xef\xbb\xbf" + HEADER + ROW,
        gzip.compress(HEADER + ROW * 2),
    ],
    ids=[
        *("LF", "CRLF", "BOM", "no final newline", "blank lines"),
        *("repeated header", "BOM twice", "repeated header with BOM", "gzip"),
    ],
)
def test_two_flows_are_two_flows_however_the_file_is_written(opened, data):
    [batch] = opened(data).batches(FEATURES, [NOTE], strict=True)
    assert batch.features.tolist() == [[1e6, 800], [1e6, 800]]
    assert batch.row_bytes() == [ROW.rstrip()] * 2
    assert batch.text(0) == ["a", "a"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("first", [b"", b"note,", b"an unknown name,", b'"'], ids=["known", "own", "unknown", "quoted"])
def test_a_second_header_with_other_columns_is_an_error(opened, mark, first):
    names = HEADER.strip().removesuffix(b",note").split(b",")
    other = first + b",".join(names[::-1]) + (b"" if first.endswith(b",") else b",note")
    if first == b'"':
        other = other.replace(b",", b'","') + first
    file = opened(mark + HEADER + ROW + mark + other + b"\n" + ROW)
    with pytest.raises(FlowsError, match=r"f\.csv:3: is a second header, with other columns than the first"):
        list(file.batches(FEATURES))


def test_features_come_in_the_order_asked_for(opened):
    [batch] = opened(HEADER + ROW).batches(["flow_bytes_per_s", "flow_duration"])
    assert batch.features.dtype == np.float32
    assert batch.features.tolist() == [[800, 1e6]]


def test_a_quoted_cell_may_hold_commas_quotes_and_line_ends(opened):
    quoted = ROW.replace(b"a", b'"a, ""b""\r\n\nc"')
    [batch] = opened(HEADER + quoted + ROW).batches(FEATURES, [NOTE])
    assert batch.text(0) == ['a, "b"\r\n\nc', "a"]
    assert batch.row_bytes()[0] == quoted.rstrip()


def test_lines_are_those_of_the_file(opened):
    [batch] = opened(b"\n" + HEADER + ROW + b"\n" + ROW.replace(b"a", b'"a\nb"') + HEADER + ROW).batches(FEATURES)
    assert batch.line.tolist() == [3, 5, 8]


def test_minus_one_is_a_value(opened):
    [batch] = opened(HEADER + ROW + b"-1,-1,-1,-1,-1,-1,a\n").batches(FEATURES)
    assert batch.features[1].tolist() == [-1, -1]


def test_an_empty_or_infinite_cell_is_a_missing_value_of_a_good_row(opened):
    file = opened(HEADER + ROW + b",NaN,2,1,1,1,a\nInfinity,1,2,1,1,1,a\n1,1,Infinity,1,1,1,a\n")
    [batch] = file.batches(FEATURES)
    assert np.isnan(batch.features[1:]).tolist() == [[True, True], [True, False], [False, False]]
    assert batch.status.tolist() == [OK] * 4
    assert file.counts.with_missing_values == 2


@pytest.mark.parametrize(
    ("row", "status", "cells"),
    [
        (b"1,2,3\n", SHORT, 3),
        (b"1,2,3,4,5,6,7,8\n", LONG, 8),
        (b"1,many,3,4,5,6,a\n", NOT_A_NUMBER, 7),
        (b"x,2,3\n", SHORT, 3),
        (b"x,2,3,4,5,6,7,\n", LONG, 8),
    ],
)
def test_a_bad_row_keeps_its_place_and_says_why(opened, row, status, cells):
    [batch] = opened(HEADER + ROW + row + ROW).batches(FEATURES)
    assert batch.status.tolist() == [OK, status, OK]
    assert batch.cells.tolist() == [7, cells, 7]


def test_a_long_row_ends_where_the_headers_width_ends(opened):
    [batch] = opened(HEADER + b"1,2,3,4,5,6,7,8,9\n").batches(FEATURES)
    assert batch.row_bytes() == [b"1,2,3,4,5,6,7"]


def test_text_matters_only_in_columns_that_are_asked_for(opened):
    file = opened(HEADER + ROW.replace(b"800", b"many"))
    [batch] = file.batches(["flow_duration"], strict=True)
    assert batch.status.tolist() == [OK]


def test_everything_that_was_met_is_counted(opened):
    text = ROW.replace(b"800", b"many")
    file = opened(HEADER + ROW + b"1\n\n" + text + HEADER + ROW.replace(b"800", b"") + b"1,2,3,4,5,6,7,8\n\n" + ROW)
    assert sum(map(len, file.batches(FEATURES))) == 6
    assert vars(file.counts) == {
        "rows": 6,
        "short": 1,
        "long": 1,
        "not_a_number": 1,
        "stray_quote": 0,
        "contradictory": 0,
        "with_missing_values": 1,
        "blank_lines": 2,
        "repeated_headers": 1,
    }


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (b"1,2\n", "has 2 cells where the header has 7"),
        (b"1,2,3,4,5,6,7,8\n", "has 8 cells where the header has 7"),
        (ROW.replace(b"800", b"many"), "column 'flowBytesPerSecond' holds a cell that is not a number"),
    ],
)
def test_strict_stops_at_the_first_bad_row_and_names_its_line(opened, row, complaint):
    with pytest.raises(FlowsError, match=rf"f\.csv:4: {complaint}; mend it, or leave out --strict"):
        list(opened(HEADER + ROW + b"\n" + row + ROW).batches(FEATURES, strict=True))


def test_arff_rows_are_read_past_comments_and_unknown_values(opened):
    names = HEADER.decode().rstrip().split(",")
    arff = "".join(f"@attribute '{name}' numeric\n" for name in names) + "% rows\n@data\n"
    file = opened(arff.encode() + b"% first\n" + ROW + b"?,800,2,?,?,?,a\n", "f.arff")
    [batch] = file.batches(FEATURES, strict=True)
    np.testing.assert_array_equal(batch.features, [[1e6, 800], [np.nan, 800]])
    assert file.counts.blank_lines == 1


def test_a_percent_sign_is_no_comment_in_csv(opened):
    [batch] = opened(HEADER + b"%1,2,3,4,5,6,a\n").batches(FEATURES)
    assert batch.status.tolist() == [NOT_A_NUMBER]


# --- rows without end ---------------------------------------------------------------------------------------


STRAY = ROW.replace(b"a", b'"a')


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (ROW + STRAY + ROW, [0, 4, 0]),
        (STRAY, [4]),
        (STRAY.rstrip(), [4]),
        (ROW + STRAY + ROW * 20 + STRAY + ROW, [0, 4, *[0] * 20, 4, 0]),
        (ROW.replace(b"a", b'"a"b') + ROW, [4, 0]),
        (ROW.replace(b"a", b'"a" ') + ROW, [0, 0]),
    ],
    ids=["in the middle", "at the end", "no final newline", "two", "text after it", "blanks after it"],
)
def test_a_stray_quote_costs_its_own_line_only(opened, rows, status):
    file = opened(HEADER + rows)
    batches = list(file.batches(FEATURES))
    assert [int(s) for batch in batches for s in batch.status] == status
    assert [row for batch in batches for row in batch.row_bytes()] == rows.splitlines()
    assert file.counts.stray_quote == status.count(4)


def test_strict_names_a_stray_quotes_line(opened):
    with pytest.raises(FlowsError, match=r"f\.csv:3: a quote does not close here, or text follows it"):
        list(opened(HEADER + ROW + STRAY + ROW).batches(FEATURES, strict=True))


@pytest.mark.parametrize("before", [b"", ROW * 80_000], ids=["in the first block", "across blocks"])
def test_a_quote_that_closes_beyond_a_mebibyte_swallows_no_rows(opened, before):
    file = opened(HEADER + before + STRAY + ROW * 40_000 + b'"' + ROW)
    rows = sum(len(batch) for batch in file.batches(FEATURES))
    assert rows == len(before) // len(ROW) + 40_002
    assert file.counts.stray_quote == 2


def test_a_batch_has_a_bounded_number_of_rows(opened):
    file = opened(HEADER + b"1\n" * 100_000)
    sizes = [len(batch) for batch in file.batches(FEATURES)]
    assert sum(sizes) == 100_000
    assert max(sizes) == _native.MAX_ROWS


@pytest.mark.parametrize("size", [3 << 19, 6 << 20], ids=["1.5 MiB", "6 MiB"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\n" + ROW], ids=["last", "last line", "in the middle"])
def test_a_row_longer_than_a_mebibyte_is_an_error(opened, size, after):
    with pytest.raises(FlowsError, match=r"f\.csv: line 3 is longer than 1 MiB"):
        list(opened(HEADER + ROW + ROW.rstrip() + b"a" * size + after).batches(FEATURES))


# --- whole files --------------------------------------------------------------------------------------------


def test_a_header_alone_has_no_flows(opened):
    file = opened(HEADER)
    assert list(file.batches(FEATURES)) == []
    assert file.counts.rows == 0


@pytest.mark.parametrize("data", [b"a,b,c\n1,2,3\n", b"\x89ABC\r\n\x1a\n\0\0\0\rIHDR", ROW, b"# note\n" + HEADER])
def test_a_file_without_a_known_header_is_no_flows_file(opened, data):
    with pytest.raises(FlowsError, match=r"f\.csv:1: is not the header of a known meter \(it starts '"):
        opened(data)


def test_a_missing_feature_is_named_with_the_nearest_column(opened):
    file = opened(HEADER.replace(b"max_flowiat", b"Max_FlowIATs") + ROW)
    assert file.missing_features(["flow_iat_max", "flow_duration"]) == ["flow_iat_max"]
    with pytest.raises(FlowsError, match=r"f\.csv:1: lacks flow_iat_max \(nearest column: 'Max_FlowIATs'\)$"):
        list(file.batches(["flow_duration", "flow_iat_max"]))


def test_a_feature_without_a_name_in_the_dialect_is_named_alone(opened):
    with pytest.raises(FlowsError, match=r"f\.csv:1: lacks src_port$"):
        list(opened(HEADER + ROW).batches(["src_port"]))


def test_a_feature_that_its_meter_spoils_is_named_with_the_reason(opened):
    header = b"Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,Flow Byts/s,Flow Pkts/s,Idle Mean\n"
    with pytest.raises(FlowsError, match=r"lacks idle_mean \(this meter writes absolute capture times there\)"):
        list(opened(header).batches(["idle_mean"]))


def test_many_missing_features_are_counted(opened):
    with pytest.raises(FlowsError, match=r"and 2 more of 6 features$"):
        list(opened(HEADER).batches([f"{way}_iat_{part}" for way in ("fwd", "bwd") for part in ("min", "max", "std")]))


def test_a_column_is_found_by_name_and_the_second_of_a_name_by_its_number(opened):
    file = opened(HEADER.replace(b"note", b"Label, Label") + ROW)
    assert [file.column_index(name) for name in ("Label", "label.1", "DURATION")] == [6, 7, 0]


def test_an_unknown_column_is_named_with_the_nearest(opened):
    with pytest.raises(FlowsError, match=r"f\.csv:1: has no column 'notes'; the nearest is 'note'"):
        opened(HEADER + ROW).column_index("notes")


@pytest.mark.parametrize("end", [b"\n", b""], ids=["newline", "no final newline"])
def test_times_in_seconds_become_microseconds_even_of_a_single_flow(opened, end):
    file = opened(HEADER + b"1.5,800,4,0.3,0.5,0.1,a" + end)
    [batch] = file.batches(["flow_duration", "flow_iat_mean", "flow_packets_per_s"])
    assert file.reading.time_unit == "s"
    assert batch.features.tolist() == [[1_500_000, 300_000, 4]]


def test_gzip_that_is_cut_short_is_an_error_after_the_rows_before_the_cut(opened, monkeypatch):
    cut_into_blocks(monkeypatch, 500)
    packed = gzip.compress(HEADER + b"".join(ROW.replace(b"a", b"%d" % i) for i in range(1000)))
    batches = opened(packed[:-200]).batches(FEATURES)
    assert len(next(batches)) > 0
    with pytest.raises(FlowsError, match=r"f\.csv: cannot be read to its end: .* damaged or cut short"):
        list(batches)


# --- blocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [len(HEADER), 97, 128, 500])
def test_rows_are_the_same_wherever_the_blocks_are_cut(opened, monkeypatch, block):
    rows = [ROW, ROW.replace(b"a", b'"a\r\n""b"""'), b"\r\n", b"1,2\n", HEADER, ROW.replace(b"\n", b"\r\n")]
    data = HEADER + b"".join(rows * 5) + ROW.rstrip()

    def read() -> tuple[list[object], object]:
        file = opened(data)
        batches = list(file.batches(FEATURES, [NOTE]))
        columns = [
            [item for batch in batches for item in column(batch)]
            for column in (
                lambda batch: batch.features.tolist(),
                lambda batch: batch.row_bytes(),
                lambda batch: batch.text(0),
                lambda batch: batch.line.tolist(),
            )
        ]
        return columns, file.counts

    whole = read()
    cut_into_blocks(monkeypatch, block)
    assert read() == whole


@pytest.mark.parametrize("rows", [ROW, ROW.replace(b"a", b'"a\n"')], ids=["plain", "quoted"])
def test_batches_may_be_parsed_in_any_order_and_in_several_threads(opened, monkeypatch, rows):
    cut_into_blocks(monkeypatch, 500)
    data = HEADER + b"".join(rows.replace(b"800", b"%d" % i) for i in range(1000))
    expected = list(opened(data).batches(FEATURES))
    file = opened(data)
    calls = list(file.unparsed_batches(FEATURES))
    with ThreadPoolExecutor(4) as pool:
        batches = [batch for batch in reversed(list(pool.map(lambda call: call(), reversed(calls)))) if len(batch)]
    assert [batch.features.tolist() for batch in batches] == [batch.features.tolist() for batch in expected]
    assert [batch.line.tolist() for batch in batches] == [batch.line.tolist() for batch in expected]
    assert file.counts.rows == 1000


WIDE_ROWS = st.lists(st.lists(st.integers(0, 40), min_size=85, max_size=95), min_size=1, max_size=5)


@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
@PROPERTY
@given(WIDE_ROWS, st.sampled_from([0, 3, 84]))
def test_cells_of_wide_rows_are_found(instruction_set, rows, asked):
    """A cell of n characters holds its place in the row and blanks, or nothing."""
    cells = [[b"%*d" % (n, i) if n > 2 else b"" for i, n in enumerate(row)] for row in rows]
    parser = _native.RowParser(85, [(asked, 1.0)], [84], header=b"", instruction_set=instruction_set)
    lines = [b",".join(row) for row in cells]
    block = b"\n".join(lines)
    parsed = parser.parse(block, last=True)
    assert parsed["cells"].tolist() == list(map(len, rows))
    assert [block[begin:end] for begin, end in parsed["spans"]] == [b",".join(row[:85]) for row in cells]
    assert [block[begin:end] for begin, end in parsed["texts"][:, 0]] == [row[84] for row in cells]
    expected = [float(row[asked]) if row[asked] else np.nan for row in cells]
    np.testing.assert_array_equal(parsed["features"][:, 0], expected)


def parse(*pieces: bytes, instruction_set: str = "") -> object:
    """All rows of the data given to a parser in pieces, or the message of its error."""
    parser = _native.RowParser(2, [(0, 1.0)], [1], header=b"a,1", comment="%", instruction_set=instruction_set)
    flows: list[object] = []
    blank_lines = repeated_headers = 0
    line = 1
    rest = b""
    try:
        for i, piece in enumerate(pieces, start=1):
            block = rest + piece
            rows = parser.parse(block, last=i == len(pieces), first_line=line)
            line += rows["lines"]
            rest = block[rows["consumed"] :]
            blank_lines += rows["blank_lines"]
            repeated_headers += rows["repeated_headers"]
            spans = [block[begin:end] for begin, end in rows["spans"].tolist()]
            texts = [block[begin:end] for begin, end in rows["texts"][:, 0].tolist()]
            values = map(repr, rows["features"][:, 0].tolist())
            rest_of = (rows[key].tolist() for key in ("status", "cells", "line", "fault"))
            flows += zip(values, spans, texts, *rest_of, strict=True)
    except _native.UnreadableRow as error:
        return str(error)
    return flows, blank_lines, repeated_headers


@settings(PROPERTY, max_examples=500)
@given(st.text('",\n\r a1%', max_size=40).map(str.encode), st.lists(st.integers(0, 40), max_size=6))
def test_any_cut_of_the_bytes_gives_the_rows_of_one_parse(data, cuts):
    bounds = [0, *sorted(cuts), max([len(data), *cuts])]
    whole = parse(data)
    for instruction_set in _native.instruction_sets():
        assert parse(*(data[begin:end] for begin, end in pairwise(bounds)), instruction_set=instruction_set) == whole


# --- against other readers ----------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.floats(width=32).map("{:.9e}".format),
    st.integers(-(10**30), 10**30).map("{:+d}".format),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-1", "1e400", "1e-400", "0x1f", "text", "1e", "?x", "."]),
)
PADDED = st.builds("{}{}{}".format, st.sampled_from(["", " ", "\t "]), NUMBERS, st.sampled_from(["", " "]))
TEXTS = st.text('ab ,"\n', max_size=6)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


CELLS = st.one_of(PADDED, PADDED.map(quoted), TEXTS.map(quoted), st.just(""))
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=5).map(",".join), max_size=8)


@PROPERTY
@given(TABLES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_rows_are_those_of_pythons_csv_module_and_numbers_those_of_float(rows, line_end, ended):
    text = line_end.join(rows) + line_end * ended
    parser = _native.RowParser(width=3, numbers=[(0, 1.0), (2, 1.0)], texts=[1], header=b"")
    parsed = parser.parse(text.encode(), last=True)
    expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert parsed["cells"].tolist() == [len(row) for row in expected]
    for row, status, features in zip(expected, parsed["status"], parsed["features"], strict=True):
        if len(row) != 3:
            assert status == (SHORT if len(row) < 3 else LONG)
            continue
        values = [as_float32(row[0]), as_float32(row[2])]
        assert status == (NOT_A_NUMBER if None in values else OK)
        if status == OK:
            np.testing.assert_array_equal(features, values)


def as_float32(cell: str) -> np.float32 | None:
    """Python's float, without what is infinite."""
    if not cell.strip(" \t"):
        return np.float32(np.nan)
    try:
        with np.errstate(over="ignore"):
            value = np.float32(float(cell))
    except ValueError:
        return None
    return value if np.isfinite(value) else np.float32(np.nan)


def test_real_flows_are_read_as_pandas_reads_them(real_flows):
    pd = pytest.importorskip("pandas")
    path = real_flows / "cicdarknet2020-part" / "flows.csv"
    table = pd.read_csv(path)
    with FlowFile(path) as file:
        names = list(file.reading.columns)
        labels = [file.column_index("Label"), file.column_index("Label.1")]
        batches = list(file.batches(names, labels, strict=True))
    values = table.iloc[:, [file.reading.columns[name] for name in names]].to_numpy(np.float64)
    values[np.isinf(values)] = np.nan
    np.testing.assert_array_equal(np.concatenate([batch.features for batch in batches]), values.astype(np.float32))
    for i, column in enumerate(["Label", "Label.1"]):
        assert [text for batch in batches for text in batch.text(i)] == table[column].tolist()


# --- headers that contradict the file -----------------------------------------------------------------------


def test_two_columns_of_one_needed_name_are_an_error_that_names_both(tmp_path):
    header = HEADER_OF_V4 + ",Flow Duration"
    path = tmp_path / "flows.csv"
    path.write_text(header + "\n" + ",".join(["1"] * (header.count(",") + 1)) + "\n")
    with FlowFile(path) as file:
        assert file.lack(["fwd_packets"]) == ""
        with pytest.raises(
            FlowsError, match=r"'Flow Duration' \(column 2\) and 'Flow Duration' \(column 7\) could both"
        ):
            file.lack(["flow_duration"])


HEADER_OF_V4 = "Protocol,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,Flow Pkts/s,Flow Byts/s"


@pytest.mark.parametrize(
    "second",
    [
        "Flow Duration,Protocol,Tot Fwd Pkts,Tot Bwd Pkts,Flow Pkts/s,Flow Byts/s",
        '"Flow Duration","Protocol","Tot Fwd Pkts","Tot Bwd Pkts","Flow Pkts/s","Flow Byts/s"',
        "Protocol,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,Flow Pkts/s,Flow Byts/s,Label",
        "Tot Bwd Pkts,Protocol,Flow Duration,Tot Fwd Pkts,Flow Pkts/s",
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_a_second_header_of_other_columns_ends_the_reading(tmp_path, second, strict):
    path = tmp_path / "flows.csv"
    path.write_text("\n".join([HEADER_OF_V4, "6,2000000,6,4,5,9", second, "2000000,6,6,4,5,9", ""]))
    with FlowFile(path) as file, pytest.raises(FlowsError, match=r"flows.csv:3: .*"):
        list(file.batches(["flow_duration", "ip_protocol"], strict=strict))


def test_a_row_of_text_that_is_no_header_costs_itself_alone(tmp_path):
    path = tmp_path / "flows.csv"
    path.write_text("\n".join([HEADER_OF_V4, "6,2000000,6,4,5,9", "protocol,a,b,c,d,e", "6,2000000,6,4,5,9", ""]))
    with FlowFile(path) as file:
        (batch,) = file.batches(["flow_duration"])
    assert batch.status.tolist() == [OK, NOT_A_NUMBER, OK]


@pytest.mark.parametrize("start", [b"", b"\n\n", b"@relation x\n"])
def test_a_header_that_does_not_end_is_refused(tmp_path, start):
    path = tmp_path / "flows.csv"
    path.write_bytes(start + (b"@attribute a numeric\n" if start[:1] == b"@" else b"Flow Duration,") * (3 << 17))
    with pytest.raises(FlowsError, match=r"flows.csv:\d+: the header does not end within 2 MiB"):
        FlowFile(path)
