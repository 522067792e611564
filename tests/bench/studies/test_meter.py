"""The study's large capture repeats a small one, later and between other addresses, and every contender reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from frames import MICROSECONDS, NANOSECONDS, Record, ethernet, ip4, pcap, udp

from etcc_edge.bench.studies import meter
from etcc_edge.errors import EtccError
from etcc_edge.meter import MeteredCapture

FRAME = ethernet(ip4(udp(b"abcd")))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "ticks"), [(MICROSECONDS, 1), (NANOSECONDS, 1000)])
def test_records_are_read_in_every_form_of_pcap(tmp_path: Path, order: str, magic: int, ticks: int) -> None:
    path = tmp_path / "small.pcap"
    path.write_bytes(pcap([Record(FRAME, 7_000_005 * ticks)], order=order, magic=magic))
    assert list(meter.records_of(path)) == [(7_000_005, FRAME)]


def test_every_copy_has_the_flows_of_the_first_later_and_elsewhere(tmp_path: Path) -> None:
    records = meter.joined([iter([(5, FRAME), (2_000_005, FRAME)])])
    path = tmp_path / "large.pcap"
    assert meter.write_capture(records, 5, path) == 6
    text = "".join(flows.text(0).tobytes().decode() for flows in MeteredCapture(path).flows())
    rows = [line.split(",") for line in text.splitlines()]
    assert [row[1] for row in rows] == ["10.0.0.1", "11.0.0.1", "8.0.0.1"]
    assert [row[6] for row in rows] == [f"01/01/1970 01:00:{second:02} AM" for second in (0, 3, 6)]
    assert {row[7] for row in rows} == {"2000000"}


def test_all_is_measured_on_generated_packets_and_told_in_a_table(tmp_path: Path) -> None:
    figures = meter.measure(None, 1, 1, 9000, tmp_path)
    assert figures.flows > 1000
    assert {meter.FEATURES, meter.ROWS, meter.LABELS} <= set(figures.speeds)
    assert set(figures.speeds) | set(figures.left_out) >= {meter.READING, meter.NFSTREAM}
    assert figures.bytes_per_flow > 100
    assert "| to rows |" in meter.table(figures)


def test_a_folder_without_captures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EtccError, match=r"no file \*\.pcap"):
        meter.measure(tmp_path, 1, 1, 9000, tmp_path)
