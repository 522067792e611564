"""A table of captures gives labelled flows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from captures import exchange, pcap

from etcc_edge.errors import FlowsError
from etcc_edge.meter.labelled import CaptureTable

CHAT = pcap(exchange("10.0.0.1", 50_000, "192.0.2.1", 443) + exchange("10.0.0.1", 50_001, "192.0.2.1", 443, packets=1))
MAIL = pcap(packet for i in range(2) for packet in exchange("10.0.0.1", 50_000 + i, "192.0.2.2", 993, packets=4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pcap").mkdir()
    (tmp_path / "pcap" / "chat.pcap").write_bytes(CHAT)
    (tmp_path / "pcap" / "mail.pcap").write_bytes(MAIL)
    return tmp_path


def table(folder: Path, *lines: str, header: str = "capture,protocol,application") -> CaptureTable:
    path = folder / "captures.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return CaptureTable(path)


def test_every_flow_has_its_capture_s_labels_and_name(folder: Path) -> None:
    captures = table(folder, "pcap/chat.pcap,vpn,Chat", "pcap/mail.pcap,Non-VPN,EMAIL")
    flows, damaged = captures.read("darknet2020", 120.0, ["src_port", "fwd_packets"])
    assert damaged == []
    assert flows.features.tolist() == [[50_000, 3], [50_000, 2], [50_001, 2]]
    assert flows.protocol.tolist() == ["VPN", "Non-VPN", "Non-VPN"]
    assert flows.application.tolist() == ["Chat", "Email", "Email"]
    assert flows.capture.tolist() == ["pcap/chat.pcap", "pcap/mail.pcap", "pcap/mail.pcap"]
    assert flows.flow_id[0] == "10.0.0.1-192.0.2.1-50000-443-6"
    assert flows.profile == "darknet2020"
    assert flows.name.endswith("captures.csv")
    assert flows.identity is not None
    assert len(np.unique(flows.identity)) == 3


def test_the_timeout_cuts_flows(folder: Path) -> None:
    captures = table(folder, "pcap/chat.pcap,VPN,Chat")
    assert captures.read("darknet2020", 0.3, ["fwd_packets", "bwd_packets"])[0].features.tolist() == 3 * [[1, 1]]


def test_a_damaged_capture_counts_up_to_there(folder: Path) -> None:
    (folder / "pcap" / "chat.pcap").write_bytes(CHAT[:-1])
    flows, (line,) = table(folder, "pcap/chat.pcap,VPN,Chat").read("darknet2020", 120.0, ["src_port"])
    assert len(flows) == 1
    assert line.endswith("chat.pcap: it is cut within a record; its flows up to there count")


def test_columns_may_come_in_any_order_and_blank_lines_are_none(folder: Path) -> None:
    captures = table(folder, "", "Chat, pcap/chat.pcap ,VPN", header="Application,Capture,Protocol")
    assert [(row.name, row.protocol, row.application) for row in captures.rows] == [("pcap/chat.pcap", "VPN", "Chat")]


def test_the_digest_covers_the_table_and_its_captures(folder: Path) -> None:
    captures = table(folder, "pcap/chat.pcap,VPN,Chat", "pcap/mail.pcap,VPN,Email")
    text = (folder / "captures.csv").read_bytes()
    assert captures.sha256() == hashlib.sha256(text + CHAT + MAIL).hexdigest()


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("capture,protocol", [], r"captures\.csv:1: has the columns capture, protocol; a table of captures has"),
        ("capture,protocol,application,user", [], r"captures\.csv:1: has the columns capture, protocol, application"),
        ("capture,protocol,application", [], r"captures\.csv: names no capture"),
        ("capture,protocol,application", ["a.pcap,VPN,Chat"], r"captures\.csv:2: there is no capture .*a\.pcap"),
        ("capture,protocol,application", ["pcap,VPN,Chat"], r"captures\.csv:2: there is no capture .*pcap"),
        ("capture,protocol,application", ["pcap/chat.pcap,VPN"], r"captures\.csv:2: has 2 cells where the header"),
        (
            "capture,protocol,application",
            ["pcap/chat.pcap,VPN, "],
            r"has no application; .* such as Other",
        ),
        (
            "capture,protocol,application",
            ["pcap/chat.pcap,VPN,Chat", "./pcap/chat.pcap,VPN,Chat"],
            r"captures\.csv:3: \./pcap/chat\.pcap is named twice",
        ),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_line(folder: Path, header: str, lines: list[str], message: str) -> None:
    with pytest.raises(FlowsError, match=message):
        table(folder, *lines, header=header)


def test_what_cannot_be_read_is_refused(folder: Path) -> None:
    with pytest.raises(FlowsError, match=r"none\.csv: cannot be read: No such file"):
        CaptureTable(folder / "none.csv")
    (folder / "pcap" / "chat.pcap").write_bytes(pcap(exchange("10.0.0.1", 1, "10.0.0.2", 2, packets=1)))
    with pytest.raises(FlowsError, match=r"chat\.pcap: holds no flow of two packets or more"):
        table(folder, "pcap/chat.pcap,VPN,Chat").read("darknet2020", 120.0)
    (folder / "pcap" / "chat.pcap").write_text("Flow ID,Src IP\n")
    with pytest.raises(FlowsError, match=r"chat\.pcap: it is neither pcap nor pcapng"):
        table(folder, "pcap/chat.pcap,VPN,Chat").read("darknet2020", 120.0)
    with pytest.raises(FlowsError, match="lacks idle_mean"):
        table(folder, "pcap/mail.pcap,VPN,Chat").read("darknet2020", 120.0, ["idle_mean"])
