"""What `wire` is trained with: no port, nothing that grows with a flow, and early looks beside whole flows."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random

from laboratory_captures import HOST, WEB, capture, packet

from etcc_edge.bench.laboratory.wire import FEATURES, LOOKS, MOST, metered, of_file
from etcc_edge.flows.features import features

GROWING = ("total", "packets", "duration", "count", "flags", "header", "subflow", "bulk", "active", "idle", "window")


def test_the_features_exist_and_none_is_a_port_or_grows_with_the_flow() -> None:
    table = features()
    assert set(FEATURES) <= set(table)
    assert not [name for name in FEATURES if table[name].family == "port"]
    assert not [n for n in FEATURES if any(word in n.replace("packets_per_s", "rate").split("_") for word in GROWING)]


def test_a_flow_comes_whole_and_apart_as_it_was_at_each_look_and_in_pieces(tmp_path: Path) -> None:
    both = [packet(HOST, WEB), packet(WEB, HOST)]
    capture(tmp_path / "one.pcap", both * 20)  # a second between packets
    whole, parts = (
        [int(row[8]) + int(row[9]) for row in metered(tmp_path / "one.pcap", parts=p)] for p in (False, True)
    )
    assert whole == [40]
    assert parts == [*(look for look in LOOKS if look < 40), *[6] * 6, 4]


def test_a_file_gives_only_the_protocols_asked_for_and_never_much_of_one_capture(tmp_path: Path) -> None:
    row = ["id", "a", "4000", "b", "443", "6", *["0"] * 77]
    rows = [[*row, "NonVPN", "Chat"]] * (MOST + 50) + [[*row, "VPN", "Chat"], [*row[:2], "53", *row[3:], "Tor", "Chat"]]
    (tmp_path / "flows.captures.txt").write_text("one\n" * (MOST + 50) + "two\nthree\n")
    with (tmp_path / "flows.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["header"] * 85, *rows])
    taken = list(of_file(tmp_path, {"NonVPN": "Non-VPN", "Tor": "Tor"}, Random(0)))
    assert len(taken) == MOST + 1
    assert [row[-2:] for row, name in taken if name == "one"] == [["Non-VPN", "Chat"]] * MOST
    assert [row[-2:] for row, name in taken if name == "three"] == [["Tor", "Chat"]]
