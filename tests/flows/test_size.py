"""Packets and bytes of a flow from its rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etcc_edge.flows.size import packets, payload_bytes
from etcc_edge.flows.truth import read_labelled

NAMES = ("flow_duration", "flow_bytes_per_s", "flow_packets_per_s")


def test_they_are_rates_times_the_duration() -> None:
    raw = np.array([[2_000_000, 150.5, 3.5], [0, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(packets(raw, NAMES), [7, np.nan])
    np.testing.assert_array_equal(payload_bytes(raw, NAMES), [301, np.nan])


def test_features_that_do_not_tell_them_give_none() -> None:
    raw = np.ones((2, 2), np.float32)
    assert packets(raw, NAMES[:2]) is None
    assert payload_bytes(raw, NAMES[1:]) is None


def test_they_are_those_that_the_meter_counted(real_flows: Path) -> None:
    names = [*NAMES, "fwd_packets", "bwd_packets", "fwd_packet_length_total", "bwd_packet_length_total"]
    flows = read_labelled(real_flows / "cicdarknet2020-more" / "flows.csv", names).features
    timed = flows[:, 0] > 0
    counted = flows[timed, 3] + flows[timed, 4]
    np.testing.assert_array_equal(packets(flows[timed], names), counted)
    octets = flows[timed, 5].astype(np.float64) + flows[timed, 6]
    np.testing.assert_allclose(payload_bytes(flows[timed], names), octets, rtol=1e-5, atol=1)
