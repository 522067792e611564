"""What is measured on flows that were held out: whole ones of ten packets or more, of captures in folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from laboratory_captures import HOST, WEB, capture, packet

from etcc_edge import _native
from etcc_edge.bench.laboratory.held_out import FOLDS, read
from etcc_edge.bench.laboratory.wire import PARTS, metered, write
from etcc_edge.meter import PROFILES


def test_whole_flows_of_ten_packets_are_measured_and_their_parts_only_teach(tmp_path: Path) -> None:
    header = [*_native.meter_header(PROFILES[0]).strip().split(","), "Label"]
    for name, packets in (("long", 40), ("short", 4)):
        capture(tmp_path / f"{name}.pcap", [packet(HOST, WEB), packet(WEB, HOST)] * (packets // 2))
    for part in ("", PARTS):
        rows = [
            ([*row, protocol, "Chat"], f"{name}.dsl")
            for name, protocol in (("long", "VPN"), ("short", "Non-VPN"))
            for row in metered(tmp_path / f"{name}.pcap", parts=bool(part))
        ]
        write(tmp_path / f"laboratory{part}", header, rows)
    held_out = read(tmp_path, seed=0)
    assert len(held_out.flows) > 2
    assert np.flatnonzero(held_out.counts).tolist() == [0]
    assert held_out.tunnel.tolist() == [True, False, *[True] * (len(held_out.flows) - 2)]
    assert held_out.udp.all()
    assert set(held_out.fold.tolist()) <= set(range(FOLDS))
    assert len(set(held_out.fold[held_out.tunnel].tolist())) == 1
