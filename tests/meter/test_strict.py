"""The strict profile decodes as the Java meter does. Each expectation was confirmed by running the Java program on the
same frame."""

from __future__ import annotations

import pytest
from frames import (
    ARP,
    BROADCAST,
    ICMP,
    IP4,
    IP6,
    IP_IN_IP,
    QINQ,
    TCP,
    VLAN,
    Record,
    ethernet,
    extension,
    ip4,
    ip6,
    metered,
    pcap,
    tcp,
    udp,
)

DROPPED = None
FLOW = "10.0.0.1-10.0.0.2"
INNER = ip4(tcp(b"abcd"), TCP, "192.0.2.1", "192.0.2.2")
PPP_IP4, PPP_IP6 = b"\xff\x03\x00\x21", b"\xff\x03\x00\x57"
SNAP = bytes.fromhex("aaaa03000000")
PADDED = ethernet(ip4(tcp(), TCP)) + bytes(6)
MORE_FRAGMENTS, LATER_FRAGMENT = 0x2000, 0x0002
MULTICAST = bytes.fromhex("333300000001")
SINGLE_OPTION = bytes([0x44])


def arp(target: bytes, source: bytes = bytes(6)) -> bytes:
    body = bytes.fromhex("0001080006040001") + bytes(20)
    return target + source + ARP.to_bytes(2, "big") + body


def l2tp(body: bytes, head: bytes = bytes(6)) -> bytes:
    return ethernet(ip4(udp(head + body, 1701, 1701)))


def icmp(kind: int, body: bytes) -> bytes:
    return ethernet(ip4(bytes([kind]) + bytes(7) + body, ICMP))


def on_802_3(body: bytes, length: int | None = None) -> bytes:
    """LLC and SNAP before IPv4. ``length``: Ethernet's field, which Java takes for the whole frame's."""
    frame = SNAP + IP4.to_bytes(2, "big") + body
    return ethernet(frame, 14 + len(frame) if length is None else length)


# Name to a frame, the flow's ends and protocol, and the payload's bytes.
FRAMES: dict[str, tuple[bytes, str | None, float]] = {
    "TCP": (ethernet(ip4(tcp(b"abcd"), TCP)), f"{FLOW}-1234-443-6", 4),
    "UDP": (ethernet(ip4(udp(b"abcd"))), f"{FLOW}-1234-53-17", 4),
    "another protocol": (ethernet(ip4(bytes(12), 47)), f"{FLOW}-0-0-0", 0),
    "padding is cut behind Ethernet": (PADDED, f"{FLOW}-1234-443-6", 0),
    "padding is payload behind a tag": (ethernet(ip4(tcp(), TCP), IP4, [VLAN]) + bytes(6), f"{FLOW}-1234-443-6", 6),
    "two tags": (ethernet(ip4(udp()), IP4, [QINQ, VLAN]), f"{FLOW}-1234-53-17", 0),
    "twenty tags before UDP": (ethernet(ip4(udp()), IP4, 20 * [VLAN]), f"{FLOW}-1234-53-17", 0),
    "seventeen tags before another protocol": (ethernet(ip4(b"", 47), IP4, 17 * [VLAN]), f"{FLOW}-0-0-0", 0),
    "eighteen tags before another protocol": (ethernet(ip4(b"", 47), IP4, 18 * [VLAN]), DROPPED, 0),
    "a length of 0": (ethernet(ip4(tcp(b"abcd"), TCP, length=0)), f"{FLOW}-0-0-0", 0),
    "a length shorter than the headers": (ethernet(ip4(tcp(b"abcd"), TCP, length=39)), f"{FLOW}-0-0-0", 0),
    "a length shorter than the payload": (ethernet(ip4(tcp(b"abcd"), TCP, length=42)), f"{FLOW}-1234-443-6", 2),
    "a length beyond the frame": (ethernet(ip4(tcp(b"abcd"), TCP, length=900)), f"{FLOW}-1234-443-6", 4),
    "a first fragment": (ethernet(ip4(udp(b"ab"), fragment=MORE_FRAGMENTS)), f"{FLOW}-1234-53-17", 2),
    "a later fragment": (ethernet(ip4(udp(b"ab"), fragment=LATER_FRAGMENT)), f"{FLOW}-0-0-0", 0),
    "IPv4's options": (ethernet(ip4(udp(), options=bytes(8))), f"{FLOW}-1234-53-17", 0),
    "options that end within one": (ethernet(ip4(udp(), options=b"\x01\x01\x01" + SINGLE_OPTION)), DROPPED, 0),
    "an option that Java does not know": (ethernet(ip4(udp(), options=b"\x1f\x00\x00\x44")), f"{FLOW}-1234-53-17", 0),
    "IPv4's header of four words": (ethernet(ip4(udp(), words=4)), DROPPED, 0),
    "IPv4's header beyond the frame": (ethernet(ip4(udp(), words=15)), DROPPED, 0),
    "TCP's header of no words": (ethernet(ip4(tcp(b"abcd", words=0), TCP)), f"{FLOW}-0-0-0", 0),
    "TCP's header of three words": (ethernet(ip4(tcp(b"abcd", words=3), TCP)), DROPPED, 0),
    "TCP's header of four words": (ethernet(ip4(tcp(b"abcd", words=4), TCP)), f"{FLOW}-1234-443-6", 8),
    "TCP's options cut behind the first": (ethernet(ip4(tcp(b"\x02\x04", words=8), TCP)), f"{FLOW}-1234-443-6", 0),
    "TCP's options cut within the first": (ethernet(ip4(tcp(b"\x02", words=8), TCP)), DROPPED, 0),
    "TCP's options cut before the first": (ethernet(ip4(tcp(words=8), TCP)), DROPPED, 0),
    "TCP's header cut": (ethernet(ip4(tcp()[:19], TCP)), f"{FLOW}-0-0-0", 0),
    "UDP's header cut": (ethernet(ip4(udp()[:7])), f"{FLOW}-0-0-0", 0),
    "IP in IP": (ethernet(ip4(INNER, IP_IN_IP)), f"{FLOW}-1234-443-6", 4),
    "IPv6 in IP": (ethernet(ip4(ip6(udp()), 41)), f"{FLOW}-0-0-0", 0),
    "destination unreachable": (icmp(3, INNER), f"{FLOW}-1234-443-6", 4),
    "parameter problem": (icmp(12, INNER), f"{FLOW}-1234-443-6", 4),
    "time exceeded": (icmp(11, INNER), f"{FLOW}-0-0-0", 0),
    "TCP in L2TP": (l2tp(PPP_IP4 + INNER), f"{FLOW}-1234-443-6", 4),
    "UDP in L2TP": (l2tp(PPP_IP4 + ip4(udp())), f"{FLOW}-1701-1701-17", 38),
    "TCP over IPv6 in L2TP": (l2tp(PPP_IP6 + ip6(tcp(b"ab"), TCP)), f"{FLOW}-1234-443-6", 2),
    "L2TP with length and sequence": (l2tp(PPP_IP4 + INNER, b"\x48" + bytes(11)), f"{FLOW}-1234-443-6", 4),
    "L2TP's control messages": (l2tp(PPP_IP4 + INNER, b"\x80" + bytes(5)), f"{FLOW}-1701-1701-17", 54),
    "PPP without address and control": (l2tp(b"\x00\x21" + INNER), f"{FLOW}-1701-1701-17", 52),
    "802.3": (on_802_3(ip4(udp(b"ab"))), f"{FLOW}-1234-53-17", 2),
    "802.3 of a frame said to be shorter": (on_802_3(ip4(udp(b"ab")), 48), f"{FLOW}-0-0-0", 0),
    "IPv4 in IPv6": (ethernet(ip6(INNER, IP_IN_IP), IP6), "192.0.2.1-192.0.2.2-1234-443-6", 4),
    "IPv4 behind IPv6's options": (
        ethernet(ip6(extension(IP_IN_IP, INNER), 0) + bytes(40), IP6),
        "192.0.2.1-192.0.2.2-1234-443-6",
        44,
    ),
    "IPv6": (ethernet(ip6(udp()), IP6, target=MULTICAST), DROPPED, 0),
    "ARP to all": (arp(BROADCAST) + bytes(18), "8.6.0.1-8.0.6.4-0-0-0", 0),
    "ARP to an address of a low first half-byte": (arp(b"\x04" + bytes(5)) + bytes(18), DROPPED, 0),
    "ARP whose header fits": (arp(b"\x05" + bytes(5)), "8.6.0.1-8.0.6.4-0-0-0", 0),
    "ARP without padding, read as a fragment": (arp(BROADCAST, bytes.fromhex("283737006dc8")), DROPPED, 0),
    "ARP without padding, read as a whole packet": (arp(BROADCAST), "8.6.0.1-8.0.6.4-0-0-0", 0),
    "any frame read as IPv4": (
        bytes.fromhex("0500002f0000000000060000") + b"\x88\xcc" + bytes(6) + tcp(),
        "136.204.0.0-0.0.0.0-1234-443-6",
        0,
    ),
    "a short frame": (bytes(13), DROPPED, 0),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_belongs_to_the_flow_that_java_sees(name: str) -> None:
    frame, flow, payload = FRAMES[name]
    done = metered(pcap([frame, frame]), strict=True)
    assert [(row["Flow ID"], float(row["Total Length of Fwd Packet"])) for row in done.rows] == (
        [(flow, 2 * payload)] if flow else []
    )


def test_a_frame_that_was_shorter_on_the_wire_is_dropped() -> None:
    frame = Record(ethernet(ip4(udp())), wire=20)
    assert metered(pcap([frame, frame]), strict=True).rows == []
    assert len(metered(pcap([frame, frame])).rows) == 1


def test_a_cut_frame_has_the_payload_that_was_captured() -> None:
    whole = ethernet(ip4(udp(bytes(100))))
    cut = Record(whole[:64], wire=len(whole))
    (row,) = metered(pcap([cut, cut]), strict=True).rows
    assert row["Total Length of Fwd Packet"] == "44.0"
    (row,) = metered(pcap([cut, cut])).rows
    assert row["Total Length of Fwd Packet"] == "200.0"
