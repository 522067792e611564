"""`etcc-edge meter` writes the flows of captures."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

from click.testing import CliRunner, Result
from frames import SYN, TCP, ethernet, ip4, pcap, tcp, udp

from etcc_edge.cli import main

UDP = bytes.fromhex("45000020 00010000 40110000 0a000001 0a000002 04d20035 000c0000 61626364")
FRAME = bytes(12) + b"\x08\x00" + UDP
RECORD = struct.pack("<IIII", 1, 0, len(FRAME), len(FRAME)) + FRAME
CAPTURE = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + 2 * RECORD


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["meter", *words], input=stdin)


def test_standard_input_becomes_rows_in_the_chosen_zone() -> None:
    done = run("-", "--time-zone", "Etc/GMT-2", "--json", stdin=CAPTURE)
    assert done.exit_code == 0, done.output
    header, row = done.stdout.splitlines()
    assert header.startswith("Flow ID,")
    assert len(header.split(",")) == len(row.split(",")) == 84
    assert row.startswith("10.0.0.1-10.0.0.2-1234-53-17,10.0.0.1,1234,10.0.0.2,53,17,01/01/1970 02:00:01 AM,0,2,0,8.0")
    assert json.loads(done.stderr)["packets"] == 2


def test_a_timestamp_is_in_the_zone_s_offset_of_its_day() -> None:
    days = {1_405_684_800: "18/07/2014 02:00:00 PM", 1_414_284_600: "26/10/2014 02:50:00 AM"}  # before the hour repeats
    days |= {1_414_288_200: "26/10/2014 02:50:00 AM", 1_421_582_400: "18/01/2015 01:00:00 PM"}
    records = b"".join(struct.pack("<I", day) + RECORD[4:] + struct.pack("<I", day) + RECORD[4:] for day in days)
    done = run("-", "--time-zone", "Europe/Berlin", stdin=CAPTURE[:24] + records)
    assert done.exit_code == 0, done.output
    assert [row.split(",")[6] for row in done.stdout.splitlines()[1:]] == list(days.values())


def test_a_cut_capture_gives_its_flows_a_warning_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(CAPTURE + RECORD[:-1])
    done = run(str(path))
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    error, counts = done.stderr.splitlines()
    assert error == f"Error: {path}: it is cut within a record; its flows up to there were written"
    assert counts.endswith("; 1 flow written")


def test_gzip_that_is_cut_gives_the_flows_that_could_be_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(CAPTURE + 20_000 * RECORD, 0)
    path, out = tmp_path / "cut.gz", tmp_path / "flows.csv"
    path.write_bytes(packed[:-9])
    done = run(str(path), "-o", str(out))
    assert done.exit_code == 1
    assert done.stderr.startswith(
        f"Error: {path}: cannot be read to its end: the gzip data is damaged or cut short; its flows up to there were "
        "written\n"
    )
    assert len(out.read_text().splitlines()) == 2


def test_a_capture_without_flows_has_a_header() -> None:
    done = run("-", stdin=CAPTURE[: 24 + len(RECORD)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Flow ID,")
    assert done.stdout.count("\n") == 1


def test_no_file_is_lost(tmp_path: Path) -> None:
    capture, other = tmp_path / "capture", tmp_path / "other.csv"
    capture.write_bytes(CAPTURE)
    other.write_text("mine")
    for words in (("-o", str(other)), ("-o", str(capture), "--force"), ("-o", str(tmp_path / "flows.parquet"))):
        assert run(str(capture), *words).exit_code == 2
    assert run(str(capture), "no-such.pcap", "-o", str(other), "--force").exit_code == 1
    assert (capture.read_bytes(), other.read_text()) == (CAPTURE, "mine")
    assert run(str(capture), "-o", str(other), "--force").exit_code == 0
    assert other.read_text().startswith("Flow ID,")


def test_what_cannot_be_used_is_one_line() -> None:
    for words, status in (("no-such.pcap",), 1), (("-", "--time-zone", "Nowhere/Here"), 2), ((__file__,), 1):
        done = run(*words, stdin=CAPTURE)
        assert done.stdout == ""
        assert done.exit_code == status
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


def test_past_max_flows_the_oldest_flow_ends_early_with_its_packets_and_a_warning(tmp_path: Path) -> None:
    first, second = (ethernet(ip4(udp(source=port))) for port in (1, 2))
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap([first, first, second, first, first]))
    done = run(str(path), "--max-flows", "1", "--json")
    assert done.exit_code == 0, done.output
    assert [row.split(",")[2] for row in done.stdout.splitlines()[1:]] == ["1", "1"]
    warning, summary = done.stderr.splitlines()
    assert warning == f"{path}: warning: 2 flows ended early, since 1 were open"
    assert json.loads(summary)["flows_of_one_packet"] == 1


def test_a_single_syn_goes_before_older_flows(tmp_path: Path) -> None:
    flood = (ethernet(ip4(tcp(source=port, flags=SYN), TCP)) for port in range(1000, 1100))
    path = tmp_path / "flood.pcap"
    path.write_bytes(pcap([FRAME, *flood, FRAME]))
    done = run(str(path), "--max-flows", "2")
    (row,) = done.stdout.splitlines()[1:]
    assert row.split(",")[8] == "2"
    assert done.stderr.splitlines() == [
        f"{path}: warning: 99 flows ended early, since 2 were open",
        "102 packets; 100 flows of one packet left out; 1 flow written",
    ]
