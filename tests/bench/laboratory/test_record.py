"""Captures are cut by address into one for each label."""

from __future__ import annotations

import csv
from pathlib import Path

from laboratory_captures import GATEWAY, HOST, MAIL, NAMES, OTHER, WEB, capture, packet

from etcc_edge.bench.laboratory.record import TABLE, sort
from etcc_edge.bench.laboratory.scenario import Scenario
from etcc_edge.bench.laboratory.tunnels import TUNNELS
from etcc_edge.meter.capture import MeteredCapture


def labels(folder: Path, scenario: Scenario) -> dict[str, tuple[str, str, str]]:
    return {r["capture"]: (r["protocol"], r["application"], r["product"]) for r in sort(folder, scenario)}


def test_outside_the_tunnel_is_one_label_and_what_goes_past_it_is_no_tunnel(tmp_path: Path) -> None:
    both = [packet(HOST, GATEWAY), packet(GATEWAY, HOST), packet(HOST, NAMES), packet(HOST, WEB), packet(WEB, HOST)]
    capture(tmp_path / "outside-1.pcap", both)
    scenario = Scenario("one", "wireguard", "cable", (("mail",),))
    assert labels(tmp_path, scenario) == {
        "outside-1.tunnel.pcap": ("VPN", "Email", "WireGuard"),
        "outside-1.0.pcap": ("Non-VPN", "DNS", "none"),
        "outside-1.1.pcap": ("Non-VPN", "Browsing", "none"),
    }


def test_inside_every_server_has_its_label_and_tun_frames_are_read(tmp_path: Path) -> None:
    inner = [packet("10.50.0.11", WEB, ethernet=False), packet(MAIL, "10.50.0.11", ethernet=False)]
    capture(tmp_path / "inside-1.pcap", inner, link=101)
    scenario = Scenario("one", "openvpn-udp", "cable", (("mail", "web-http1"),))
    assert labels(tmp_path, scenario) == {
        "inside-1.1.pcap": ("VPN", "Browsing", "OpenVPN"),
        "inside-1.3.pcap": ("VPN", "Email", "OpenVPN"),
    }


def test_tor_relays_are_the_tunnel_and_two_applications_in_it_are_both_named(tmp_path: Path) -> None:
    capture(tmp_path / "outside-1.pcap", [packet(HOST, "10.41.0.4")])
    scenario = Scenario("one", "tor", "cable", (("mail", "web-http1"),))
    assert labels(tmp_path, scenario) == {"outside-1.tunnel.pcap": ("Tor", "Browsing + Email", "Tor")}


def test_what_hosts_say_to_each_other_is_left_out(tmp_path: Path) -> None:
    capture(tmp_path / "outside-1.pcap", [packet(HOST, OTHER), packet(OTHER, HOST)])
    assert labels(tmp_path, Scenario("one", "tinc", "cable", (("mail",),))) == {}


def test_the_parts_are_captures_and_the_table_names_them(tmp_path: Path) -> None:
    capture(tmp_path / "outside-1.pcap", [packet(HOST, WEB), packet(WEB, HOST), packet(HOST, GATEWAY)])
    sort(tmp_path, Scenario("one", "none", "cable", (("web-http1",),)))
    with (tmp_path / TABLE).open() as table:
        row = next(row for row in csv.DictReader(table) if row["application"] == "Browsing")
    source = MeteredCapture(tmp_path / row["capture"])
    assert sum(map(len, source.flows())) == 1
    assert not (tmp_path / "outside-1.pcap").exists()
    assert {TUNNELS["none"].protocol} == {row["protocol"]}
