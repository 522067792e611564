from __future__ import annotations

import csv
import gzip
import io
import os
import stat
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge._native as _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.labels import label_columns
from etcc_edge.flows.text.header import Header, read_header
from etcc_edge.flows.text.reader import TextBatch
from etcc_edge.flows.text.writer import LabelWriter, open_output

LEVELS = ("protocol", "application")
NAMES = (("Tor", "VPN"), ("Chat", "a, b"))


def parsed(data: bytes, texts: Sequence[int] = ()) -> tuple[Header, TextBatch]:
    """A table's header and its rows, without any features."""
    header = read_header(data, "f.csv")
    parser = _native.RowParser(len(header.cells), [], list(texts), header.line)
    block = data[header.end :]
    rows = parser.parse(block, last=True)
    columns = (rows[key] for key in ("features", "status", "spans", "cells", "line"))
    return header, TextBatch((), *columns, block, rows["texts"], rows["fault"])


def labelled(
    data: bytes,
    codes: list[list[int]],
    confidence: list[list[float]],
    known: list[int] | None = None,
    *,
    columns: Sequence[int] | None = None,
) -> bytes:
    out = io.BytesIO()
    header, batch = parsed(data, columns or ())
    writer = LabelWriter(out, header, LEVELS, NAMES, known=known is not None, columns=columns)
    judged = None if known is None else np.array(known, np.int8)
    writer.write(writer.format(batch, np.array(codes, np.int32), np.array(confidence, np.float32), judged))
    return out.getvalue()


# --- labelled rows ------------------------------------------------------------------------------------------


def test_each_level_adds_a_label_and_its_confidence_and_then_on_request_whether_the_flow_is_known():
    assert label_columns(LEVELS) == [
        "etcc_protocol",
        "etcc_protocol_confidence",
        "etcc_application",
        "etcc_application_confidence",
    ]
    assert label_columns(LEVELS, known=True) == [*label_columns(LEVELS), "etcc_known"]


@pytest.mark.parametrize("known", [True, False])
def test_a_batch_says_what_the_header_promised(known):
    header, batch = parsed(b"x,y\n1,2\n")
    writer = LabelWriter(io.BytesIO(), header, LEVELS, NAMES, known=known)
    codes, confidence = np.zeros((2, 1), np.int32), np.ones((2, 1), np.float32)
    with pytest.raises(ValueError, match="for all batches or for none"):
        writer.format(batch, codes, confidence, None if known else np.ones(1, np.int8))


@pytest.mark.parametrize(("known", "cell"), [(1, b"1"), (0, b"0"), (-1, b"")])
def test_whether_a_flow_is_known_is_the_last_cell(known, cell):
    assert labelled(b"x,y\n1,2\n", [[0], [0]], [[1], [1]], [known]).endswith(b",Chat,1.0000," + cell + b"\n")


def test_the_labels_follow_the_inputs_bytes():
    assert labelled(b"x,y\n1.50, 2\n+3,\n", [[0, 1], [0, -1]], [[0.5, 1], [0.25, np.nan]]) == (
        b"x,y,etcc_protocol,etcc_protocol_confidence,etcc_application,etcc_application_confidence\n"
        b"1.50, 2,Tor,0.5000,Chat,0.2500\n"
        b"+3,,VPN,1.0000,,\n"
    )


def test_without_the_inputs_columns_only_labels_are_written():
    assert labelled(b"x,y\n1,2\n", [[1], [0]], [[0.5], [0.25]], columns=()) == (
        b"etcc_protocol,etcc_protocol_confidence,etcc_application,etcc_application_confidence\nVPN,0.5000,Chat,0.2500\n"
    )


def test_chosen_columns_are_written_in_their_order_byte_for_byte():
    data = b'x, "y y",z\n 1.50 ,"a, ""b""",+3\n1\n1,2,3,4\n"1"2,3,4\n'
    assert labelled(data, [[0] * 4] * 2, [[1] * 4] * 2, columns=(2, 1)).splitlines() == [
        b'z, "y y",etcc_protocol,etcc_protocol_confidence,etcc_application,etcc_application_confidence'.replace(
            b' "y y"', b'" ""y y"""'
        ),
        b'+3,"a, ""b""",Tor,1.0000,Chat,1.0000',
        b",,Tor,1.0000,Chat,1.0000",
        b"3,2,Tor,1.0000,Chat,1.0000",
        b",,Tor,1.0000,Chat,1.0000",
    ]


def test_a_batch_without_the_chosen_columns_is_refused():
    header, batch = parsed(b"x,y\n1,2\n")
    writer = LabelWriter(io.BytesIO(), header, LEVELS, NAMES, columns=(0,))
    with pytest.raises(ValueError, match="fewer text columns than those to be written"):
        writer.format(batch, np.zeros((2, 1), np.int32), np.ones((2, 1), np.float32))


@pytest.mark.parametrize(
    ("value", "cell"), [(1 / 3, b"0.3333"), (0.99996, b"1.0000"), (0, b"0.0000"), (1e-9, b"0.0000")]
)
def test_a_confidence_has_four_decimals(value, cell):
    assert labelled(b"x,y\n1,2\n", [[0], [-1]], [[value], [np.nan]]).endswith(b",Tor," + cell + b",,\n")


def confidence_cells(values: npt.NDArray[np.float32]) -> list[str]:
    lines = labelled(b"x\n" + b"1\n" * len(values), [[0] * len(values)] * 2, [values.tolist()] * 2)
    return [line.split(",")[2] for line in lines.decode().splitlines()[1:]]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=50))
def test_the_four_decimals_are_pythons(values):
    assert confidence_cells(np.array(values, np.float32)) == [f"{value:.4f}" for value in values]


def test_a_confidence_halfway_between_two_goes_to_the_even_one():
    values = np.arange(2**13 + 1, dtype=np.float32) / 2**13
    odd = np.nextafter(values, np.float32(0.5))
    for some in (values, odd):
        assert confidence_cells(some) == [f"{value:.4f}" for value in some.tolist()]


@pytest.mark.parametrize("value", [-0.1, 1.0001, np.inf])
def test_a_confidence_outside_0_to_1_is_refused(value):
    with pytest.raises(ValueError, match="a confidence lies between 0 and 1"):
        confidence_cells(np.array([value], np.float32))


def test_a_label_is_quoted_where_csv_needs_it():
    assert labelled(b"x,y\n1,2\n", [[0], [1]], [[1], [1]]).endswith(b'Tor,1.0000,"a, b",1.0000\n')


def test_line_ends_are_those_of_the_header():
    lines = labelled(b"x,y\r\n1,2\n3,4\r\n", [[0, 0], [0, 0]], [[1, 1], [1, 1]]).split(b"\r\n")
    assert [line.split(b",")[:2] for line in lines[1:]] == [[b"1", b"2"], [b"3", b"4"], [b""]]
    assert not any(b"\n" in line for line in lines)


def test_a_byte_order_mark_stays():
    assert labelled(b"\xef\xbb\xbfx,y\n", [[], []], [[], []]).startswith(b"\xef\xbb\xbfx,y,etcc_protocol,")


def test_a_short_row_is_padded_and_a_long_one_cut():
    out = labelled(b"x,y,z\n1\n1,2,3,4\n", [[-1, -1], [-1, -1]], [[np.nan, np.nan], [np.nan, np.nan]])
    assert out.splitlines()[1:] == [b"1,,,,,,", b"1,2,3,,,,"]


def test_a_file_that_is_labelled_already_may_get_labels_alone():
    header = read_header(b"x,etcc_protocol\n", "f.csv")
    out = io.BytesIO()
    LabelWriter(out, header, LEVELS, NAMES, columns=())
    assert out.getvalue().startswith(b"etcc_protocol,")


def cell(text: str, quoted: bool) -> str:
    return '"' + text.replace('"', '""') + '"' if quoted or set(text) & set(',"\n') else text


CELLS = st.builds(cell, st.text('a1. ,"\n', max_size=5), st.booleans())
ROWS = st.lists(st.lists(CELLS, max_size=5), max_size=8)
LINE_ENDS = st.sampled_from(["\n", "\r\n"])


@settings(max_examples=100, derandomize=True, deadline=None)
@given(rows=ROWS, line_end=LINE_ENDS, blanks=st.lists(st.integers(0, 8)), seed=st.integers(0, 99))
def test_output_row_i_is_input_row_i_and_its_labels(rows, line_end, blanks, seed):
    rows = [[str(i), *cells] for i, cells in enumerate(rows)]
    lines = [",".join(row) for row in rows]
    for at in blanks:
        lines.insert(at, "")
    data = "x,y,z" + line_end + line_end.join(lines)
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 2, (2, len(rows)))
    out = labelled(data.encode(), codes.tolist(), rng.random((2, len(rows))).tolist()).decode()

    kept = [",".join(row[:3]) + "," * (3 - len(row)) for row in rows]
    table = list(csv.reader(io.StringIO(out, newline="")))
    assert [len(row) for row in table] == [3 + 4] * (1 + len(rows))
    at = out.index(line_end) + len(line_end)
    for row, label, written in zip(kept, codes.T, table[1:], strict=True):
        assert out.startswith(row + ",", at)
        assert written[3] == ("" if label[0] < 0 else NAMES[0][label[0]])
        assert written[5] == ("" if label[1] < 0 else NAMES[1][label[1]])
        at += len(row + "," + ",".join(cell(text, False) for text in written[3:]) + line_end)
    assert at == len(out)


def test_a_row_outside_its_bytes_is_never_written():
    _, batch = parsed(b"x,y\n1,2\n")
    spans = np.array([[0, 1000]], np.int64)
    one = np.zeros((2, 1), np.int32)
    parts = (one, one.astype(np.float32), np.zeros(1, np.int8))
    with pytest.raises(IndexError):
        _native.format_rows(batch.block, spans, batch.cells, *parts, batch.texts, NAMES, 2, True, "\n")


def test_a_cell_outside_its_bytes_is_never_written():
    _, batch = parsed(b"x,y\n1,2\n")
    one = np.zeros((2, 1), np.int32)
    parts = (one, one.astype(np.float32), np.zeros(1, np.int8), np.array([[[0, 1000]]], np.int64))
    with pytest.raises(IndexError):
        _native.format_rows(batch.block, batch.spans, batch.cells, *parts, NAMES, 2, False, "\n")


@pytest.mark.parametrize("shape", [(0, 1, 2), (2, 1, 2), (1, 1, 3)])
def test_each_row_has_its_own_chosen_cells(shape):
    _, batch = parsed(b"x,y\n1,2\n")
    one = np.zeros((2, 1), np.int32)
    parts = (one, one.astype(np.float32), np.zeros(1, np.int8), np.zeros(shape, np.int64))
    with pytest.raises(ValueError, match=r"differ in length|chosen"):
        _native.format_rows(batch.block, batch.spans, batch.cells, *parts, NAMES, 2, False, "\n")


# --- the output file ----------------------------------------------------------------------------------------


def test_a_file_appears_only_when_everything_is_written(tmp_path):
    with open_output(tmp_path / "out.csv") as out:
        out.write(b"x")
        assert not (tmp_path / "out.csv").exists()
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"x"


def interrupted(path: os.PathLike[str]) -> None:
    with open_output(path) as out:
        out.write(b"half of it")
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_failure_leaves_nothing(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_the_earlier_file(tmp_path):
    (tmp_path / "out.csv").write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out.csv")
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"earlier"


def test_a_name_that_ends_in_gz_is_compressed(tmp_path):
    with open_output(tmp_path / "out.csv.gz") as out:
        out.write(b"x" * 1000)
    assert gzip.decompress((tmp_path / "out.csv.gz").read_bytes()) == b"x" * 1000


def test_a_link_stays_a_link_to_the_written_file(tmp_path):
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_output(tmp_path / "link.csv") as out:
        out.write(b"x")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == b"x"


def test_the_file_has_the_permissions_that_the_user_gives_to_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        with open_output(tmp_path / "out.csv"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced():
    with open_output("/dev/null") as out:
        out.write(b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["no-folder/out.csv", "."])
def test_an_output_that_cannot_be_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlowsError, match=f"^{name}: cannot be written: "), open_output(name):
        pass


def test_standard_output_is_written_and_left_open(capfdbinary):
    with open_output("-") as out:
        out.write(b"x")
    assert not out.closed
    assert capfdbinary.readouterr().out == b"x"
