"""TensorRT 8.5 to 11 on the GPU of this machine, which is the only one that it compiles for."""

from __future__ import annotations

import importlib.util
from typing import Any

from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.errors import BackendError

from ..onnxruntime import OnnxRuntimeEngine
from .cache import EngineCache
from .compile import PROFILE, compile_onnx, logger, onnx_of, recipe, version_of
from .cuda import CudaEngine, check_itself, first_gpu, why_no_gpu
from .plan import TENSORRT, plan


def why_not(bundle: Bundle | None = None, precision: str = "fp32") -> str:
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed (pip install 'etcc-edge[gpu]')"
    return why_no_gpu()


def open_engine(bundle: Bundle, node: Node, precision: str) -> CudaEngine:
    """A network on this machine's GPU, built now if the cache has none, and checked against its ONNX file.

    Raises BackendError where there is no GPU, or none that the library serves, or the check fails.
    """
    if reason := why_not():
        raise BackendError(reason)
    gpu = first_gpu()  # before the library: without a GPU, TensorRT 8.6 ends the process
    trt: Any = importlib.import_module("tensorrt")
    made = plan(TENSORRT, version_of(trt), gpu.capability, precision)
    if not made.supported:
        raise BackendError(made.refusal)
    model = onnx_of(bundle, node, made)
    target = f"sm{gpu.capability} {gpu.name}"
    said = recipe(bundle, node, precision, made, f"{TENSORRT} {trt.__version__}", target, gpu.driver)
    import pycuda.autoprimaryctx as primary

    primary.context.push()
    try:
        found = EngineCache().get(said, lambda: compile_onnx(trt, model, made))
        log = logger(trt)
        deserialized = trt.Runtime(log).deserialize_cuda_engine(found.data)
        if deserialized is None:
            reason = log.errors[0] if log.errors else "no reason given"
            raise BackendError(f"{log.name} does not load the engine of {node.id}: {reason}")
        engine = CudaEngine(trt, deserialized.create_execution_context(), deserialized, PROFILE[-1])
    finally:
        primary.context.pop()
    check_itself(node.id, engine, OnnxRuntimeEngine(model), node.scaler.inputs)
    return engine
