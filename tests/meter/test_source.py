"""A capture is a source of flows: the numbers of the meter's own text, and what identifies a flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from captures import ICMP, TCP, UDP, Packet, exchange, pcap
from hypothesis import given, settings
from hypothesis import strategies as st

import etcc_edge
from etcc_edge import _native
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import OK
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.truth import read_features
from etcc_edge.meter import PROFILES, CaptureSource, MeteredCapture


def as_text(capture: Path, profile: str, csv: Path) -> FlowFile:
    """What the command meter writes, opened."""
    with csv.open("wb") as out:
        out.write(_native.meter_header(profile).encode())
        for flows in MeteredCapture(capture, profile).flows():
            out.write(flows.text(0).tobytes())
    return FlowFile(csv)


def assert_equal_bits(capture: Path, profile: str, csv: Path) -> int:
    """The flows of both ways. Their number."""
    with CaptureSource(capture, profile) as source, as_text(capture, profile, csv) as file:
        names = tuple(file.reading.columns)
        assert set(names) <= set(source.reading.columns)
        ours = [parse().features for parse in source.unparsed_batches(names) if parse]
        read = list(file.batches(names))
        assert all((batch.status == OK).all() for batch in read)
        numbers = np.concatenate([np.empty((0, len(names)), np.float32), *ours])
        text = np.concatenate([np.empty((0, len(names)), np.float32), *(batch.features for batch in read)])
        assert numbers.shape == text.shape
        assert np.array_equal(numbers.view(np.uint32)[~np.isnan(text)], text.view(np.uint32)[~np.isnan(text)])
        assert np.array_equal(np.isnan(numbers), np.isnan(text))
        assert vars(source.counts) == vars(file.counts)
    return len(numbers)


packets = st.builds(
    Packet,
    time=st.floats(0, 400, allow_nan=False),
    source=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    source_port=st.sampled_from([1, 2]),
    target=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    target_port=st.sampled_from([1, 2]),
    payload=st.integers(0, 1400),
    protocol=st.sampled_from([TCP, UDP, ICMP]),
    flags=st.integers(0, 255),
)


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=60, deadline=None)
@given(st.lists(packets, max_size=40), st.booleans())
def test_numbers_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, profile: str, flow: list[Packet], ordered: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    capture = folder / "generated.pcap"
    capture.write_bytes(pcap(sorted(flow, key=lambda packet: packet.time) if ordered else flow))
    assert_equal_bits(capture, profile, folder / "generated.csv")


@pytest.mark.parametrize("profile", PROFILES)
def test_numbers_are_those_of_the_text_in_real_captures(real_flows: Path, tmp_path: Path, profile: str) -> None:
    captures = sorted((real_flows / "meter" / "pcap").glob("*.pcap"))
    assert sum(assert_equal_bits(capture, profile, tmp_path / "flows.csv") for capture in captures) > 3000


def cells(capture: bytes, tmp_path: Path) -> dict[str, list[str]]:
    path = tmp_path / "capture.pcap"
    path.write_bytes(capture)
    with CaptureSource(path) as source:
        key = source.key_columns()
        (batch,) = source.batches(["flow_duration"], key)
        assert [batch.text(i) for i in range(len(key))] == [batch.column(n) for n in source.columns[:12]]
        return {name: batch.column(name) for name in source.columns}


# From the specification's baseline: https://github.com/corelight/community-id-spec
@pytest.mark.parametrize(
    ("protocol", "source", "source_port", "target", "target_port", "community_id"),
    [
        (TCP, "128.232.110.120", 34855, "66.35.250.204", 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (UDP, "192.168.1.52", 54585, "8.8.8.8", 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (
            TCP,
            "2001:470:e5bf:dead:4957:2174:e82c:4887",
            63943,
            "2607:f8b0:400c:c03::1a",
            25,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
        ),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_community_id_is_the_published_one(
    tmp_path: Path,
    protocol: int,
    source: str,
    source_port: int,
    target: str,
    target_port: int,
    community_id: str,
    reverse: bool,
) -> None:
    ends = (target, target_port, source, source_port) if reverse else (source, source_port, target, target_port)
    assert cells(pcap(exchange(*ends, protocol=protocol)), tmp_path)["community_id"] == [community_id]


def test_a_flow_that_is_neither_tcp_nor_udp_has_no_community_id(tmp_path: Path) -> None:
    flow = cells(pcap(exchange("10.0.0.1", 0, "10.0.0.2", 0, protocol=ICMP)), tmp_path)
    assert (flow["ip_protocol"], flow["community_id"]) == (["0"], [""])


def test_the_identity_is_written_as_other_tools_read_it(tmp_path: Path) -> None:
    start = 1_383_821_665.420161
    flow = cells(pcap(exchange("fe80::1", 1000, "2001:db8::2", 443, start=start)), tmp_path)
    assert {name: column[0] for name, column in flow.items() if name in list(flow)[:12]} == {
        "src_ip": "fe80::1",
        "src_port": "1000",
        "dst_ip": "2001:db8::2",
        "dst_port": "443",
        "ip_protocol": "6",
        "community_id": flow["community_id"][0],
        "start": "2013-11-07T10:54:25.420161Z",
        "duration_s": "1.250000",
        "fwd_packets": "3",
        "bwd_packets": "3",
        "fwd_bytes": "120",
        "bwd_bytes": "1020",
    }
    assert flow["timestamp"] == ["07/11/2013 10:54:25 AM"]


def test_a_flow_is_known_again_in_the_meter_s_own_file(tmp_path: Path) -> None:
    capture = tmp_path / "capture.pcap"
    both = exchange("10.0.0.1", 1000, "10.0.0.2", 443) + exchange("fe80::1", 1000, "fe80::2", 443)
    capture.write_bytes(pcap(both))
    as_text(capture, PROFILES[0], tmp_path / "flows.csv").close()
    features = ["flow_duration", "flow_packets_per_s"]
    _, of_file = read_features(tmp_path / "flows.csv", features)
    with CaptureSource(capture) as source:
        columns = [source.columns.index(name) for name in source.columns]
        with (tmp_path / "columns.csv").open("w") as out:
            out.write(",".join(source.columns) + "\n")
            for batch in source.batches(features, columns):
                out.writelines(line.decode() + "\n" for line in batch.row_bytes())
    _, of_columns = read_features(tmp_path / "columns.csv", features)
    assert of_file is not None
    assert of_columns is not None
    assert of_file.tolist() == of_columns.tolist()
    assert len(set(of_file.tolist())) == 2


def test_batches_hold_many_flows_and_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "many.pcap"
    flows = 40_000
    pairs = (Packet(i / 1e4, "10.0.0.1", 1 + i, "10.1.0.1", 53, protocol=UDP) for i in range(flows) for _ in range(2))
    path.write_bytes(pcap(pairs))
    with CaptureSource(path) as source:
        batches = list(source.batches(["src_port"]))
        assert source.counts.rows == flows
    assert max(map(len, batches)) <= 1 << 14
    assert np.concatenate([batch.features[:, 0] for batch in batches]).tolist() == [float(1 + i) for i in range(flows)]
    assert np.concatenate([batch.line for batch in batches]).tolist() == list(range(1, flows + 1))


def test_a_damaged_capture_gives_its_flows_and_then_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(exchange("10.0.0.1", 1000, "10.0.0.2", 443))[:-1])
    with CaptureSource(path) as source:
        assert [len(batch) for batch in source.batches(["flow_duration"])] == [1]
        with pytest.raises(FlowsError, match=r"cut\.pcap: it is cut within a record; its flows up to there were given"):
            source.raise_problem()
    batches = etcc_edge.read_capture(path)
    assert len(next(batches)) == 1
    with pytest.raises(FlowsError, match="it is cut within a record"):
        next(batches)


def test_what_there_is_not_is_said(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap(exchange("10.0.0.1", 1000, "10.0.0.2", 443)))
    with pytest.raises(FlowsError, match="unknown profile 'none'; there are darknet2020"):
        CaptureSource(path, "none")
    with (
        CaptureSource(path) as source,
        pytest.raises(FlowsError, match=r"lacks idle_mean \(this meter writes"),
    ):
        list(source.batches(["idle_mean"]))
    with CaptureSource(path) as source:
        (batch,) = source.batches(["flow_duration"])
        with pytest.raises(ValueError, match="no column 'none'; there are src_ip"):
            batch.column("none")
