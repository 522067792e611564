"""An evaluation under the keys of its JSON, which reports and bundles hold, and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade
from etcc_edge.evaluation.result import Evaluation, FileEvaluation, from_json, to_json
from etcc_edge.evaluation.scores import evaluate
from making import raw_flows

CONFIDENCE = {
    "calibration_error": None,
    "reliability": {"confidence": None, "accuracy": None, "flows": None},
    "risk_coverage": {"refused": None, "accuracy": None, "confidence": None, "area": None},
    "accuracy_at_80_coverage": None,
}
SCORE = {
    **dict.fromkeys(("accuracy", "precision", "recall", "f1", "flows", "labels", "support_by_label")),
    **dict.fromkeys(("precision_by_label", "recall_by_label", "f1_by_label", "confusion")),
    **CONFIDENCE,
    "accuracy_interval": None,
}
LABEL = {"precision": None, "recall": None, "f1": None}
PART = {
    **dict.fromkeys(("flows", "share_of_bytes", "protocol_accuracy", "protocol_accuracy_interval")),
    **dict.fromkeys(("accuracy", "accuracy_interval", "accuracy_by_bytes", "calibration_error", "given")),
    **dict.fromkeys(("given_share_of_bytes", "given_accuracy", "given_accuracy_interval", "strict_accuracy")),
}
# Every key, in order.
KEYS = {
    "flows": None,
    "coverage": None,
    "protocol": SCORE,
    "stage2": {"Non-VPN": SCORE, "VPN": SCORE},
    "mean_stage2_accuracy": None,
    "mean_stage2_accuracy_interval": None,
    "mean_by_application": {"Chat": LABEL, "Email": LABEL, "FTP": LABEL, "Streaming": LABEL},
    "end_to_end": {
        "flows": None,
        **dict.fromkeys(("accuracy", "accuracy_interval", "protocol_accuracy", "protocol_accuracy_interval")),
        **dict.fromkeys(("strict_accuracy", "strict_accuracy_interval")),
        "attribution": dict.fromkeys(("both_right", "stage1_wrong", "stage2_wrong", "no_application_network")),
        **CONFIDENCE,
    },
    "known": dict.fromkeys(
        ("threshold", "false_rejection", "unknown_flows", "detected", "auroc", "fpr_at_95_tpr"),
    ),
    "least_confidence": None,
    "parts": dict.fromkeys(("all", "packets_1", "packets_10", "packets_100", "packets_1000"), PART),
    "windows": None,
    "bootstrap": dict.fromkeys(("unit", "units", "resamples", "seed", "level")),
}
FILE_KEYS = (
    *("made", "command", "file", "file_sha256", "rows", "bundle", "bundle_digest", "location", "network"),
    *("backend", "precision", "flows_ignored"),
)


def shape(value: object) -> object:
    """The keys of an object and of those in it, in order; None in place of anything else."""
    return [(key, shape(part)) for key, part in value.items()] if isinstance(value, dict) else None


def evaluation(bundle: Bundle, flows: int, threshold: float | None = -1.0) -> Evaluation:
    """Of random flows of all three protocols and one more."""
    pairs = [("VPN", "Chat"), ("Non-VPN", "Email"), ("Tor", "Chat"), ("Proxy", "Chat")]
    protocol, application = np.array([pairs[i % 4] for i in range(flows)], np.str_).reshape(flows, 2).T
    raw = raw_flows(flows, seed=2)
    opener = BACKENDS["onnxruntime"].opener(bundle, "fp32")
    ids = np.array([str(i // 2) for i in range(flows)], np.str_)
    return evaluate(bundle, lambda part: RoutedCascade(part, opener), raw, protocol, application, ids, threshold)


def test_json_has_every_key_in_its_place(tiny_bundle: Bundle) -> None:
    assert shape(to_json(evaluation(tiny_bundle, 80))) == shape(KEYS)


def test_a_files_evaluation_has_its_own_keys_before_the_figures(tiny_bundle: Bundle) -> None:
    scores = evaluation(tiny_bundle, 8)
    origin = ("2026-01-02T03:04:05+00:00", "", "flows.csv", "0" * 64, "all", "tiny", "1" * 64, "models/tiny")
    whole = FileEvaluation(*origin, None, "native", "fp32", 0, 2, 1, scores)
    assert list(to_json(whole)) == [*FILE_KEYS, "flows_trained_on", "flows_twins", *KEYS]
    assert to_json(whole).items() >= to_json(scores).items()


def test_labels_that_are_named_like_keys_are_labels(tiny_bundle: Bundle) -> None:
    root = tiny_bundle.root
    children = {"confidence": root.children["VPN"], "Non-VPN": root.children["Non-VPN"]}
    root = replace(root, labels=("Non-VPN", "scores", "confidence"), children=children)
    bundle = replace(tiny_bundle, root=root)
    raw = raw_flows(8, seed=2)
    protocol, application = np.array(["confidence"] * 8), np.array(["Chat"] * 8)
    opener = BACKENDS["onnxruntime"].opener(bundle, "fp32")
    figures = to_json(evaluate(bundle, lambda part: RoutedCascade(part, opener), raw, protocol, application))
    assert shape(figures["stage2"]) == shape({"confidence": SCORE})


@pytest.mark.parametrize(("flows", "threshold"), [(80, -1.0), (80, None), (1, -1.0), (0, None)])
def test_an_evaluation_comes_back_from_json_as_it_was(tiny_bundle: Bundle, flows: int, threshold: float | None) -> None:
    original = evaluation(tiny_bundle, flows, threshold)
    assert from_json(json.loads(json.dumps(to_json(original), allow_nan=False))) == original


@pytest.mark.parametrize("name", shipped_bundles())
def test_what_a_shipped_bundle_records_has_the_same_keys(name: str) -> None:
    # Records of before had none of these.
    record = {"least_confidence": 0.0, "parts": {}, "windows": None, **load_bundle(name).metrics["test"]}
    record.pop("leave_one_out", None)
    assert set(to_json(from_json(record))) == set(record)
    assert to_json(from_json(record)) == record


def test_a_key_that_is_missing_is_an_error(tiny_bundle: Bundle) -> None:
    keys = to_json(evaluation(tiny_bundle, 8))
    del keys["end_to_end"]["attribution"]
    with pytest.raises(KeyError, match="attribution"):
        from_json(keys)


@pytest.mark.parametrize(
    ("recalls", "label"),
    [
        ([0.99, 0.01, 0.0], "a"),
        ([0.02, 0.98, None], "b"),
        ([0.97, 0.0, 0.0], None),
        ([0.99, 0.03, 0.0], None),
        ([1.0, 1.0, 0.0], None),
        ([1.0, None, None], None),
    ],
)
def test_a_network_collapsed_where_one_label_gets_all_flows(recalls: list[float | None], label: str | None) -> None:
    score = from_json(load_bundle("default").metrics["test"]).protocol
    assert replace(score, labels=["a", "b", "c"], recall_by_label=recalls).collapsed_to == label
