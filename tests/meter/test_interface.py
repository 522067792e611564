"""What comes in on an interface is metered as if it came from a file."""

from __future__ import annotations

import resource
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from etcc_edge import _native
from etcc_edge.errors import FlowsError
from etcc_edge.meter.filters import packet_filter
from etcc_edge.meter.interface import Interface, PacketRing, open_rings
from wire import SYN, TCP, UDP, Wire, ip4, ip6, pcap, tagged, tcp, traffic, udp


def new_meter() -> _native.Meter:
    return _native.Meter("darknet2020", 120_000_000, False, 100_000, 1)


def rows(meters: Sequence[_native.Meter]) -> Counter[str]:
    """All flows, as text."""
    lines: Counter[str] = Counter()
    for meter in meters:
        meter.finish()
        lines.update(meter.take().text(0).tobytes().decode().splitlines())
    return lines


def drain(rings: Sequence[PacketRing], meters: Sequence[_native.Meter], packets: int) -> None:
    """Until so many packets came, or none for a while."""
    until = time.monotonic() + 10
    while sum(meter.packets for meter in meters) < packets and time.monotonic() < until:
        for ring, meter in zip(rings, meters, strict=True):
            ring.capture(meter, 10)


@pytest.fixture
def near(wire: Wire) -> Interface:
    return Interface(wire.near)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_flows_are_those_of_the_same_packets_in_a_file(wire: Wire, near: Interface, workers: int) -> None:
    rings = open_rings(near, workers=workers)
    meters = [new_meter() for _ in rings]
    with wire.listening() as heard:
        sent = wire.send(traffic(300))
        drain(rings, meters, sent)
    assert len(heard) == sent
    from_file = new_meter()
    from_file.feed(pcap(heard))
    assert sum(ring.count().received for ring in rings) == sum(meter.packets for meter in meters) == sent
    assert sum(ring.count().dropped for ring in rings) == 0
    if workers > 1:
        assert min(meter.packets for meter in meters) > 0.1 * sent
    live = rows(meters)
    assert live == rows([from_file])
    assert sum(live.values()) > 300


def test_ip_that_gives_no_length_is_as_long_as_on_the_wire(wire: Wire, near: Interface) -> None:
    (ring,) = open_rings(near)
    meter = new_meter()
    four = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6, bytes(1000)))
    six = ip6(UDP, "2001:db8::1", "2001:db8::2", udp(5, 6, bytes(1000)))
    wire.send([four[:16] + bytes(2) + four[18:], six[:18] + bytes(2) + six[20:]] * 3)
    drain([ring], [meter], 6)
    assert [row.split(",")[10] for row in rows([meter])] == ["3000.0", "3000.0"]


def test_a_flow_comes_to_one_worker_whatever_its_tags_and_its_direction(wire: Wire, near: Interface) -> None:
    tags = [(), (0x8100,), (0x88A8, 0x8100), (0x9100,), (0x9100, 0x88A8, 0x8100), 17 * (0x8100,)]
    there = [ip4(UDP, f"10.0.0.{i}", "192.0.2.1", udp(i, 53)) for i in range(1, 30)]
    there += [ip6(UDP, f"2001:db8::{i}", "2001:db8:1::53", udp(i, 53)) for i in range(1, 30)]
    back = [ip4(UDP, "192.0.2.1", f"10.0.0.{i}", udp(53, i)) for i in range(1, 30)]
    back += [ip6(UDP, "2001:db8:1::53", f"2001:db8::{i}", udp(53, i)) for i in range(1, 30)]
    rings = open_rings(near, workers=3)
    meters = [new_meter() for _ in rings]
    with wire.listening() as heard, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((near.name, 0))
        for kinds in tags:
            wire.send(tagged(frame, 7, kinds) for frame in there)
            for frame in back:
                sender.send(tagged(frame, 7, kinds))
        drain(rings, meters, 2 * len(tags) * len(there))
    from_file = new_meter()
    from_file.feed(pcap(heard))
    live = rows(meters)
    assert live == rows([from_file])
    assert sum(live.values()) == len(there)
    assert min(meter.packets for meter in meters) > 0


@pytest.mark.parametrize("expression", ["tcp port 443", "$(tcpdump -ddd)"])
def test_a_filter_keeps_the_packets_that_it_names(wire: Wire, near: Interface, expression: str) -> None:
    if expression.startswith("$"):
        # Of `udp`, by hand: is it IPv4, is its protocol 17, then all of it, else nothing.
        expression = "6\n40 0 0 12\n21 0 3 2048\n48 0 0 23\n21 0 1 17\n6 0 0 262144\n6 0 0 0"
    try:
        instructions = packet_filter(expression, near.link)
    except FlowsError as error:
        pytest.skip(str(error))
    (ring,) = open_rings(near, instructions=instructions)
    meter = new_meter()
    web, other = tcp(5, 443, SYN, bytes(1000)), udp(5, 6, bytes(1000))
    wire.send([ip4(TCP, "10.0.0.1", "10.0.0.2", web)] * 3 + [ip4(UDP, "10.0.0.1", "10.0.0.2", other)] * 5)
    drain([ring], [meter], 3 if "443" in expression else 5)
    assert ring.count().received == meter.packets == (3 if "443" in expression else 5)
    (row,) = rows([meter])
    assert row.split(",")[10] == ("3000.0" if "443" in expression else "5000.0")  # whole, though only headers are kept


def test_a_ring_that_nobody_reads_drops_and_counts(wire: Wire, near: Interface) -> None:
    (ring,) = open_rings(near, ring_bytes=1 << 19)
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6, bytes(100)))
    sent = wire.send([frame] * 5000)
    first = ring.count()
    meter = new_meter()
    drain([ring], [meter], first.received)
    assert first.dropped > 0
    assert first.ring_full > 0
    assert first.received + first.dropped == sent
    assert meter.packets == first.received
    wire.send([frame] * 10)
    drain([ring], [meter], first.received + 10)
    assert (ring.count().received, ring.count().dropped) == (first.received + 10, first.dropped)


def test_rings_beyond_the_free_memory_are_refused(near: Interface) -> None:
    with pytest.raises(
        FlowsError, match=r"^near0: 2 x 1099511627776 MB of rings are more than the \d+ MB of memory that are free"
    ):
        open_rings(near, workers=2, ring_bytes=1 << 60)


def test_the_loopback_gives_each_packet_once(wire: Wire) -> None:
    loopback = Interface("lo")
    (ring,) = open_rings(loopback)
    meter = new_meter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(10):
            sender.sendto(b"hello", ("127.0.0.1", 9))
    drain([ring], [meter], 20)  # each is answered: nobody listens there
    (row,) = [row for row in rows([meter]) if "-9-17" in row]
    assert row.split(",")[8] == "10"


def test_an_interface_that_goes_down_and_up_goes_on(wire: Wire, near: Interface) -> None:
    (ring,) = open_rings(near)
    meter = new_meter()
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6))
    wire.send([frame] * 3)
    drain([ring], [meter], 3)
    wire.ip("link", "set", near.name, "down")
    assert not near.is_up()
    begin = time.monotonic()
    for _ in range(3):
        ring.capture(meter, 20)
    assert time.monotonic() - begin > 0.03  # it waits, and does not turn in circles
    wire.up()
    assert near.is_up()
    wire.send([frame] * 4)
    drain([ring], [meter], 7)
    assert meter.packets == 7


def test_a_removed_interface_is_noticed(wire: Wire, near: Interface) -> None:
    (ring,) = open_rings(near)
    wire.ip("link", "set", near.name, "down")
    assert near.is_up() is False
    wire.ip("link", "set", near.name, "name", "renamed0")
    assert near.is_up() is False
    assert near.name == "renamed0"
    wire.ip("link", "del", "renamed0")
    assert near.is_up() is None
    ring.capture(new_meter(), 1)
    ring.close()


def test_an_interface_is_not_gone_where_file_descriptors_are(near: Interface) -> None:
    assert near.is_up()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert near.is_up()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_clock_that_is_set_while_packets_wait_changes_no_flow(
    wire: Wire, near: Interface, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ring,) = open_rings(near)
    meter = new_meter()
    frame = ip4(UDP, "10.0.0.1", "10.0.0.2", udp(5, 6))
    real = time.time_ns
    for i, hours in enumerate((0, 1, 1, 0, 0)):
        wire.send([frame])
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: real() + hours * 3600 * 10**9)
        drain([ring], [meter], i + 1)
    (row,) = rows([meter])
    assert 0 <= int(row.split(",")[7]) < 5e6  # microseconds from the first packet to the last
    assert abs(ring.clock_step) < 1000


def test_merging_of_packets_is_told(wire: Wire, near: Interface) -> None:
    ethtool = ["ethtool", "-K", near.name, "tso", "off", "gso", "off", "gro", "off"]
    try:
        subprocess.run(ethtool, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs ethtool (apt install ethtool)")
    assert near.merging() == []
    subprocess.run(["ethtool", "-K", near.name, "gro", "on"], check=True, capture_output=True)
    assert near.merging() == ["GRO"]


def test_an_interface_or_a_filter_that_is_none_is_one_line(near: Interface) -> None:
    with pytest.raises(FlowsError, match=r"^nothing9: there is no such interface; ip link lists them$"):
        Interface("nothing9")
    with pytest.raises(FlowsError, match=r"^--filter: these numbers are not what tcpdump -ddd prints"):
        packet_filter("3 1 2", near.link)
    for expression in ("tcp prot 443", "host \udcff"):  # the second: a byte that is no UTF-8
        with pytest.raises(FlowsError, match=r"--filter"):
            packet_filter(expression, near.link)
    with pytest.raises(FlowsError, match=r"the kernel refuses the filter"):
        open_rings(near, instructions=packet_filter("1\n21 9 9 9", near.link))
