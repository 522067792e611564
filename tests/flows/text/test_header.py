from __future__ import annotations

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.flows.columns import occurrences
from etcc_edge.flows.text.header import csv_cell, read_header


def test_the_line_is_kept_as_it_was_written_and_the_rows_start_after_it():
    header = read_header(b" Flow ID, Src IP \n1,2\n", "f.csv")
    assert header.cells == ("Flow ID", " Src IP")
    assert header.line == b" Flow ID, Src IP "
    assert (header.end, header.lines, header.comment) == (18, 1, "")


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_the_line_end_is_told_apart_from_the_line(line_end):
    header = read_header(b"a,b" + line_end + b"1,2" + line_end, "f.csv")
    assert (header.line, header.line_end, header.cells) == (b"a,b", line_end, ("a", "b"))


def test_a_byte_order_mark_is_kept_in_the_line_but_is_no_part_of_the_first_name():
    header = read_header(b'\xef\xbb\xbf"a",b\n1,2\n', "f.csv")
    assert header.cells == ("a", "b")
    assert header.line == b'\xef\xbb\xbf"a",b'


def test_quoted_names_lose_their_quotes():
    assert read_header(b'"a, b","c ""d""",e\n', "f.csv").cells == ("a, b", 'c "d"', "e")


def test_blank_lines_before_the_header_are_counted():
    header = read_header(b"\n \r\na,b\n1,2\n", "f.csv")
    assert (header.cells, header.lines, header.end) == (("a", "b"), 3, 8)


def test_a_header_without_line_end_is_the_whole_file():
    header = read_header(b"a,b", "f.csv")
    assert (header.cells, header.line_end, header.end) == (("a", "b"), b"\n", 3)


@pytest.mark.parametrize("start", [b"", b"\n\n", b" \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_text_is_empty(start):
    with pytest.raises(FlowsError, match=r"^f\.csv: is empty"):
        read_header(start, "f.csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding):
    with pytest.raises(FlowsError, match=r"^f\.csv: is UTF-16 text; save it as UTF-8$"):
        read_header("\ufeffa,b\n".encode(encoding), "f.csv")


@pytest.mark.parametrize("start", [b"a,b\r1,2\r3,4\r", b"x" * 200_000 + b"\n"], ids=["Mac line ends", "200 kB name"])
def test_a_first_line_that_no_csv_reader_takes_is_an_error_of_the_flows(start):
    with pytest.raises(FlowsError, match=r"^f\.csv"):
        read_header(start, "f.csv")


ARFF = b"""% made by hand
@RELATION flows

@ATTRIBUTE duration NUMERIC
@attribute 'mean, active' numeric
@Attribute "max idle" real
  @attribute class {VPN, Tor}
@DATA
1,2,3,VPN
"""


def test_arff_attributes_are_the_names():
    assert read_header(ARFF, "f.arff").cells == ("duration", "mean, active", "max idle", "class")


def test_an_arff_header_becomes_a_csv_line():
    assert read_header(ARFF, "f.arff").line == b'duration,"mean, active",max idle,class'


def test_arff_rows_start_after_data_and_may_be_comments():
    header = read_header(ARFF, "f.arff")
    assert ARFF[header.end :] == b"1,2,3,VPN\n"
    assert (header.lines, header.comment) == (8, "%")


def test_arff_without_data_is_an_error():
    with pytest.raises(FlowsError, match=r"^f\.arff: is an ARFF file without @data$"):
        read_header(b"@relation r\n@attribute a numeric\n", "f.arff")


def test_a_line_that_is_no_arff_declaration_is_named():
    with pytest.raises(FlowsError, match=r"^f\.arff:3: is no ARFF declaration"):
        read_header(b"@relation r\n@attribute a numeric\n1,2\n", "f.arff")


def test_the_second_of_two_equal_names_gets_a_number():
    assert occurrences(("Label", "a", " Label", "Label")) == ("Label", "a", "Label.1", "Label.2")


@pytest.mark.parametrize(("text", "cell"), [("Chat", "Chat"), ("a,b", '"a,b"'), ('"', '""""'), ("a\nb", '"a\nb"')])
def test_a_csv_cell_is_quoted_only_where_it_must_be(text, cell):
    assert csv_cell(text) == cell
