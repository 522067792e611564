"""The fastest backend whose drift passes, and what `auto` may take."""

from __future__ import annotations

from typing import Any

import numpy as np

from etcc_edge.bench.figures import DriftFigures, NoneRecommended, Recommended
from etcc_edge.bench.recommend import Candidate, recommend
from etcc_edge.bench.timing.turns import Turns

LABELS = np.array([[0, 1, 2]], np.int32)
PASSES = DriftFigures(source="measured", accuracy=0.9, verdict="")


def candidate(backend: str, seconds: float, precision: str = "fp32", **parts: Any) -> Candidate:
    """One whose every turn took so long."""
    turns = Turns(3, [[seconds]] * 20, [seconds] * 20)
    return Candidate(backend, precision, turns, **{"codes": LABELS, "drift": PASSES, **parts})


def test_the_fastest_is_recommended_and_taken() -> None:
    assert recommend([candidate("native", 2), candidate("onnxruntime", 1)]) == Recommended(
        backend="onnxruntime", precision="fp32", backends={"fp32": "onnxruntime"}, refused={}
    )


def test_the_first_stays_where_the_other_is_no_faster() -> None:
    choice = recommend([candidate("native", 1), candidate("onnxruntime", 1)])
    assert isinstance(choice, Recommended)
    assert choice.backend == "native"


def test_a_faster_backend_with_other_labels_is_not_taken() -> None:
    for codes in (LABELS[:, ::-1], None):
        choice = recommend([candidate("native", 2), candidate("onnxruntime", 1, codes=codes)])
        assert isinstance(choice, Recommended)
        assert choice.backends == {"fp32": "native"}


def test_every_precision_has_its_own_backend_and_the_fastest_of_them_is_recommended() -> None:
    choice = recommend([candidate("native", 2), candidate("native", 3, "int8"), candidate("onnxruntime", 1, "int8")])
    assert isinstance(choice, Recommended)
    assert choice.backends == {"fp32": "native", "int8": "onnxruntime"}
    assert (choice.backend, choice.precision) == ("onnxruntime", "int8")


def test_a_drift_that_fails_or_is_not_known_is_kept_out() -> None:
    fails = DriftFigures(source="measured", accuracy=0.5, verdict="too far")
    choice = recommend(
        [
            candidate("native", 2, drift=None),
            candidate("native", 1, "int8", drift=None),
            candidate("onnxruntime", 1, "int8", drift=fails),
        ]
    )
    assert isinstance(choice, Recommended)
    assert (choice.backend, choice.precision) == ("native", "fp32")
    assert choice.refused == {
        "native int8": "its drift is not known: give flows with --flows",
        "onnxruntime int8": "too far",
    }


def test_nothing_to_recommend_says_why() -> None:
    choice = recommend([candidate("native", 1, "int8", drift=None)])
    assert isinstance(choice, NoneRecommended)
    assert list(choice.refused) == ["native int8"]
    assert recommend([]) == NoneRecommended(error="no backend could be measured, or none passes", refused={})
