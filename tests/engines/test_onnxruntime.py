"""The ONNX Runtime backend: what it runs, and what it says where it cannot."""

from __future__ import annotations

import dataclasses
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.model import Node
from etcc_edge.engines import onnxruntime
from etcc_edge.errors import BackendError


def test_it_runs_a_bundles_network(tiny_bundle: Bundle) -> None:
    engine = onnxruntime.open_engine(tiny_bundle, tiny_bundle.root, "fp32")
    logits = engine.run(np.zeros((5, 6), np.float32))
    assert (logits.shape, logits.dtype) == ((5, 3), np.float32)
    np.testing.assert_array_equal(logits, np.repeat(logits[:1], 5, axis=0))


def test_threads_may_share_an_engine(tiny_bundle: Bundle) -> None:
    engine = onnxruntime.open_engine(tiny_bundle, tiny_bundle.root, "fp32")
    batches = [np.random.default_rng(i).random((64, 6), np.float32) for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(engine.run, batches))
    for batch, logits in zip(batches, together, strict=True):
        np.testing.assert_array_equal(logits, engine.run(batch))


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_precision_that_the_bundle_lacks_is_named(tiny_bundle: Bundle, precision: str) -> None:
    with pytest.raises(BackendError, match=f"bundle tiny holds no {precision} ONNX file for stage1"):
        onnxruntime.open_engine(tiny_bundle, tiny_bundle.root, precision)


def damaged(model: bytes) -> dict[str, bytes]:
    return {"empty": b"", "no ONNX": b"PK\x03\x04 no ONNX", "cut off": model[: len(model) // 2]}


@pytest.mark.parametrize("what", ["empty", "no ONNX", "cut off"])
def test_a_damaged_model_is_one_line_of_complaint(tiny_bundle: Bundle, what: str) -> None:
    model = damaged(tiny_bundle.onnx["stage1", "fp32"])[what]
    bundle = dataclasses.replace(tiny_bundle, onnx={("stage1", "fp32"): model})
    with pytest.raises(BackendError, match=r"ONNX Runtime cannot load the network: .+") as caught:
        onnxruntime.open_engine(bundle, bundle.root, "fp32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (1, r"stage1: its ONNX file does not take float32 \[n, 7\]: .+"),
        (0, r"stage1: its ONNX file gives \[2, 3\] for 2 flows, not \[2, 4\]"),
    ],
    ids=["inputs", "labels"],
)
def test_a_model_of_another_shape_than_the_bundles_is_one_line_when_it_is_opened(
    tiny_bundle: Bundle, other: int, complaint: str
) -> None:
    scaler = SimpleNamespace(inputs=tiny_bundle.root.scaler.inputs + other)
    labels = tiny_bundle.root.labels if other else (*tiny_bundle.root.labels, "More")
    node = cast(Node, SimpleNamespace(id="stage1", scaler=scaler, labels=labels))
    with pytest.raises(BackendError, match=complaint) as caught:
        onnxruntime.open_engine(tiny_bundle, node, "fp32")
    assert "\n" not in str(caught.value)


def test_why_not_is_empty_where_it_is_installed_and_a_reason_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert onnxruntime.why_not() == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert onnxruntime.why_not() == "the package onnxruntime is not installed"
