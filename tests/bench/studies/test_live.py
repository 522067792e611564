"""The study of live capture sends what it says, and its simulated flows are flows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.bench.studies import live
from etcc_edge.errors import EtccError
from wire import UDP, Wire, ip4, own_network, pcap, udp


@pytest.fixture
def wire() -> Iterator[Wire]:
    with own_network():
        wire = Wire()
        yield wire
        wire.close()


def test_frames_are_those_of_all_captures_that_an_interface_takes(tmp_path: Path) -> None:
    small, large = (ip4(UDP, "10.0.0.1", "10.0.0.2", udp(1, 2, bytes(size))) for size in (9, 3000))
    (tmp_path / "a.pcap").write_bytes(pcap([(5, small), (7000, small + b"1"), (8000, large)]))
    (tmp_path / "b.pcap").write_bytes(pcap([(10**18, small + b"2"), (10**18 + 9000, small + b"3")]))
    (tmp_path / "c.pcap").write_bytes(b"none")
    assert live.frames_of(tmp_path) == [small, small + b"2", small + b"1", small + b"3"]
    (tmp_path / "none").mkdir()
    with pytest.raises(EtccError, match=r"no \*\.pcap"):
        live.frames_of(tmp_path / "none")


def test_the_sender_changes_the_addresses_in_each_round(wire: Wire) -> None:
    frames = [ip4(UDP, f"10.0.0.{i}", "10.0.1.1", udp(1, 2, bytes(i))) for i in range(1, 101)]
    sender = live.Sender(frames)
    with wire.listening() as heard:
        sent, seconds = sender.send(20_000, packets=250)
    assert (sent, len(heard)) == (250, 250)
    assert seconds > 0.9 * 250 / 20_000 - 64 / 20_000
    ends = [frame[26:34] for _, frame in heard]
    assert ends[:100] == [frame[26:34] for frame in frames]
    assert ends[100:200] == [bytes([11, 0, 0, i, 11, 0, 1, 1]) for i in range(1, 101)]
    assert len(set(ends)) == 250
    assert [frame[:26] + frame[34:] for _, frame in heard[100:200]] == [frame[:26] + frame[34:] for frame in frames]


def test_memory_of_simulated_flows_is_told() -> None:
    ran = CliRunner().invoke(live.main, ["memory", "--flows", "50", "--minutes", "4"], catch_exceptions=False)
    (figure,) = [json.loads(line) for line in ran.output.splitlines()]
    assert figure["simulated_s"] == 240
    assert figure["open"] + figure["ended"] == 50 * 240
    assert 50 * 119 <= figure["open"] <= 50 * 121
    assert (figure["unlabelled"], figure["lost"], figure["evicted"]) == (0, 0, 0)
    assert 20 < figure["megabytes"] <= figure["most_megabytes"] < 10_000


@pytest.mark.slow
def test_speed_is_measured_on_a_wire_of_its_own(wire: Wire) -> None:
    words = [sys.executable, "-m", "etcc_edge.bench.studies.live", "speed", "--seconds", "0.3"]
    ran = subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=600)
    figures = {figure.pop("figure"): figure for figure in map(json.loads, ran.stdout.splitlines())}
    assert ran.returncode == 0, ran.stderr
    assert set(figures) == {"sender alone", "trial", "highest rate without a drop", "latency", "same flows"}
    assert figures["latency"]["p50_ms"] > 0
    same = figures["same flows"]
    assert same["dropped"] == 0
    assert same["flows_live"] == same["flows_file"] == same["equal"] > 100
