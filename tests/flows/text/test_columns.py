from __future__ import annotations

from pathlib import Path

import pytest

from etcc_edge.errors import FlowsError
from etcc_edge.flows.text.columns import kept_columns
from etcc_edge.flows.text.reader import FlowFile

TIMES = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat"
CIC = "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,Label,Label"


def kept(tmp_path: Path, header: str, wanted: str) -> list[str] | None:
    (tmp_path / "f.csv").write_text(header + "\n")
    with FlowFile(tmp_path / "f.csv") as file:
        columns = kept_columns(file, wanted)
        return None if columns is None else [file.columns[i] for i in columns]


def test_all_keeps_rows_as_they_are_and_labels_none_of_their_cells(tmp_path):
    assert kept(tmp_path, CIC, "all") is None
    assert kept(tmp_path, CIC, "labels") == []


def test_key_keeps_what_identifies_a_flow_where_the_file_has_it(tmp_path):
    assert kept(tmp_path, CIC, "key") == CIC.split(",")[:7]
    assert kept(tmp_path, "note," + TIMES, "key") == []
    assert kept(tmp_path, "note,Timestamp," + TIMES, "key") == ["Timestamp"]


def test_names_are_kept_in_their_order_whatever_their_case_and_blanks(tmp_path):
    assert kept(tmp_path, CIC, "label.1, SRC IP ,Flow ID") == ["Label.1", "Src IP", "Flow ID"]


def test_of_two_names_that_differ_in_case_the_exact_one_is_kept(tmp_path):
    header = "Note,note," + TIMES
    assert kept(tmp_path, header, "note,Note") == ["note", "Note"]


def test_a_name_with_a_comma_is_quoted(tmp_path):
    assert kept(tmp_path, '"a, b",' + TIMES, '"a, b",duration') == ["a, b", "duration"]


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("Src IPs", "f.csv:1: has no column 'Src IPs'; the nearest is 'Src IP'"),
        ("Src IP,src ip", "f.csv:1: column 'Src IP' is asked for twice"),
        ("", "f.csv:1: no column is named; take labels to keep none"),
    ],
)
def test_what_cannot_be_kept_is_one_line(tmp_path, monkeypatch, wanted, complaint):
    with pytest.raises(FlowsError, match=complaint):
        kept(tmp_path, CIC, wanted)
