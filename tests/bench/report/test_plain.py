"""What stands in a report's JSON, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etcc_edge.bench.figures import ContenderFigures, DriftFigures, Failure, Measurement, Move, NetworkDrift
from etcc_edge.bench.report.plain import from_plain, plain
from making import contender_figures

CONTENDER = contender_figures("native fp32")


def test_what_has_no_default_stands_there_and_is_null_where_it_was_not_measured() -> None:
    assert plain(CONTENDER)["model_bytes"] is None
    assert plain(CONTENDER)["drift"] is None


def test_what_has_a_default_is_left_out() -> None:
    assert not {"gpu", "energy", "flows_per_joule", "stages"} & plain(CONTENDER).keys()


def test_a_key_beside_one_that_is_there_is_null_instead() -> None:
    drift = DriftFigures(source="measured", flows=3, agreement=1.0, accuracy=None, moves=[], verdict="")
    assert plain(drift)["change_points"] is plain(drift)["reference_accuracy"] is None
    assert "change_points" not in plain(DriftFigures(source="measured", accuracy=0.5))
    assert "accuracy" not in plain(NetworkDrift(largest_logit_change=0.5))


def test_figures_stand_among_the_keys_of_their_measurement() -> None:
    row = Measurement(
        contender="a", precision="fp32", kind="", scenario="server", threads=1, batch=None, figures=None, error="no"
    )
    assert list(plain(row)) == ["contender", "precision", "kind", "scenario", "threads", "batch", "error"]
    assert from_plain(Measurement, plain(row)) == row


def test_a_word_that_python_keeps_for_itself_has_its_own_name_in_json() -> None:
    move = Move(from_="VPN", to="Tor", flows=2)
    assert plain(move) == {"from": "VPN", "to": "Tor", "flows": 2}
    assert from_plain(Move, plain(move)) == move


@pytest.mark.parametrize("stages", [None, Failure(error="broke")])
def test_one_of_several_classes_is_known_by_its_keys(stages: Failure | None) -> None:
    contender = replace(CONTENDER, stages=stages)
    assert from_plain(ContenderFigures, plain(contender)) == contender
