"""The evidence of a host's flows against what the host truly did."""

from __future__ import annotations

import numpy as np
import pytest

from etcc_edge.engines.result import Result
from etcc_edge.evaluation.windows import window_score

NAMES = (("VPN",), ("Chat", "Email"))
MINUTE = 60_000_000
ID = "{}-192.0.2.1-1-2-6"


def score(flows, confidence=0.9, counted=None):
    """Of flows (host, minute, session, packets, told, true)."""
    hosts, minutes, sessions, packets, told, true = zip(*flows, strict=True)
    codes = np.array([[0] * len(flows), told], np.int32)
    shape = codes.shape
    result = Result(
        ("protocol", "application"), NAMES, codes, np.full(shape, confidence, np.float32), np.zeros(shape, np.float32)
    )
    return window_score(
        result,
        np.array(true, np.int64),
        np.ones(len(flows), bool) if counted is None else np.array(counted),
        np.array(packets, np.float64),
        np.array([ID.format(host) if host else "" for host in hosts], np.str_),
        np.array([minute * MINUTE if minute >= 0 else -1 for minute in minutes], np.int64),
        np.array(sessions, np.str_),
    )


def test_a_large_flow_outweighs_small_ones():
    figures = score([("a", 0, "s", 1, 1, 0), ("a", 1, "s", 1, 1, 0), ("a", 2, "s", 100, 0, 0)])
    assert (figures.windows, figures.accuracy) == (1, 1)


def test_windows_part_hosts_times_and_sessions():
    figures = score([("a", 0, "s", 1, 0, 0), ("b", 0, "s", 1, 1, 0), ("a", 5, "s", 1, 0, 0), ("a", 0, "t", 1, 1, 0)])
    assert (figures.windows, figures.accuracy) == (4, 0.5)


def test_only_foreground_flows_with_source_and_time_count():
    flows = [("a", 0, "s", 9, 1, 0), ("", 0, "s", 9, 1, 0), ("a", -1, "s", 9, 1, 0), ("a", 0, "s", 1, 0, 0)]
    assert score(flows, counted=[False, True, True, True]).accuracy == 1
    assert score(flows, counted=[False] * 4) is None
    assert score(flows[1:3]) is None


def test_the_surer_half_is_scored_apart_and_confidence_is_told():
    flows = [("a", 0, "s", 9, 0, 0), ("b", 0, "s", 9, 0, 0), ("b", 0, "s", 8, 1, 0), ("b", 0, "s", 7, 1, 0)]
    figures = score(flows, confidence=0.8)
    assert (figures.accuracy, figures.accuracy_of_surer_half) == (0.5, 1)
    assert 0.5 < figures.mean_confidence < 0.8


@pytest.mark.parametrize("sessions", [1, 3])
def test_only_several_sessions_give_an_interval(sessions):
    flows = [("a", 0, f"s{i % sessions}", 1, i % 3 % 2, 0) for i in range(6)]
    flows = [(host, 5 * i, *rest) for i, (host, _, *rest) in enumerate(flows)]
    assert (score(flows).accuracy_interval is None) == (sessions == 1)
