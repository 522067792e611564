"""Flows end by time, whether or not a packet of theirs comes; early looks come before that."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ACK, CLIENT, FIN, MINUTE, OTHER, SERVER, SYN, Packet, end, feed, new_meter

from etcc_edge import _native

ID = "Flow ID"
PACKETS = "Total Fwd Packet"
TWO = Packet(0.0), Packet(1.0)
BLOCK = 64  # packets that set the clock


def others(time: float, count: int = BLOCK) -> list[Packet]:
    return [Packet(time, source=OTHER, source_port=9)] * count


def test_a_timer_ends_a_flow_once_its_time_is_over() -> None:
    meter = new_meter()
    feed(meter, *TWO)
    meter.expire(120_000_000)
    assert len(meter.take()) == 0
    meter.expire(120_000_001)
    assert len(meter.take()) == 1
    assert end(meter) == []


def test_the_packets_clock_ends_flows_unless_all_is_as_java_does_it() -> None:
    late = others(121.0, 2 * BLOCK)
    assert [row[ID] for row in feed(new_meter(), *TWO, *late)] == ["10.0.0.1-10.0.0.2-1234-443-17"]
    assert feed(new_meter(strict=True), *TWO, *late) == []


def test_packets_that_come_late_in_turn_change_no_row() -> None:
    clients = [f"10.1.0.{i}" for i in range(2 * BLOCK)]
    asks = [Packet(time, client) for time in (0.0, 20.0, 60.0, 119.0) for client in clients]
    answers = [Packet(ask.time, SERVER, ask.source, 443, 1234) for ask in asks]
    arrivals = sorted(
        (*asks, *answers, *others(125.0, 2 * BLOCK)), key=lambda packet: packet.time + 30.0 * (packet.source == SERVER)
    )
    java, own = new_meter(strict=True), new_meter()
    rows = feed(java, *arrivals) + end(java)
    own_rows = feed(own, *arrivals) + end(own)
    assert sorted(map(str, own_rows)) == sorted(map(str, rows))


def test_flows_wait_for_late_packets_a_timeout_at_most() -> None:
    meter = new_meter()
    feed(meter, *others(1e9), *others(0.0), *TWO)
    for time, ended in ((239.0, 0), (242.0, 1)):
        rows = feed(meter, *others(time, 2 * BLOCK))
        assert [row["Src IP"] for row in rows].count(CLIENT) == ended


def test_a_few_packets_of_a_wrong_clock_end_nothing() -> None:
    meter = new_meter()
    assert feed(meter, *TWO, *others(1e6, BLOCK - 1), Packet(2.0)) == []
    assert "3" in {row[PACKETS] for row in end(meter)}


@pytest.mark.parametrize("expired", [False, True])
def test_a_flow_in_place_of_an_ended_one_keeps_its_direction(expired: bool) -> None:
    meter = new_meter()
    rows = feed(meter, *TWO)
    if expired:
        meter.expire(200_000_000)
    back = Packet(201.0, SERVER, CLIENT, 443, 1234)
    rows += feed(meter, back, back) + end(meter)
    assert [row[ID] for row in rows] == ["10.0.0.1-10.0.0.2-1234-443-17"] * 2
    assert (rows[1][PACKETS], rows[1]["Total Bwd packets"]) == ("1", "1")  # the first counts as forward


def test_the_direction_is_forgotten_with_a_flow_that_a_fin_ended() -> None:
    meter = new_meter()
    feed(meter, Packet(0.0, flags=SYN), Packet(1.0, flags=ACK))
    meter.expire(200_000_000)
    feed(meter, Packet(201.0, flags=ACK), Packet(202.0, flags=FIN))
    back = Packet(203.0, SERVER, CLIENT, 443, 1234, flags=ACK)
    feed(meter, back, back)
    [row] = end(meter)
    assert row[ID] == "10.0.0.2-10.0.0.1-443-1234-6"


def test_flows_from_the_future_do_not_keep_those_behind_them() -> None:
    meter = new_meter()
    feed(meter, *(Packet(1e9, source_port=port) for port in range(1, 30)), *TWO)
    meter.expire(121_000_000)
    assert len(meter.take()) == 1


packets = st.builds(
    Packet,
    time=st.sampled_from([0.0, 1.0, 100.0, 119.0, 121.0, 200.0, 241.0, 1000.0]),
    source=st.sampled_from([CLIENT, SERVER]),
    target=st.sampled_from([SERVER, CLIENT, OTHER]),
    source_port=st.sampled_from([1, 443]),
    target_port=st.just(443),
    flags=st.sampled_from([None, SYN, ACK, ACK, ACK | FIN]),
    payload=st.integers(0, 2),
)


@given(st.lists(packets, max_size=40), st.sampled_from(_native.meter_profiles()))
def test_a_timer_changes_no_row_while_the_clock_goes_forward(some: list[Packet], profile: str) -> None:
    some.sort(key=lambda packet: packet.time)
    java = new_meter(profile, strict=True)
    rows = feed(java, *some) + end(java)
    timed = new_meter(profile)
    own = []
    for packet in some:
        timed.expire(round(packet.time * 1e6))
        own += feed(timed, packet)
    own += end(timed)
    assert sorted(map(str, own)) == sorted(map(str, rows))


def test_an_early_look_comes_once_after_so_many_packets() -> None:
    meter = new_meter(after_packets=3)
    assert feed(meter, *TWO) == []
    meter.feed(Packet(2.0).record() * 3)
    flows = meter.take()
    assert flows.early.tolist() == [True]
    assert flows.lone.tolist() == [False]
    meter.finish()
    flows = meter.take()
    assert flows.early.tolist() == [False]


def test_an_early_look_holds_the_packets_up_to_its_time() -> None:
    meter = new_meter(after_time=5_000_000)
    [early] = feed(meter, Packet(0.0), Packet(4.9), Packet(5.1))
    assert early[PACKETS] == "2"
    [final] = end(meter)
    assert final[PACKETS] == "3"


def test_an_early_look_waits_for_no_packet_of_its_flow() -> None:
    meter = new_meter(after_time=5_000_000)
    assert len(feed(meter, *TWO, *others(6.0, 2))) == 1
    meter = new_meter(after_time=5_000_000)
    feed(meter, *TWO)
    meter.expire(5_000_000)
    assert meter.take().early.tolist() == [True]


def test_a_flow_of_one_packet_is_looked_at_once_it_has_two() -> None:
    meter = new_meter(after_time=5_000_000)
    assert feed(meter, Packet(0.0), *others(6.0, 2)) == []
    [early] = feed(meter, Packet(7.0))
    assert early[PACKETS] == "2"


def test_a_flow_that_ends_before_its_early_look_has_none() -> None:
    meter = new_meter(after_packets=2)
    meter.feed(Packet(0.0, flags=ACK).record() + Packet(1.0, flags=FIN).record())
    assert meter.take().early.tolist() == [False]


def test_flows_of_one_packet_are_given_on_request_and_always_counted() -> None:
    for lone in (False, True):
        meter = new_meter(lone=lone)
        meter.feed(Packet(0.0).record())
        meter.finish()
        assert meter.take().lone.tolist() == [True] * lone
        assert meter.lone == 1


def test_single_syns_make_room_first_then_the_oldest() -> None:
    meter = new_meter(max_flows=3, lone=True)
    feed(meter, Packet(0.0, source_port=1, flags=SYN), Packet(0.1, source_port=1, flags=ACK))
    feed(meter, Packet(0.2, source_port=2, flags=ACK), Packet(0.3, source_port=3, flags=SYN))
    ports = [feed(meter, Packet(1.0, source_port=port, flags=ACK))[0]["Src Port"] for port in (4, 5, 6, 7)]
    assert ports == ["3", "1", "2", "4"]
    assert meter.evicted == 4


def test_a_flood_of_syns_drops_no_flow_of_two_packets() -> None:
    meter = new_meter(max_flows=100)
    feed(meter, *(Packet(0.0, source_port=port, flags=ACK) for port in range(50) for _ in range(2)))
    for k in range(100):
        assert feed(meter, *(Packet(1.0, f"10.1.{k}.{i}", flags=SYN) for i in range(256))) == []
    assert meter.evicted == 100 * 256 - 50
    assert len(end(meter)) == 50


def test_a_year_of_idle_time_keeps_no_flows() -> None:
    meter = new_meter(max_flows=2 * BLOCK)
    hours = [Packet(hour * 60 * MINUTE + second, source_port=hour) for hour in range(1, 365 * 24) for second in (0, 1)]
    rows = feed(meter, *hours) + end(meter)
    assert len(rows) == 365 * 24 - 1
    assert all(int(a["Src Port"]) < int(b["Src Port"]) for a, b in pairwise(rows))
    assert meter.evicted == 0


def test_any_clock_is_survived() -> None:
    meter = new_meter(after_time=1_000_000)
    feed(meter, *(Packet(float(time), source_port=i % 7) for i, time in enumerate([4e9, 0, 1, 4e9, 2, 3] * 100)))
    for now in (-(1 << 53), 1 << 53, 0):
        meter.expire(now)
    end(meter)
