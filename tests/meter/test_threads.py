"""The rows and their order do not depend on the number of threads."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from packets import ACK, FIN, SYN, Packet, capture, new_meter, rows_of

from etcc_edge import _native
from etcc_edge.meter import MeteredCapture


def text(data: bytes, profile: str, threads: int, piece: int) -> list[tuple[str, bool]]:
    asked = {"after_packets": 5, "after_time": 3_000_000, "lone": True}
    meter = new_meter(profile, timeout=_native.meter_timeout(profile), max_flows=100_000, threads=threads, **asked)
    rows: list[tuple[str, bool]] = []

    def take() -> None:
        flows = meter.take()
        rows.extend(zip(map(str, rows_of(flows)), flows.early.tolist(), strict=True))

    for at in range(0, len(data), piece):
        meter.feed(data[at : at + piece])
        take()
    meter.expire(430_000_000)
    take()
    meter.finish()
    take()
    return rows


# Of `fixed`, flows of UDP go on beyond their timeout: when those behind them in the queue are found may differ.
@pytest.mark.parametrize("profile", sorted({*_native.meter_profiles()} - {"fixed"}))
def test_generated_flows_come_in_the_same_order(profile: str) -> None:
    draw = random.Random(3)
    times = sorted(draw.uniform(0, 400) for _ in range(6000))
    hosts = [f"10.0.0.{i}" for i in range(1, 40)]
    packets = (
        Packet(time, *draw.sample(hosts, 2), 443, 443, draw.choice([None, SYN, ACK, ACK, ACK | FIN])) for time in times
    )
    data = capture(packets)[24:]
    one = text(data, profile, 1, 1 << 20)
    assert len(one) > 1000
    assert {early for _, early in one} == {False, True}
    for threads, piece in ((1, 1000), (2, 50_000), (4, 1 << 20), (3, 777)):
        assert text(data, profile, threads, piece) == one


def test_captures_give_the_same_rows_in_the_same_order(real_flows: Path) -> None:
    flows = 0
    for path in sorted((real_flows / "meter" / "pcap").glob("*.pcap")):
        rows = [
            b"".join(piece.text(0).tobytes() for piece in MeteredCapture(path, threads=threads).flows())
            for threads in (1, 2, 4)
        ]
        assert rows[0] == rows[1] == rows[2], path.name
        flows += rows[0].count(b"\n")
    assert flows > 3800
