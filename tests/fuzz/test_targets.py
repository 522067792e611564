"""The fuzz targets in Python accept what is whole, and survive what is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from targets import TARGETS, seeds

KEPT = Path(__file__).parent / "corpus"

pytestmark = pytest.mark.parametrize("target", sorted(TARGETS))


def test_what_is_whole_is_accepted(target: str) -> None:
    assert all(TARGETS[target](seed) for seed in seeds(target))


def test_nothing_at_all_is_refused_in_one_line(target: str) -> None:
    assert not TARGETS[target](b"")


def test_earlier_findings_are_survived(target: str) -> None:
    for path in sorted(KEPT.glob(f"{target}-*")):
        TARGETS[target](path.read_bytes())


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_is_survived(target: str, data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(seeds(target))))
    at = data.draw(st.integers(0, len(changed)))
    changed[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    TARGETS[target](bytes(changed))
