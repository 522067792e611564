from __future__ import annotations

import pytest

from etcc_edge.errors import EtccError
from etcc_edge.flows.features import dialects, features, preset

EVERY = tuple(features())


def test_the_papers_preset_holds_its_features_whatever_the_file_has():
    assert preset("paper", []) == preset("paper", EVERY)


def test_no_ports_is_the_paper_without_the_ports():
    assert preset("no-ports", []) == [n for n in preset("paper", []) if n not in ("src_port", "dst_port")]


def test_time_takes_times_and_rates_that_the_file_has():
    assert preset("time", ["src_port", "flow_bytes_per_s", "flow_duration"]) == [
        "flow_duration",
        "flow_bytes_per_s",
    ]


def test_all_takes_what_the_file_has_in_the_tables_order():
    assert preset("all", ["idle_min", "src_port"]) == ["src_port", "idle_min"]


def test_an_unknown_preset_is_told_which_there_are():
    with pytest.raises(EtccError, match=r"no feature preset 'ports'; there are paper, no-ports, time, all"):
        preset("ports", EVERY)


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_what_identifies_a_capture_is_no_feature(dialect):
    identity = {"flow id", "src ip", "source ip", "src_ip", "dst ip", "destination ip", "dst_ip", "timestamp"}
    assert not dialect.header_keys & identity


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_a_truth_column_is_no_feature(dialect):
    truth = {dialect.protocol_label.casefold(), dialect.application_label.casefold()} - {""}
    assert not dialect.header_keys & truth


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_one_header_name_is_one_feature(dialect):
    names = [name for names in dialect.columns.values() for name in names]
    assert len(names) == len(set(names))


def test_absolute_idle_times_are_no_features():
    absolute = [dialect for dialect in dialects() if "idle" in dialect.unusable]
    assert [dialect.name for dialect in absolute] == ["cicdarknet2020", "cicflowmeter-v4"]
    assert not any(name.startswith("idle_") for dialect in absolute for name in dialect.columns)
