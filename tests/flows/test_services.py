"""A background service is told by IP protocol and port, at either end."""

from __future__ import annotations

import numpy as np
import pytest

from etcc_edge.flows.services import ENDS, Service, ServiceRule, services, services_told_by, with_services


def found(*flows: tuple[float, float, float], rule: ServiceRule | None = None) -> list[str]:
    """The service of each flow (IP protocol, source port, destination port), empty for none."""
    rule = rule or ServiceRule(services(), ENDS)
    codes = rule.codes(np.array(flows, np.float32))
    return [rule.services[code].name if code >= 0 else "" for code in codes]


def test_either_port_tells_a_service() -> None:
    assert found((17, 50000, 53), (17, 53, 50000), (6, 50000, 53)) == ["DNS"] * 3
    assert found((17, 5353, 5353), (17, 68, 67), (17, 60000, 5355)) == ["mDNS", "DHCP", "LLMNR"]


def test_the_destination_goes_before_the_source() -> None:
    assert found((17, 137, 53), (17, 53, 137)) == ["DNS", "NetBIOS"]


def test_a_port_of_another_ip_protocol_is_none() -> None:
    assert found((6, 50000, 5355), (6, 443, 50000), (17, 443, 443)) == ["", "", ""]


def test_an_ip_protocol_alone_tells_some() -> None:
    assert found((1, 0, 0), (58, 0, 0), (2, 0, 0), (0, 0, 0)) == ["ICMP", "ICMPv6", "IGMP", "ICMP/other"]


@pytest.mark.parametrize("odd", [np.nan, -1, 70000, 1e30])
def test_what_is_no_port_or_protocol_tells_nothing(odd: float) -> None:
    assert found((17, odd, 53), (17, odd, 443), (odd, 50000, 53), (17, 0, 0)) == ["DNS", "", "", ""]


def test_without_ports_only_ip_protocols_tell() -> None:
    portless = services_told_by(["ip_protocol", "flow_duration"])
    assert {service.name for service in portless} == {"ICMP", "IGMP", "ICMPv6", "ICMP/other"}
    rule = ServiceRule(portless, ["flow_duration", "ip_protocol"])
    assert rule.codes(np.array([[53, 17], [53, 1]], np.float32)).tolist() == [-1, 0]
    assert services_told_by(["src_port", "dst_port"]) == ()


def test_a_rule_has_its_own_table() -> None:
    rule = ServiceRule((Service("Game", (17, 6), (4000,)), Service("All UDP", (17,), ())), ENDS)
    assert found((6, 4000, 1), (17, 1, 4000), (17, 1, 2), (6, 1, 2), rule=rule) == ["Game", "Game", "All UDP", ""]


def test_the_table_names_each_service_once_and_each_port_once() -> None:
    names = [service.name for service in services()]
    ends = [(number, port) for service in services() for number in service.ip_protocols for port in service.ports]
    assert len(set(names)) == len(names)
    assert len(set(ends)) == len(ends)


def test_services_that_nothing_names_are_background() -> None:
    applications, service = np.array(["Chat", "Chat", "Email"]), np.array(["", "DNS", "ICMP"])
    assert with_services(applications, service, ["ICMP"]).tolist() == ["Chat", "Background", "ICMP"]
