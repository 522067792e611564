"""Networks on ONNX Runtime's CPU provider."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.errors import BackendError


def why_not(bundle: Bundle | None = None, precision: str = "fp32") -> str:
    if importlib.util.find_spec("onnxruntime") is None:
        return "the package onnxruntime is not installed"
    return ""


def open_engine(bundle: Bundle, node: Node, form: str) -> OnnxRuntimeEngine:
    """A network from its ONNX file of any form; of a precision, that is the form of the same name. Raises
    BackendError, also for an ONNX file of another shape than the bundle's."""
    model = bundle.onnx.get((node.id, form))
    if model is None:
        raise BackendError(f"bundle {bundle.name} holds no {form} ONNX file for {node.id}")
    engine = OnnxRuntimeEngine(model)
    _check_shape(engine, node)
    return engine


def _check_shape(engine: OnnxRuntimeEngine, node: Node) -> None:
    """Two rows through the network: an ONNX file may promise another shape than it has, or none."""
    rows, inputs, labels = 2, node.scaler.inputs, len(node.labels)
    try:
        shape = engine.run(np.zeros((rows, inputs), np.float32)).shape
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        detail = str(error).splitlines()[0]
        raise BackendError(f"{node.id}: its ONNX file does not take float32 [n, {inputs}]: {detail}") from error
    if shape != (rows, labels):
        raise BackendError(f"{node.id}: its ONNX file gives {list(shape)} for {rows} flows, not [{rows}, {labels}]")


def silent_library() -> Any:
    """The module onnxruntime, which reports its use over the network, and keeps a number for this machine in the user's
    cache, unless it is asked not to before it is loaded (seen in 1.32)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")


class OnnxRuntimeEngine:
    """One ONNX model, one thread a call: the cascade runs several blocks at once instead."""

    def __init__(self, model: bytes) -> None:
        ort = silent_library()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise BackendError(f"ONNX Runtime cannot load the network: {str(error).splitlines()[0]}") from error
        self._input = self._session.get_inputs()[0].name

    def run(self, scaled: F32) -> F32:
        logits: F32 = self._session.run(None, {self._input: scaled})[0]
        return logits
