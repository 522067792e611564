"""What the profiles without a reference do, as their sources state it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import ACK, CLIENT, FIN, PSH, RST, SERVER, SYN, Packet, end, feed, new_meter

from etcc_edge import _native

THERE = (CLIENT, SERVER, 1234, 443)
BACK = (SERVER, CLIENT, 443, 1234)


def rows(profile: str, *packets: Packet, timeout: int = 0, **more: int) -> list[dict[str, str]]:
    meter = new_meter(profile, timeout=timeout or _native.meter_timeout(profile), **more)
    return feed(meter, *packets) + end(meter)


def counts(row: dict[str, str]) -> tuple[int, int]:
    return int(row["Total Fwd Packet"]), int(row["Total Bwd packets"])


def test_each_profile_has_its_timeout_and_says_whether_it_was_compared() -> None:
    assert {name: _native.meter_timeout(name) / 1e6 for name in _native.meter_profiles()} == {
        "darknet2020": 120,
        "cicflowmeter-2021": 120,
        "fixed": 120,
        "iscx-15s": 15,
    }
    assert [name for name in _native.meter_profiles() if not _native.meter_is_proven(name)] == ["fixed", "iscx-15s"]


@pytest.mark.parametrize("closing", [[(THERE, FIN), (BACK, FIN)], [(BACK, RST)]])
def test_a_fixed_flow_keeps_what_trails_until_the_next_syn(closing: list[tuple[tuple[object, ...], int]]) -> None:
    first = [Packet(0.0, *THERE, flags=SYN), *(Packet(1.0, *ends, flags=flag) for ends, flag in closing)]
    trailing = [Packet(2.0, *THERE, flags=ACK)]
    second = [Packet(3.0, *BACK, flags=SYN), Packet(4.0, *BACK, flags=ACK)]
    one, two = rows("fixed", *first, *trailing, *second)
    assert sum(counts(one)) == len(first) + 1
    assert (two["Src IP"], counts(two)) == (SERVER, (2, 0))


def test_a_fixed_flow_goes_on_after_one_fin_and_a_syn() -> None:
    packets = [Packet(0.0, *THERE, flags=SYN), Packet(1.0, *THERE, flags=FIN), Packet(2.0, *THERE, flags=SYN)]
    assert len(rows("fixed", *packets)) == 1


def test_a_fixed_flow_that_is_first_seen_answering_is_turned() -> None:
    [row] = rows("fixed", Packet(0.0, *BACK, flags=SYN | ACK), Packet(1.0, *THERE, flags=ACK), Packet(2.0, *THERE))
    assert (row["Src IP"], counts(row)) == (CLIENT, (1, 1))
    assert (row["Fwd IAT Total"], row["Bwd IAT Total"], row["Flow Duration"]) == ("0", "0", "1000000")


def test_fixed_udp_ends_by_idle_time_and_tcp_by_age() -> None:
    times = [0.0, 100.0, 200.0, 300.0, 421.0, 422.0]
    assert [sum(counts(row)) for row in rows("fixed", *(Packet(time) for time in times))] == [4, 2]
    assert [sum(counts(row)) for row in rows("fixed", *(Packet(time, flags=ACK) for time in times))] == [2, 2, 2]
    meter = new_meter("fixed")
    feed(meter, *(Packet(time) for time in times[:4]))
    meter.expire(419_000_000)
    assert len(meter.take()) == 0
    meter.expire(421_000_000)
    assert len(meter.take()) == 1


def test_fixed_figures_are_corrected() -> None:
    same = [Packet(0.0, *THERE, flags=PSH, payload=10), Packet(0.0, *BACK, flags=PSH, payload=20)]
    [row] = rows("fixed", *same, *same, Packet(0.0, *BACK, flags=ACK, payload=20))
    assert row["Packet Length Mean"] == "16.0"
    assert row["Average Packet Size"] == "16.0"
    assert (row["Fwd PSH Flags"], row["Bwd PSH Flags"]) == ("2", "2")
    assert {row[name] for name in ("Flow Bytes/s", "Flow Packets/s", "Fwd Packets/s", "Bwd Packets/s")} == {"-1.0"}
    assert row["Down/Up Ratio"] == "1.5"


def test_iscx_flows_have_active_and_idle_times_and_a_mark_for_none() -> None:
    [row] = rows("iscx-15s", Packet(0.0), Packet(1.5))
    assert {row[f"{kind} {of}"] for kind in ("Active", "Idle") for of in ("Mean", "Max", "Min")} == {"1500000.0"}
    assert (row["Bwd IAT Max"], row["Bwd IAT Min"], row["Bwd IAT Mean"]) == ("-1", "-1", "0")
    [row] = rows("iscx-15s", Packet(0.0), Packet(1.0))
    assert (row["Active Max"], row["Idle Min"], row["Idle Mean"], row["Idle Std"]) == ("-1", "-1", "0", "0")
    assert len(rows("iscx-15s", *(Packet(float(time)) for time in (0, 15, 16, 17)))) == 2


@given(st.lists(st.floats(0.0, 3.0), min_size=2, max_size=12), st.data())
def test_iscx_times_hold_what_holds_in_every_row_of_its_data_set(gaps: list[float], data: st.DataObject) -> None:
    time, packets = 0.0, []
    for gap in gaps:
        time += gap
        packets.append(Packet(time, *data.draw(st.sampled_from([THERE, BACK]))))
    for row in rows("iscx-15s", *packets):
        idle, most, longest = (float(row[name]) for name in ("Idle Min", "Idle Max", "Flow IAT Max"))
        assert (idle >= 0) == (longest > 1e6) == (float(row["Active Min"]) >= 0)
        if idle >= 0:
            assert idle > 1e6
            assert most == longest
            assert float(row["Active Min"]) >= idle
            assert most <= float(row["Active Max"]) <= float(row["Flow Duration"])
