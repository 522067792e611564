"""Packets off a wire become labelled records; what goes wrong around them loses none silently."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etcc_edge import _native
from etcc_edge.bundle import Bundle
from etcc_edge.errors import BundleError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.meter.interface import Interface, open_rings
from etcc_edge.meter.source import After, CaptureSource
from etcc_edge.serve.records import IDENTITY
from feeds import SECOND, Fed, Start, udp_flows, wait_for
from wire import SYN, TCP, UDP, Wire, ip4, pcap, tcp, traffic, udp


@pytest.mark.parametrize("workers", [1, 2])
def test_records_and_labels_are_those_of_the_same_packets_in_a_file(
    wire: Wire, start: Start, classifier: Classifier, tmp_path: Path, workers: int
) -> None:
    rings = open_rings(Interface(wire.near), workers=workers)
    live, sink = start(rings)
    with wire.listening() as heard:
        sent = wire.send(traffic(200))
        wait_for(lambda: sum(counts.packets for counts in live.worker_counts()) == sent)
    assert live.stop(10)
    (tmp_path / "capture.pcap").write_bytes(pcap(heard))
    expected: Counter[tuple[str, ...]] = Counter()
    for batch, result in classifier.classify(tmp_path / "capture.pcap"):
        columns = [batch.column(name) for name in ("start", "community_id", "src_port", "fwd_bytes")]
        labels = [result.labels(level).tolist() for level in result.levels]
        expected.update(zip(*columns, *labels, (f"{sure:.4f}" for sure in result.confidence[0]), strict=True))
    records = Counter(
        (
            *(str(record[name]) for name in ("start", "community_id", "src_port", "fwd_bytes")),
            record["etcc_protocol"] or "",
            record["etcc_application"] or "",
            f"{record['etcc_protocol_confidence']:.4f}",
        )
        for record in sink.records
    )
    assert records == expected
    assert sum(counts.flows for counts in live.counts.labels.values()) == len(sink.records) == live.counts.ended > 200
    assert [counts.ring.dropped for counts in live.worker_counts()] == [0] * workers


def test_flows_end_without_another_packet(start: Start) -> None:
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6, b"x"))
    fed = Fed([[(0.0, frame), (1.0, frame)]])
    _, sink = start([fed])
    wait_for(lambda: fed.given == 2)
    assert not sink.lines
    fed.now += 121 * SECOND
    wait_for(lambda: len(sink.lines) == 1)
    assert sink.records[0]["duration_s"] == 1.0


def test_an_early_record_says_so_and_the_final_one_follows(start: Start) -> None:
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6, b"x"))
    live, sink = start([Fed([[(i / 10, frame) for i in range(8)]])], after=After(packets=4))
    wait_for(lambda: len(sink.lines) == 1)
    assert live.stop(10)
    early, final = sink.records
    assert (early["verdict"], early["fwd_packets"]) == ("early", 4)
    assert (final["verdict"], final["fwd_packets"]) == ("final", 8)
    assert (live.counts.early, live.counts.ended) == (1, 1)


def test_behind_a_stalled_sink_flows_are_written_without_labels_then_counted_as_lost(start: Start) -> None:
    fed = Fed()
    live, sink = start([fed], queue_limit=1000, timeout=10.0)
    sink.open_gate.clear()
    for round_ in range(12):  # each ends what the one before began
        fed.pieces.append(udp_flows(250, 250 * round_, at=11.0 * round_))
        wait_for(lambda: not fed.pieces)
    fed.now += 11 * SECOND
    wait_for(lambda: live.counts.lost + live.waiting == 3000)
    assert 1000 <= live.counts.lost <= 1250
    sink.open_gate.set()
    wait_for(lambda: live.waiting == 0 and live.counts.ended == 3000 - live.counts.lost)  # the last are written, too
    assert len(sink.lines) == live.counts.ended
    unlabelled = [record for record in sink.records if record["etcc_protocol"] is None]
    assert len(unlabelled) == live.counts.unlabelled >= 500
    fed.pieces.append(udp_flows(10, 90_000, at=200.0))
    wait_for(lambda: not fed.pieces)
    assert live.stop(10)
    assert all(record["etcc_protocol"] for record in sink.records[-10:])


def test_a_sink_that_never_goes_on_ends_in_time_and_its_flows_are_counted(start: Start) -> None:
    live, sink = start([Fed([udp_flows(50)])])
    wait_for(lambda: live.worker_counts()[0].packets == 100)
    sink.open_gate.clear()
    begin = time.monotonic()
    assert not live.stop(1.0)
    assert time.monotonic() - begin < 5
    assert live.counts.lost == 50


def test_early_records_are_no_lost_flows(start: Start) -> None:
    frames = [(second, frame) for second in range(3) for _, frame in udp_flows(10)]
    live, sink = start([Fed([frames])], after=After(packets=3))
    wait_for(lambda: len(sink.lines) == 10)
    sink.open_gate.clear()
    assert not live.stop(1.0)
    assert (live.counts.early, live.counts.ended, live.counts.lost) == (10, 0, 10)


def test_a_run_whose_records_wait_for_the_sink_is_at_work(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etcc_edge.serve.live._STUCK_SECONDS", 0.5)
    fed = Fed([udp_flows(5)])
    live, sink = start([fed], timeout=10.0)
    sink.open_gate.clear()
    wait_for(lambda: fed.given == 10)
    fed.now += 11 * SECOND
    wait_for(lambda: sink.stalled == "the gate is closed")
    time.sleep(1)
    assert live.is_at_work()
    sink.open_gate.set()
    wait_for(lambda: live.counts.ended == 5)


def test_a_flood_of_syns_and_single_packets_keeps_memory_and_real_flows(start: Start) -> None:
    real = [ip4(TCP, "10.9.9.9", "192.0.2.9", tcp(999, 443, flags, b"x" * 9)) for flags in (SYN, 16, 24)]

    def flood(number: int) -> list[tuple[float, bytes]]:
        frames = []
        for i in range(2000 * number, 2000 * (number + 1)):
            host = f"172.{i >> 16}.{i >> 8 & 255}.{i & 255}"
            syn, single = ip4(TCP, host, "192.0.2.1", tcp(80, 80, SYN)), ip4(UDP, host, "192.0.2.1", udp(80, 53))
            frames.append((0.01 * number, syn if i % 2 else single))
        return frames

    fed = Fed([[(0.0, real[0]), (0.0, real[1])], *(flood(i) for i in range(30)), [(1.0, real[2])]])
    live, sink = start([fed], max_flows=40_000)
    wait_for(lambda: live.worker_counts()[0].packets == 60_003)
    counts = live.worker_counts()[0]
    assert counts.open == 40_000
    assert counts.evicted >= 19_000
    assert live.stop(10)
    assert [(record["src_ip"], record["fwd_packets"]) for record in sink.records] == [("10.9.9.9", 3)]


def test_a_clock_that_was_set_shows_in_records_and_not_in_flows(start: Start) -> None:
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6, b"x"))
    fed = Fed([[(0.0, frame), (1.0, frame)]])
    live, sink = start([fed])
    wait_for(lambda: fed.given == 2)
    fed.clock_step = -3600 * SECOND
    assert live.stop(10)
    assert (sink.records[0]["start"], sink.records[0]["duration_s"]) == ("2023-11-14T21:13:20.000000Z", 1.0)


def test_a_new_bundle_serves_the_next_flows_and_none_is_lost(start: Start) -> None:
    fed = Fed([udp_flows(2000)])
    live, sink = start([fed], timeout=120.0)
    wait_for(lambda: fed.given == 4000)
    fed.now += 121 * SECOND
    wait_for(lambda: live.counts.ended > 0)
    live.replace_classifier(Classifier("no-ports", threads=1))
    fed.pieces.append(udp_flows(100, 5000, at=300.0))
    wait_for(lambda: not fed.pieces)
    assert live.stop(10)
    bundles = [record["bundle"] for record in sink.records]
    assert len(bundles) == 2100
    assert bundles[-100:] == ["no-ports"] * 100
    assert sorted(bundles) == bundles


def test_a_bundle_that_does_not_answer_or_fit_leaves_the_old_one_serving(
    start: Start, classifier: Classifier, tiny_bundle: Bundle
) -> None:
    live, _ = start([Fed()])
    good = classifier.bundle
    broken = replace(good, weights={name: array * np.float32(np.nan) for name, array in good.weights.items()})
    with pytest.raises(BundleError, match="does not answer generated flows"):
        live.replace_classifier(Classifier(broken, backend="native", threads=1))
    foreign = replace(tiny_bundle, flow_definition=replace(tiny_bundle.flow_definition, meter="another meter"))
    with pytest.raises(BundleError, match="cannot be cut from packets"):
        live.replace_classifier(Classifier(foreign, backend="native", threads=1))
    longer = replace(good, flow_definition=replace(good.flow_definition, timeout_s=60.0))
    with pytest.raises(BundleError, match="cut in another way"):
        live.replace_classifier(Classifier(longer, backend="native", threads=1))
    assert live.classifier is classifier


def test_a_thread_that_fails_is_told(start: Start) -> None:
    class Broken(Fed):
        def capture(self, meter: _native.Meter, milliseconds: int) -> int:
            raise MemoryError

    live, _ = start([Broken()])
    wait_for(lambda: live.failed is not None)
    assert isinstance(live.failed, MemoryError)
    assert not live.is_at_work()


def test_a_record_and_a_labelled_capture_name_their_columns_alike(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(pcap([]))
    with CaptureSource(tmp_path / "a.pcap", after=After(packets=2)) as source:
        assert set(IDENTITY) == {source.columns[i] for i in source.key_columns()}
