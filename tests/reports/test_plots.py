"""Plots of lines: what is drawn and where."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from etcc_edge.reports.plots import Axis, Frame, line_plot, log_axis, percent_axis

FRAME = Frame("a & b", percent_axis("x, %"), percent_axis("y, %"), (300, 200))
LINE = [(0.0, 0.0, 2.0), (100.0, 100.0, 0.0)]


def kinds(plot: str) -> list[str]:
    """The kinds of a plot's elements."""
    return [element.tag for element in ElementTree.fromstring(plot)]


def test_a_frame_places_the_ends_of_its_axes_at_its_edges() -> None:
    assert (FRAME.x(0), FRAME.x(100)) == (FRAME.left, FRAME.right)
    assert FRAME.y(0) == FRAME.bottom
    assert 0 < FRAME.y(100) < FRAME.bottom < 200
    assert 0 < FRAME.left < FRAME.right < 300


def test_places_on_a_logarithmic_axis_are_by_ratio() -> None:
    frame = Frame("", log_axis("x", [1, 100]), Axis("y", 0, 1, [(0, "0")]))
    assert frame.x(10) == pytest.approx((frame.x(1) + frame.x(100)) / 2)


def test_lines_join_their_points_and_points_with_a_radius_are_dots() -> None:
    plain = kinds(line_plot(FRAME, [LINE, LINE]))
    assert (plain.count("polyline"), plain.count("circle"), plain.count("path")) == (2, 2, 0)
    assert 'stroke-opacity="0.35"' in line_plot(FRAME, [LINE], opacity=0.35)


def test_lines_without_opacity_are_dots_alone() -> None:
    dots = kinds(line_plot(FRAME, [LINE], opacity=0))
    assert (dots.count("polyline"), dots.count("circle")) == (0, 1)


def test_guides_are_drawn_where_they_are_asked_for() -> None:
    plain = kinds(line_plot(FRAME, [LINE]))
    guided = kinds(line_plot(FRAME, [LINE], diagonal=True, step=[(0, 10), (50, 20)]))
    assert guided.count("line") == plain.count("line") + 1
    assert guided.count("path") == 1
