"""Every link type, form of capture and odd header gives the right flow, or is skipped and counted by reason."""

from __future__ import annotations

import pytest
from frames import (
    CLIENT_6,
    ETHERNET,
    FIN,
    IP4,
    IP6,
    IP_IN_IP,
    NANOSECONDS,
    QINQ,
    SERVER_6,
    TCP,
    UDP,
    VLAN,
    Pcapng,
    Record,
    ethernet,
    extension,
    ip4,
    ip6,
    metered,
    pcap,
    pcapng,
    tcp,
    udp,
)

FOUR, SIX = ip4(udp(b"abcd")), ip6(udp(b"abcd"))
FLOW_4 = "10.0.0.1-10.0.0.2-1234-53-17"
FLOW_6 = "2001:db8:0:0:0:0:0:1-2001:db8:0:0:0:0:0:2-1234-53-17"
FRAME = ethernet(FOUR)
LINKS = {
    "Ethernet": (1, FRAME),
    "VLAN": (1, ethernet(FOUR, IP4, [VLAN])),
    "QinQ": (1, ethernet(FOUR, IP4, [QINQ, VLAN])),
    "old QinQ": (1, ethernet(FOUR, IP4, [0x9100, VLAN])),
    "IPv6 behind a tag": (1, ethernet(SIX, IP6, [VLAN])),
    "raw": (101, FOUR),
    "raw IPv6": (101, SIX),
    "raw of BSD": (12, FOUR),
    "raw IPv4 alone": (228, FOUR),
    "raw IPv6 alone": (229, SIX),
    "Linux cooked": (113, bytes(14) + b"\x08\x00" + FOUR),
    "Linux cooked with a tag": (113, bytes(14) + b"\x81\x00\x00\x07\x86\xdd" + SIX),
    "Linux cooked 2": (276, b"\x86\xdd" + bytes(18) + SIX),
    "null, little-endian": (0, b"\x02\x00\x00\x00" + FOUR),
    "null, big-endian": (0, b"\x00\x00\x00\x1e" + SIX),
    "loop": (108, b"\x00\x00\x00\x02" + FOUR),
    "PPP": (9, b"\xff\x03\x00\x21" + FOUR),
    "PPP without address and control": (9, b"\x00\x57" + SIX),
}
HEADERS = {
    "IPv4's options": (ip4(udp(b"abcd"), options=bytes(40)), FLOW_4, 4),
    "a first fragment": (ip4(udp(b"abcd"), fragment=0x2000), FLOW_4, 4),
    "a later fragment": (ip4(udp(b"abcd"), fragment=2), "10.0.0.1-10.0.0.2-0-0-0", 0),
    "IP in IP": (ip4(FOUR, IP_IN_IP), "10.0.0.1-10.0.0.2-0-0-0", 0),
    "no length, as before a network card cuts": (ip4(udp(b"abcd"), length=0), FLOW_4, 4),
    "a length shorter than the headers": (ip4(udp(b"abcd"), length=10), FLOW_4, 0),
    "a length beyond what was captured": (ip4(udp(b"abcd"), length=1028), FLOW_4, 1000),
    "IPv6's hop-by-hop options": (ip6(extension(UDP, udp(b"abcd")), 0), FLOW_6, 4),
    "a chain of IPv6's headers": (
        ip6(extension(43, extension(60, extension(51, extension(UDP, udp(b"abcd"), 4, 24)), 1, 16)), 0),
        FLOW_6,
        4,
    ),
    "IPv6's first fragment": (ip6(bytes([UDP, 0, 0, 1]) + bytes(4) + udp(b"abcd"), 44), FLOW_6, 4),
    "IPv6's later fragment": (
        ip6(bytes([UDP, 0, 0, 9]) + bytes(4) + udp(b"abcd"), 44),
        FLOW_6.replace("1234-53-17", "0-0-0"),
        0,
    ),
    "IPv6 without a length": (ip6(udp(b"abcd"), length=0), FLOW_6, 4),
}
SKIPPED = {
    "not IP": (1, ethernet(bytes(28), 0x0806)),
    "unknown link type": (147, FOUR),
    "too short": (1, FRAME[:33]),
    "damaged IP header": (1, ethernet(ip4(udp(), words=4))),
}


def flows(capture: bytes) -> list[tuple[str, float]]:
    return [(row["Flow ID"], float(row["Total Length of Fwd Packet"])) for row in metered(capture).rows]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_type_leads_to_its_packets(name: str) -> None:
    link, frame = LINKS[name]
    flow = FLOW_6 if SIX in frame else FLOW_4
    assert flows(pcap([frame, frame], link)) == [(flow, 8)]


@pytest.mark.parametrize("name", HEADERS)
def test_odd_headers_give_the_flow_that_they_should(name: str) -> None:
    packet, flow, payload = HEADERS[name]
    assert flows(pcap([packet, packet], 101)) == [(flow, 2 * payload)]


@pytest.mark.parametrize("reason", SKIPPED)
def test_what_is_no_packet_is_counted_by_reason(reason: str) -> None:
    link, frame = SKIPPED[reason]
    assert metered(pcap([frame, frame], link)).skipped == {reason: 2}


def test_a_stack_of_tags_without_an_end_is_no_packet() -> None:
    done = metered(pcap([ethernet(FOUR, IP4, 1000 * [VLAN])]))
    assert (done.rows, done.lone, sum(done.skipped.values())) == ([], 0, 1)


def test_a_chain_of_headers_without_an_end_is_no_packet() -> None:
    packet = udp()
    for _ in range(1000):
        packet = extension(0, packet)
    assert metered(pcap([ip6(packet, 0)], 101)).skipped == {"damaged IP header": 1}


def test_a_cut_frame_keeps_the_payload_that_ip_tells_of() -> None:
    whole = ethernet(ip4(udp(bytes(1000))))
    assert flows(pcap([Record(whole[:64], wire=len(whole))] * 2, snap=64)) == [(FLOW_4, 2000)]


@pytest.mark.parametrize(
    ("packet", "flow"), [(ip4(udp(bytes(1000)), length=0), FLOW_4), (ip6(udp(bytes(1000)), length=0), FLOW_6)]
)
def test_a_cut_frame_without_a_length_in_ip_has_its_length_on_the_wire(packet: bytes, flow: str) -> None:
    assert flows(pcap([Record(packet[:64], wire=len(packet))] * 2, 101)) == [(flow, 2000)]
    assert flows(pcap([Record(packet, wire=64)] * 2, 101)) == [(flow, 2000)]
    [(_, size)] = flows(pcap([Record(packet[:64], wire=(1 << 32) - 1)] * 2, 101))
    assert size < 1 << 21


def test_a_link_type_may_say_how_long_the_checksum_behind_each_frame_is() -> None:
    captures = [pcap([FRAME + bytes(4)] * 2, link) for link in (ETHERNET, ETHERNET | 0x24000000, ETHERNET | 0xFFFF0000)]
    assert [flows(capture) for capture in captures] == [[(FLOW_4, 8)]] * 3


def test_frames_of_no_bytes_and_of_256_kb_are_read() -> None:
    large = ethernet(ip4(udp(b"abcd"))) + bytes(262_144 - len(FRAME))
    done = metered(pcap([b"", large, large]))
    assert (len(done.rows), done.skipped, done.problem) == (1, {"too short": 1}, "")
    assert metered(pcap([large + b"\x00"])).problem == "a record's length is impossible"


@pytest.mark.parametrize("order", ["<", ">"])
def test_interfaces_have_clocks_links_and_offsets_of_their_own(order: str) -> None:
    form = Pcapng(order)
    nanoseconds, binary = form.option(9, b"\x09"), form.option(9, b"\x8a")  # 2⁻¹⁰ s
    minute = form.option(14, form.pack("q", 60))
    capture = form.section() + form.interface(options=nanoseconds) + form.interface(101, options=binary + minute)
    capture += form.packet(Record(FRAME, 5_000_000_000)) + form.old_packet(Record(FOUR, 1024 * 3), 1)
    (row,) = metered(capture).rows
    assert (row["Timestamp"], row["Flow Duration"]) == ("01/01/1970 12:00:05 AM", "58000000")


def test_sections_of_either_byte_order_follow_each_other() -> None:
    assert flows(pcapng([FRAME], "<") + pcapng([FRAME], ">")) == [(FLOW_4, 8)]


def test_unknown_blocks_are_passed_over_and_simple_packets_read() -> None:
    form = Pcapng()
    capture = form.section() + form.block(0x0BAD, b"of another program") + form.interface()
    assert flows(capture + form.simple_packet(FRAME) + form.block(5, bytes(8)) + form.simple_packet(FRAME)) == [
        (FLOW_4, 8)
    ]


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (Pcapng().packet(FRAME)[:-4] + bytes(4), "a block's two lengths differ"),
        (Pcapng().pack("II", 6, 0xFFFFFFFC) + bytes(8), "a block's length is impossible"),
        (Pcapng().packet(FRAME, interface=9), "a packet's interface is unknown"),
        (Pcapng().interface(options=Pcapng().option(9, b"\x7f")), "an interface's resolution of time is impossible"),
        (Pcapng().interface() * 70_000, "it has too many interfaces"),
        (Pcapng().packet(FRAME)[:-1], "it is cut within a record"),
    ],
)
def test_a_lie_in_pcapng_ends_the_capture_behind_its_flows(tail: bytes, problem: str) -> None:
    done = metered(pcapng([FRAME, FRAME]) + tail)
    assert ([row["Flow ID"] for row in done.rows], done.problem) == ([FLOW_4], problem)


def test_clocks_that_jump_back_or_by_years_lose_no_packet() -> None:
    times = [2_000_000, 1_000_000, 10**15, 5, 4 * 10**15]
    done = metered(pcap([Record(FRAME, time) for time in times]))
    counts = [int(row["Total Fwd Packet"]) + int(row["Total Bwd packets"]) for row in done.rows]
    assert sum(counts) + done.lone == len(times)


def test_nanoseconds_are_cut_to_microseconds() -> None:
    (row,) = metered(pcap([Record(FRAME, 1_999), Record(FRAME, 5_000)], magic=NANOSECONDS)).rows
    assert row["Flow Duration"] == "4"


def test_addresses_and_flags_are_those_of_the_headers() -> None:
    frame = ethernet(ip6(tcp(b"ab", flags=FIN), TCP), IP6)
    (row,) = metered(pcap([frame, frame])).rows
    assert row["Src IP"].replace(":0:0:0:0:0:", "::") == CLIENT_6
    assert row["Dst IP"].replace(":0:0:0:0:0:", "::") == SERVER_6
    assert (row["FIN Flag Count"], row["Protocol"]) == ("2", "6")
