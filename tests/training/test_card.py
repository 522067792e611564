"""A card is made from a bundle's record, as JSON brings it back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from etcc_edge.bundle import load_bundle
from etcc_edge.evaluation.file import evaluate_file
from etcc_edge.evaluation.result import to_json
from etcc_edge.training.card import model_card

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"


def test_metrics_that_were_read_back_from_json_make_the_card() -> None:
    (evaluation,) = evaluate_file(GENERATED, ["default"])
    figures = to_json(evaluation.scores)
    bundle = load_bundle("default")
    made, read = (
        model_card(replace(bundle, metrics={**bundle.metrics, "test": test}))
        for test in (figures, json.loads(json.dumps(figures)))
    )
    assert made == read
    end = evaluation.scores.end_to_end
    assert f"both labels are right for {100 * end.accuracy:.2f} % of the {end.flows} flows" in read
    for title, score in {"Protocol": evaluation.scores.protocol, **evaluation.scores.stage2}.items():
        assert f"| {score.flows} | {100 * score.accuracy:.2f} %" in read, title


def test_it_says_that_vpn_means_seen_inside_where_the_flows_cited_were() -> None:
    bundle = load_bundle("default")
    inside = "VPN means seen inside, and tunnels seen from outside are not recognised"
    assert inside in model_card(bundle)
    assert inside not in model_card(replace(bundle, citations=("Someone: Other flows. 2030.",)))


def test_it_says_that_sessions_never_seen_score_lower_unless_the_test_flows_are_of_such() -> None:
    bundle = load_bundle("default")
    captures = {**bundle.training, "split": {**bundle.training["split"], "kind": "session"}}
    assert "sessions never seen score far lower" in model_card(bundle)
    assert "sessions never seen" not in model_card(replace(bundle, training=captures))
