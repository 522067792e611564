"""Fractions in percent."""

from __future__ import annotations

from etcc_edge.reports.numbers import percent


def test_a_fraction_is_a_percentage_with_its_sign_and_decimals() -> None:
    assert percent(0.12345) == "12.35"
    assert percent(0.12345, " %", decimals=1) == "12.3 %"


def test_what_was_not_counted_is_a_dash_or_the_word_for_it() -> None:
    assert percent(None, " %") == "–"
    assert percent(None, none="none") == "none"
