"""What only a GPU can show. Skipped without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etcc_edge.bench.studies.gpu import measure
from etcc_edge.bundle import load_bundle
from etcc_edge.bundle.seen import Flows
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.flows.text.reader import FlowFile

pytestmark = pytest.mark.gpu

GENERATED = Path(__file__).parents[2] / "data" / "generated-flows.csv"


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if reason := BACKENDS[request.param].why_not():
        pytest.skip(f"{request.param}: {reason}")
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "engines"))
    return str(request.param)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_labels_as_fp32_does(backend: str, precision: str) -> None:
    bundle = load_bundle("default")
    with FlowFile(GENERATED) as file:
        raw = np.concatenate([batch.features for batch in file.batches(bundle.features)])
    figures = measure(bundle, backend, precision, Flows(raw))
    assert figures.agreement >= 0.98
    again = BACKENDS[backend].opener(bundle, precision)(bundle.root)  # from the cache
    reference = OnnxRuntimeEngine(bundle.onnx["stage1", "fp32"])
    scaled = bundle.root.scaler.transform(raw)
    assert np.mean(again.run(scaled).argmax(1) == reference.run(scaled).argmax(1)) >= 0.98
