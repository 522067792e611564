"""Early labels are compared with the final ones of the same flows."""

from __future__ import annotations

from pathlib import Path

import pytest
from captures import exchange, pcap
from click.testing import CliRunner

from etcc_edge.bench.studies.early import Agreement, main
from etcc_edge.infer.classifier import Classifier
from etcc_edge.meter.source import After


@pytest.fixture
def capture(tmp_path: Path) -> str:
    path = tmp_path / "capture.pcap"
    flows = [exchange("10.0.0.1", 50_000 + i, "192.0.2.1", 443, packets=n) for i, n in enumerate((4, 5, 9, 30))]
    path.write_bytes(pcap(packet for flow in flows for packet in flow))
    return str(path)


def test_flows_are_counted_that_were_looked_at_early_and_went_on(capture: str) -> None:
    agreement = Agreement()
    agreement.count([capture], Classifier("default"), After(packets=5))
    assert (agreement.looked_at, agreement.grown) == (3, 2)
    assert agreement.same_labels <= agreement.same_protocol <= 2


def test_what_is_no_capture_is_left_out(capture: str, tmp_path: Path) -> None:
    (tmp_path / "no.pcap").write_text("text")
    done = CliRunner().invoke(main, [capture, str(tmp_path / "no.pcap")])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[2].startswith("| 5 packets | 3 | 2 |")
    assert "no.pcap: it is neither pcap nor pcapng" in done.stderr
