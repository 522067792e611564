"""A card is made from a bundle's record, as JSON brings it back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etcc_edge.bundle import load_bundle
from etcc_edge.bundle.model import ConfidenceMap
from etcc_edge.evaluation.file import evaluate_file
from etcc_edge.evaluation.result import to_json
from etcc_edge.flows.services import services
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


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("inside", "VPN means seen inside, and tunnels seen from outside are not recognised"),
        ("wire", "VPN means a tunnel, and flows inside one are not recognised"),
    ],
)
def test_it_says_what_vpn_means_where_the_view_is_known(view: str, words: str) -> None:
    bundle = load_bundle("default")
    for stated in ("", view):
        definition = replace(bundle.flow_definition, view=stated)
        assert (words in model_card(replace(bundle, flow_definition=definition))) == bool(stated)


def test_it_says_which_services_are_named_by_rule_and_when_an_application_is_given() -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    assert "by rule" not in model_card(bundle)
    confidence = ConfidenceMap((), np.ones((2, 1, 2), np.float32), 0.625)
    card = model_card(replace(bundle, services=services(), confidence=confidence))
    assert "get the service's name as application by rule" in card
    assert "LLMNR" in card
    assert "less sure than 0.625 stay empty (not given)" in card


def test_it_says_that_sessions_never_seen_score_lower_unless_the_test_flows_are_of_such() -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    captures = {**bundle.training, "split": {**bundle.training["split"], "kind": "session", "dropped": 7}}
    captures |= {"sessions": 74}
    assert "sessions never seen score far lower" in model_card(bundle)
    card = model_card(replace(bundle, training=captures))
    assert "sessions never seen" not in card
    assert "There are 74 sessions" in card
    assert "7 flows were dropped" in card
