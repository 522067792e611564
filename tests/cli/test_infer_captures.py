"""`etcc-edge infer` labels the flows of captures."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from captures import UDP, exchange, pcap
from click.testing import CliRunner, Result

from etcc_edge.bundle import Bundle, FlowDefinition, save_bundle
from etcc_edge.cli import main

PACKETS = [
    *exchange("10.0.0.1", 50_000, "192.0.2.1", 443),
    *exchange("10.0.0.1", 50_001, "192.0.2.53", 53, protocol=UDP, packets=2),
    *exchange("fe80::1", 50_002, "fe80::2", 443),
]
CAPTURE = pcap(PACKETS)
KEY = (
    *("src_ip", "src_port", "dst_ip", "dst_port", "ip_protocol", "community_id", "start", "duration_s"),
    *("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes"),
)
LABELS = ("etcc_protocol", "etcc_protocol_confidence", "etcc_application", "etcc_application_confidence")


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture.pcap"
    path.write_bytes(CAPTURE)
    return path


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["infer", *words], input=stdin)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_flow_is_written_with_what_identifies_it_and_its_labels(capture: Path) -> None:
    done = run(str(capture))
    assert done.exit_code == 0, done.output
    labelled = rows(capture.with_name("capture.labels.csv"))
    assert tuple(labelled[0]) == (*KEY, *LABELS)
    assert [(row["src_port"], row["dst_port"], row["fwd_packets"]) for row in labelled] == [
        ("50000", "443", "3"),
        ("50001", "53", "1"),
        ("50002", "443", "3"),
    ]
    assert all(row["etcc_protocol"] for row in labelled)
    assert "darknet2020 flows; bundle default" in done.stderr
    assert "of the flows 1 are of IPv6: of the shipped bundles only wire learnt such ones" in done.stderr


def test_the_labels_are_those_of_the_meter_s_file(capture: Path, tmp_path: Path) -> None:
    flows = tmp_path / "flows.csv"
    assert CliRunner().invoke(main, ["meter", str(capture), "-o", str(flows)]).exit_code == 0
    assert run(str(capture), str(flows)).exit_code == 0
    of_capture, of_file = rows(tmp_path / "capture.labels.csv"), rows(tmp_path / "flows.labels.csv")
    assert [[row[name] for name in LABELS] for row in of_capture] == [[row[name] for name in LABELS] for row in of_file]


def test_all_columns_hold_every_feature_and_can_be_labelled_again(capture: Path) -> None:
    assert run(str(capture), "--columns", "all").exit_code == 0
    first = capture.with_name("capture.labels.csv")
    assert {"flow_iat_mean", "fwd_init_window", "flow_id", "timestamp"} <= rows(first)[0].keys()
    again = capture.with_name("again.csv")
    assert run(str(first), "--columns", "labels", "-o", str(again)).exit_code == 0
    assert [list(row.values()) for row in rows(again)] == [[row[name] for name in LABELS] for row in rows(first)]


@pytest.mark.parametrize(
    ("columns", "names"),
    [("labels", ()), ("key", KEY), ("community_id,START", ("community_id", "start")), ("Flow_ID", ("flow_id",))],
)
def test_columns_are_chosen_as_of_a_file(capture: Path, columns: str, names: tuple[str, ...]) -> None:
    assert run(str(capture), "--columns", columns).exit_code == 0
    assert tuple(rows(capture.with_name("capture.labels.csv"))[0]) == (*names, *LABELS)


def test_a_column_that_there_is_not_is_one_line(capture: Path) -> None:
    done = run(str(capture), "--columns", "comunity_id")
    assert done.exit_code == 1
    assert done.stderr == f"Error: {capture}: has no column 'comunity_id'; the nearest is 'community_id'\n"


def test_packed_captures_and_standard_input_give_the_same(capture: Path, tmp_path: Path) -> None:
    packed, archive = tmp_path / "packed.pcap.gz", tmp_path / "archive.zip"
    packed.write_bytes(gzip.compress(CAPTURE))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("capture.pcap", CAPTURE)
    assert run(str(capture), str(packed), str(archive)).exit_code == 0
    labelled = (tmp_path / "capture.labels.csv").read_text()
    assert (tmp_path / "packed.labels.csv").read_text() == labelled
    assert (tmp_path / "archive.labels.csv").read_text() == labelled
    assert run("-", "-o", "-", stdin=CAPTURE).stdout == labelled


def test_captures_and_files_are_labelled_together(capture: Path, tmp_path: Path) -> None:
    flows = tmp_path / "flows.csv"
    assert CliRunner().invoke(main, ["meter", str(capture), "-o", str(flows)]).exit_code == 0
    done = run(str(capture), str(flows), "--json", "--timeout", "1")
    assert done.exit_code == 0, done.output
    of_capture, of_file = json.loads(done.stdout)
    assert of_capture["capture"] == {
        "profile": "darknet2020",
        "timeout_s": 1.0,
        "packets": len(PACKETS),
        "bytes": len(CAPTURE),
        "skipped": {"unknown link type": 0, "not IP": 0, "too short": 0, "damaged IP header": 0},
        "flows_of_one_packet": 2,  # the last of six packets comes after more than a second
        "flows_of_ip6": 1,
        "early_looks": 0,
        "evicted": 0,
    }
    assert "trained on flows of 120 s at most, these have up to 1 s" in done.stderr
    assert of_file["capture"] is None
    assert f"{flows}: warning: --profile, --timeout and --after are for captures: not used" in done.stderr


def test_a_damaged_capture_gives_labels_up_to_there_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(CAPTURE[:-1])
    done = run(str(path), "--json")
    assert done.exit_code == 1
    assert f"Error: {path}: it is cut within a record; its flows up to there were labelled" in done.stderr
    assert json.loads(done.stdout)[0]["damage"] == "it is cut within a record"
    assert len(rows(tmp_path / "cut.labels.csv")) == 3


def test_damaged_packing_gives_the_labels_of_all_flows_before_it(tmp_path: Path) -> None:
    path = tmp_path / "junk.pcap.gz"
    path.write_bytes(gzip.compress(CAPTURE) + b"some junk")
    done = run(str(path))
    assert done.exit_code == 1
    assert f"Error: {path}: cannot be read to its end: the gzip data is damaged or cut short; its flows" in done.stderr
    assert len(rows(tmp_path / "junk.labels.csv")) == 3


def test_packets_of_no_flow_are_said(tmp_path: Path) -> None:
    path = tmp_path / "arp.pcap"
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    path.write_bytes(pcap(PACKETS[:1]) + struct.pack("<IIII", 2, 0, len(arp), len(arp)) + arp)
    done = run(str(path))
    assert done.exit_code == 0
    assert f"{path}: 2 packets, of no flow: 1 not IP; 1 flow of one packet left out" in done.stderr


def test_a_capture_without_flows_has_a_header(tmp_path: Path) -> None:
    path = tmp_path / "none.pcap"
    path.write_bytes(pcap([]))
    assert run(str(path)).exit_code == 0
    assert (tmp_path / "none.labels.csv").read_text() == ",".join((*KEY, *LABELS)) + "\n"


def test_another_profile_is_taken_with_a_warning(capture: Path) -> None:
    done = run(str(capture), "--profile", "cicflowmeter-2021")
    assert done.exit_code == 0, done.output
    assert "trained on flows of darknet2020, these are cut as cicflowmeter-2021 does" in done.stderr


def test_a_bundle_whose_flows_cannot_be_cut_is_refused_unless_a_profile_is_named(
    capture: Path, tiny_bundle: Bundle
) -> None:
    bundle = capture.with_name("tiny")
    save_bundle(replace(tiny_bundle, flow_definition=FlowDefinition("Joy", 120.0)), bundle)
    done = run(str(capture), "--bundle", str(bundle))
    assert done.exit_code == 1
    assert "bundle tiny was trained on flows of Joy, which cannot be cut from a capture" in done.stderr
    assert not capture.with_name("capture.labels.csv").exists()
    done = run(str(capture), "--bundle", str(bundle), "--profile", "darknet2020")
    assert done.exit_code == 0, done.output
    assert "bundle tiny was trained on flows of Joy, these are cut as darknet2020 does" in done.stderr


def test_a_preview_shows_ends_and_labels(capture: Path) -> None:
    done = run(str(capture), "--preview", "2")
    assert done.exit_code == 0, done.output
    assert "10.0.0.1:50000" in done.stdout
    assert not capture.with_name("capture.labels.csv").exists()


def test_an_early_row_comes_before_a_long_flow_s_own(capture: Path) -> None:
    done = run(str(capture), "--after", "4", "--columns", "src_port,fwd_packets,bwd_packets")
    assert done.exit_code == 0, done.output
    labelled = rows(capture.with_name("capture.labels.csv"))
    assert [list(row.values())[:4] for row in labelled] == [
        ["50000", "2", "2", "early"],
        ["50002", "2", "2", "early"],
        ["50000", "3", "3", "final"],
        ["50001", "1", "1", "final"],
        ["50002", "3", "3", "final"],
    ]
    assert all(row["etcc_protocol"] for row in labelled)
    assert "3 flows and 2 early rows written" in done.stderr
    assert "of the flows 1 are of IPv6" in done.stderr
    counts = done.stdout.splitlines()[1:]
    assert sum(int(line.split()[2]) for line in counts) == 3


def test_early_rows_come_by_time_too(capture: Path) -> None:
    assert run(str(capture), "--after", "0.5s", "-o", str(capture.with_name("early.csv"))).exit_code == 0
    verdicts = [(row["src_port"], row["duration_s"], row["verdict"]) for row in rows(capture.with_name("early.csv"))]
    assert verdicts[0] == ("50000", "0.250000", "early")
    assert [verdict for _, _, verdict in verdicts].count("final") == 3


@pytest.mark.parametrize("after", ["1", "-5", "0s", "s", "nans", "1e99s", "ten"])
def test_when_an_early_row_comes_is_a_number_of_packets_or_seconds(capture: Path, after: str) -> None:
    done = run(str(capture), "--after", after)
    assert done.exit_code == 2
    assert "is neither a number of packets from 2 on nor of seconds" in done.stderr
