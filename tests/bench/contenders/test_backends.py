"""What is measured, and what is not there to be measured."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from etcc_edge.bench.contenders.backends import backends, baselines, tuned
from etcc_edge.bundle import Bundle, load_bundle


def test_every_backend_and_precision_is_a_contender_with_a_reason_where_it_is_absent() -> None:
    contenders = {c.key: c for c in backends(load_bundle("default"))}
    assert {"native fp32", "onnxruntime int8", "tensorrt fp16", "tensorrt-rtx int8"} <= contenders.keys()
    assert contenders["native fp32"].why_not == ""
    assert contenders["onnxruntime int8"].size < contenders["onnxruntime fp32"].size / 2
    assert [name for name, each in contenders.items() if not each.why_not and not each.opener] == []


def test_a_library_that_is_missing_is_a_reason_that_names_the_extra(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    contenders = baselines(tiny_bundle, {"xgboost": "not fitted: no flows"}, compiled=True)
    extra = "not measured: pip install 'etcc-edge[bench]'"
    assert {contender.key: contender.why_not for contender in contenders} == {
        "pytorch eager fp32": extra,
        "pytorch compiled fp32": extra,
        "xgboost fp32": "not fitted: no flows",
    }


def test_the_choice_that_is_fastest_is_taken(fake: Any, clock: Any) -> None:
    slow, fast = (fake("native", lambda flows, s=s: s).open(1, {}) for s in (2.0, 1.0))
    contender = replace(
        fake("native", lambda flows: 1.0),
        open=lambda threads, setting: fast if setting["block"] == 128 else slow,
        choices=({"block": 32}, {"block": 128}, {"block": 512}),
    )
    cascade, setting = tuned(contender, 1, np.zeros((200, 6), np.float32), clock)
    assert cascade is fast
    assert setting == {"block": 128}
