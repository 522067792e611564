"""What several test files make: weights, scalers, bundles, flows, a clock; and when two results are the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import etcc_edge._native as _native
from etcc_edge.bench.contenders.backends import BACKEND
from etcc_edge.bench.figures import MEASURED, ContenderFigures
from etcc_edge.bundle import Bundle, FlowDefinition, Node, Scaler
from etcc_edge.bundle.network import Network, parameter_shapes
from etcc_edge.engines.onnxruntime import silent_library
from etcc_edge.engines.result import Result
from etcc_edge.flows.features import dialect_named
from etcc_edge.flows.truth import LabelledFlows

Weights = dict[str, np.ndarray]


def random_weights(
    network: Network, inputs: int, seed: int | np.random.Generator, spread: float | None = None
) -> Weights:
    """Untrained weights, shaped as PyTorch shapes them, of that standard deviation; without one, sums of each layer
    are about as large as what it reads."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in parameter_shapes(network, inputs).items():
        fitting = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3
        weights[name] = rng.normal(0, spread or fitting, shape).astype(np.float32)
    return weights


def native_layers(network: Network, weights: Mapping[str, np.ndarray]) -> list[_native.Layer]:
    return [
        _native.Layer(layer.op, layer.size, layer.width, weights.get(f"{i}.weight"), weights.get(f"{i}.bias"))
        for i, layer in enumerate(network)
    ]


def unit_scaler(features: int) -> Scaler:
    """0 … 1000 to 0 … 1 for every feature, NaN to a half."""
    return Scaler(
        np.arange(features, dtype=np.int64),
        np.arange(0, 2 * features + 1, 2, dtype=np.int64),
        np.tile(np.array([0, 1000], np.float32), features),
        np.tile(np.array([0, 1], np.float32), features),
        np.full(features, 0.5, np.float32),
    )


def with_derived(scaler: Scaler, operations: Sequence[int], second: Sequence[int]) -> Scaler:
    """Input i reads its source and feature ``second[i]`` joined by operation ``operations[i]``; alone where that is
    0."""
    seconds = [feature if operation else -1 for operation, feature in zip(operations, second, strict=True)]
    return replace(scaler, operations=np.array(operations, np.int64), second=np.array(seconds, np.int64))


def bundle_of(root: Node, levels: tuple[str, ...], features: int, **parts: Any) -> Bundle:
    """A bundle around a tree of networks; all that no engine reads is empty."""
    empty: dict[str, Any] = {
        "name": "made",
        "features": tuple(f"feature {i}" for i in range(features)),
        "units": ("number",) * features,
        "flow_definition": FlowDefinition("meter", 120.0),
        "weights": {},
        "onnx": {},
        "trained": None,
        "training": {},
        "metrics": {},
        "citations": (),
        "license": "",
        "model_card": "",
    }
    return Bundle(root=root, levels=levels, **{**empty, **parts})


def raw_flows(n: int, seed: int = 0) -> np.ndarray:
    """float32 [n, 6], in the range of `unit_scaler`."""
    return np.random.default_rng(seed).uniform(0, 1000, (n, 6)).astype(np.float32)


def labelled_flows(names: tuple[str, ...], features: np.ndarray, **parts: Any) -> LabelledFlows:
    """Flows of CICDarknet2020's dialect, no two the same. Labels and sessions are empty where not given."""
    n = len(features)
    empty: dict[str, Any] = {
        "name": "made",
        "dialect": dialect_named("cicdarknet2020"),
        **dict.fromkeys(("protocol", "application", "flow_id", "capture", "session", "service"), np.full(n, "")),
        "start": np.full(n, -1, np.int64),
        "identity": np.arange(n, dtype=np.uint64),
        "ignored": 0,
    }
    return LabelledFlows(feature_names=names, features=features, **{**empty, **parts})


def assert_same(first: Result, second: Result) -> None:
    """To the bit."""
    assert (first.levels, first.vocabulary) == (second.levels, second.vocabulary)
    for part in ("codes", "confidence", "energy"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part), strict=True)


class FakeClock:
    """Stands still but for those who move it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []  # of contenders, by name

    def __call__(self) -> float:
        return self.now

    def wait(self, until: float) -> None:
        """What a server does until the next flow arrives."""
        self.now = until + 1e-6  # beyond what rounding takes away

    def contender(self, name: str, *seconds: float) -> Callable[[], None]:
        """Takes its listed seconds, one a call."""
        left = iter(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += next(left)

        return run


def contender_figures(key: str, **parts: Any) -> ContenderFigures:
    """Of a backend of which nothing is known but its name and precision."""
    name, _, precision = key.rpartition(" ")
    unknown: dict[str, Any] = {
        **dict.fromkeys(("reason", "settings"), ""),
        **dict.fromkeys(("model_bytes", "drift")),
        "kind": BACKEND,
        "status": MEASURED,
        "chosen": {},
    }
    return ContenderFigures(name=name, precision=precision, **{**unknown, **parts})


def integer_kernels(model: bytes, scaled: np.ndarray) -> dict[str, int]:
    """Kernels that ONNX Runtime ran on integers, by name with their number, from its own profile of one run."""
    ort = silent_library()
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: scaled})
        events = json.loads(Path(session.end_profiling()).read_bytes())
    names = [event["args"]["op_name"] for event in events if "op_name" in event.get("args", {})]
    return {name: names.count(name) for name in sorted(set(names)) if name in ("MatMulIntegerToFloat", "QLinearConv")}
