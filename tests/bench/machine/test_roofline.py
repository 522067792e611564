"""What networks need of a machine, and how near that is to its peaks."""

from __future__ import annotations

import pytest

from etcc_edge.bench.figures import Peak
from etcc_edge.bench.machine.roofline import Work, peak_shares, work
from etcc_edge.bundle import Bundle


def test_native_multiplies_no_tent_channel_that_is_zero(tiny_bundle: Bundle) -> None:
    mix = {"VPN": 0.25, "Non-VPN": 0.75}
    native, dense = (work(tiny_bundle, mix, backend).multiply_adds_a_flow for backend in ("native", "other"))
    # VPN's `tent 4, conv 4 2` over six inputs: 5 outputs, 4 channels, 2 taps, of 5 tents two that are not zero.
    assert dense - native == pytest.approx(0.25 * 5 * 4 * 2 * (5 - 2))


def test_weights_are_read_once_a_batch_and_values_once_a_flow() -> None:
    peak = Peak(threads=1, instruction_set="fake", multiply_adds_per_s=1e6, bytes_per_s=1e5)
    shares = peak_shares(Work(multiply_adds_a_flow=100, weight_bytes=80, values_bytes_a_flow=2), 1000, 8, peak)
    assert shares.bytes_a_flow == pytest.approx(2 + 80 / 8)
    assert shares.multiply_add_share == pytest.approx(0.1)
    assert shares.memory_share == pytest.approx(0.12)
