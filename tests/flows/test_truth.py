"""Labelled flows are read with both labels, their Flow ID, their group and their identity."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.truth import read_labelled


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "generated.csv"
    path.write_text("".join(sample_rows(50, seed=1)))
    return path


def rewrite(path: Path, old: str, new: str) -> Path:
    path.write_text(path.read_text().replace(old, new))
    return path


def test_a_darknet_file_needs_no_options(flows: Path) -> None:
    read = read_labelled(flows)
    assert len(read) == 50
    assert read.features.shape == (50, 49)
    assert set(read.protocol) <= {"Tor", "VPN", "Non-VPN"}
    assert all(name.startswith("generated-") for name in read.flow_id)
    assert len(set(read.identity.tolist())) == 50


def test_a_flow_without_duration_has_one_identity_in_any_unit(flows: Path) -> None:
    table = list(csv.reader(flows.open()))
    times = [i for i, name in enumerate(table[0]) if name == "Flow Duration" or "IAT" in name]
    table[1][times[0]] = "-1"
    identities = []
    for factor in (1, 1e-3):
        scaled = [
            [cell if cell == "-1" or i not in times else repr(float(cell) * factor) for i, cell in enumerate(row)]
            for row in table[1:]
        ]
        flows.write_text("".join(",".join(row) + "\n" for row in [table[0], *scaled]))
        identities.append(read_labelled(flows, ["fwd_packets"]).identity[0])
    assert identities[0] == identities[1]


def test_spellings_that_differ_in_case_or_hyphens_are_one_label(flows: Path) -> None:
    rewrite(flows, "VPN,Audio-Streaming", "vpn,AUDIO STREAMING")
    rewrite(flows, "Non-vpn", "NonVPN")
    read = read_labelled(flows)
    assert set(read.protocol) <= {"Tor", "VPN", "Non-VPN"}
    assert "Audio-Streaming" in read.application
    assert "AUDIO STREAMING" not in read.application


def test_rows_without_a_label_or_with_bad_cells_are_ignored_and_counted(flows: Path) -> None:
    lines = flows.read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ","
    lines[2] += ",one,too,many"
    flows.write_text("\n".join(lines))
    read = read_labelled(flows)
    assert (len(read), read.ignored) == (48, 2)


def test_a_label_without_a_letter_is_none(flows: Path) -> None:
    lines = flows.read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",-"
    lines[2] = lines[2].rsplit(",", 1)[0] + ",\u00a0"
    lines[3] = lines[3].rsplit(",", 1)[0] + ",Chat\u00a0"
    flows.write_text("\n".join(lines))
    read = read_labelled(flows)
    assert (len(read), read.ignored) == (48, 2)
    assert read.application[0] == "Chat"


@pytest.mark.parametrize("written", ["flow_id", "FLOW ID", " Flow ID"])
def test_a_flow_id_is_found_however_it_is_written(flows: Path, written: str) -> None:
    rewrite(flows, "Flow ID", written)
    assert all(name.startswith("generated-") for name in read_labelled(flows).flow_id)


def test_without_flow_ids_addresses_and_ports_say_which_flows_belong_together(flows: Path) -> None:
    table = list(csv.reader(flows.open()))
    place = table[0].index("Flow ID")
    table[1][table[0].index("Src Port")] = ""
    flows.write_text("".join(",".join(row) + "\n" for row in table))
    known = read_labelled(flows, to_split=True)
    flows.write_text("".join(",".join(row[:place] + row[place + 1 :]) + "\n" for row in table))
    read = read_labelled(flows, to_split=True)
    assert read.flow_id[0] == ""
    assert read.flow_id[1:].tolist() == [text.removeprefix("generated-") for text in known.flow_id[1:].tolist()]


def test_the_flows_to_split_do_not_depend_on_the_features(flows: Path) -> None:
    rows = [line.split(",") for line in flows.read_text().splitlines()]
    rows[3][rows[0].index("Active Std")] = "text"
    flows.write_text("\n".join(map(",".join, rows)))
    few = ["flow_duration", "fwd_packets"]
    assert (len(read_labelled(flows, few)), len(read_labelled(flows, "all"))) == (50, 49)
    read, whole = (read_labelled(flows, features, to_split=True) for features in (few, "all"))
    assert read.identity.tolist() == whole.identity.tolist()
    assert (read.feature_names, read.features.shape, read.ignored) == (tuple(few), (49, 2), 1)
    at = [whole.feature_names.index(name) for name in few]
    assert read.features.tolist() == whole.features[:, at].tolist()


def test_two_labels_need_two_columns_and_the_flow_id_may_be_one(flows: Path) -> None:
    with pytest.raises(FlowsError, match="both labels are said to be in one column"):
        read_labelled(flows, protocol_column="Label", application_column="Label")
    read = read_labelled(flows, application_column="Flow ID")
    assert [text.removeprefix("generated-") for text in read.application.tolist()] == read.flow_id.tolist()


def test_the_second_of_two_equal_columns_has_a_suffix(flows: Path) -> None:
    swapped = read_labelled(flows, protocol_column="Label.1", application_column="Label")
    assert set(swapped.application) <= {"Tor", "VPN", "Non-VPN"}


def test_captures_come_line_by_line(flows: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.txt"
    groups.write_text("".join(f"capture {i % 3}\n" for i in range(50)))
    assert read_labelled(flows, groups=groups).capture[:4].tolist() == [
        "capture 0",
        "capture 1",
        "capture 2",
        "capture 0",
    ]
    groups.write_bytes(b"\xef\xbb\xbf" + b"capture\n" * 50)
    assert set(read_labelled(flows, groups=groups).session) == {"capture"}
    groups.write_text("capture\n" * 49)
    with pytest.raises(FlowsError, match="has 49 lines for 50 flows"):
        read_labelled(flows, groups=groups)


def test_a_file_without_usual_label_columns_asks_for_them(flows: Path) -> None:
    short = flows.read_text().replace(",Label,Label", ",Protocol name,App")
    flows.write_text(short)
    with pytest.raises(FlowsError, match=r"has no column 'Label'"):
        read_labelled(flows)
    assert len(read_labelled(flows, protocol_column="Protocol name", application_column="App")) == 50


def test_an_unknown_preset_is_named(flows: Path) -> None:
    with pytest.raises(EtccError, match=r"no feature preset 'papers'; there are paper"):
        read_labelled(flows, "papers")
