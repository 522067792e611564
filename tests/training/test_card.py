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
from etcc_edge.evaluation.result import from_json, to_json
from etcc_edge.flows.services import services
from etcc_edge.training.card import known_before, model_card, training_notes, untested, weak

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


def test_it_names_the_networks_that_are_worse_than_their_most_frequent_label() -> None:
    test = from_json(load_bundle("iscx-tor-vpn-15s").metrics["test"])
    assert weak(test) == []
    protocol = replace(test.protocol, accuracy=0.11)
    (line,) = weak(replace(test, protocol=protocol))
    assert line == "Protocol: 11.00 % of the test flows are right; always saying VPN would be right for 44.46 %"
    one_label = replace(protocol, support_by_label=[0, 0, protocol.flows])
    assert weak(replace(test, protocol=one_label)) == []


def test_it_names_every_class_without_test_flows_and_no_label_that_is_no_class() -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    assert untested(bundle) == []
    test = from_json(bundle.metrics["test"])
    chats = test.stage2["VPN"].labels.index("Chat")
    counts = [count * (i != chats) for i, count in enumerate(test.stage2["VPN"].support_by_label)]
    stage2 = {"VPN": replace(test.stage2["VPN"], support_by_label=counts), "Non-VPN": test.stage2["Non-VPN"]}
    split = {**bundle.training["split"], "untested": ["VPN Chat", "VPN Rare"]}
    few = replace(
        bundle, metrics={"test": to_json(replace(test, stage2=stage2))}, training={**bundle.training, "split": split}
    )
    single, absent = untested(few)
    assert single == "not tested, as they come from a single session: VPN Chat"
    assert absent.startswith("not tested, as no test flow has them: Tor ")
    assert absent.count("Tor ") == len(bundle.root.children["Tor"].labels)
    assert f"- {single}\n- {absent}\n" in model_card(few)


def test_training_says_how_many_flows_it_dropped() -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    dropping = {**bundle.training, "split": {**bundle.training["split"], "dropped": 7}}
    line = "flows dropped, as their Flow ID occurs in a session that tests or chooses: 7"
    assert line not in training_notes(bundle)
    assert line in training_notes(replace(bundle, training=dropping))


def test_flows_kept_out_that_may_have_taught_the_old_bundle_are_counted() -> None:
    training = {"split": {"test": 75}, "adapted_from": {"name": "old", "seen": {"flows": 60, "by_identity": False}}}
    assert known_before(training) == [
        "60 of the 75 flows kept out have the features of flows in old's training, and may be those"
    ]


def test_it_says_that_sessions_never_seen_score_lower_unless_the_test_flows_are_of_such() -> None:
    bundle = load_bundle("iscx-tor-vpn-15s")
    captures = {**bundle.training, "split": {**bundle.training["split"], "kind": "session", "dropped": 7}}
    captures |= {"sessions": 74}
    assert "sessions never seen score far lower" in model_card(bundle)
    card = model_card(replace(bundle, training=captures))
    assert "sessions never seen" not in card
    assert "There are 74 sessions" in card
    assert "7 flows were dropped" in card
