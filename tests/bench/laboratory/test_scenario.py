"""Scenarios are data: what they name exists, and the same seed gives the same ones."""

from __future__ import annotations

import pytest

from etcc_edge.bench.laboratory.applications import APPLICATIONS
from etcc_edge.bench.laboratory.scenario import NETWORKS, NO_TUNNEL, scenarios
from etcc_edge.bench.laboratory.tunnels import TUNNELS

UDP = {name: tunnel.udp for name, tunnel in TUNNELS.items()}
TABLE = scenarios(UDP)


def test_every_scenario_has_its_own_name() -> None:
    assert len({scenario.name for scenario in TABLE}) == len(TABLE)


def test_every_tunnel_and_every_application_is_in_some_scenario() -> None:
    assert {scenario.tunnel for scenario in TABLE} == set(TUNNELS)
    assert {use for scenario in TABLE for host in scenario.hosts for use in host} == set(APPLICATIONS)
    assert {scenario.network for scenario in TABLE} == set(NETWORKS)


def test_forty_scenarios_meet_three_networks_each() -> None:
    groups = {(scenario.tunnel, scenario.hosts): set() for scenario in TABLE}
    for scenario in TABLE:
        groups[scenario.tunnel, scenario.hosts].add(scenario.network)
    assert len(groups) >= 40
    assert min(map(len, groups.values())) >= 3


def test_what_needs_udp_is_never_sent_through_a_proxy() -> None:
    through = {use for scenario in TABLE if not UDP[scenario.tunnel] for host in scenario.hosts for use in host}
    assert not [use for use in through if APPLICATIONS[use].udp]


def test_the_same_seed_gives_the_same_scenarios_and_another_one_others() -> None:
    assert scenarios(UDP, seed=3) == scenarios(UDP, seed=3)
    assert not set(scenarios(UDP, seed=3)) & set(TABLE)


def test_further_rounds_keep_the_first_ones_scenarios() -> None:
    assert scenarios(UDP, rounds=2)[: len(TABLE)] == TABLE


def test_another_tunnel_at_the_end_changes_no_earlier_scenario() -> None:
    assert scenarios({**UDP, "another": True})[: len(TABLE)] == TABLE


def test_the_servers_of_a_network_belong_to_one_label() -> None:
    labels: dict[int, set[str]] = {}
    for application in APPLICATIONS.values():
        labels.setdefault(application.net, set()).add(application.label)
    assert all(len(names) == 1 for names in labels.values())
    assert 0 not in labels  # where services such as DNS are


@pytest.mark.parametrize("name", sorted(TUNNELS))
def test_a_tunnel_names_its_product_and_only_none_is_no_tunnel(name: str) -> None:
    assert (TUNNELS[name].protocol == "Non-VPN") == (name == NO_TUNNEL)
    assert (TUNNELS[name].product == "none") == (name == NO_TUNNEL)
