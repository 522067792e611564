"""TensorRT 8.5 to 11 on the GPU of this machine, which is the only one that it compiles for."""

from __future__ import annotations

import importlib.util
from typing import Any

from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.precision import Precision
from etcc_edge.errors import BackendError

from ..onnxruntime import OnnxRuntimeEngine
from .cache import EngineCache
from .compile import PROFILE, compile_onnx, logger, onnx_of, recipe, version_of
from .cuda import CudaEngine, check_itself, first_gpu, why_no_gpu
from .plan import TENSORRT, engine_plan


def why_not(bundle: Bundle | None = None, precision: Precision = "fp32") -> str:
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed (pip install 'etcc-edge[gpu]')"
    return why_no_gpu()


def open_engine(bundle: Bundle, node: Node, precision: Precision) -> CudaEngine:
    """A network on this machine's GPU, built now if the cache has none, and checked against its ONNX file.

    Raises BackendError where there is no GPU, or none that the library serves, or the check fails.
    """
    if reason := why_not():
        raise BackendError(reason)
    gpu = first_gpu()  # before the library: without a GPU, TensorRT 8.6 ends the process
    trt: Any = importlib.import_module("tensorrt")
    plan = engine_plan(TENSORRT, version_of(trt), gpu.capability, precision)
    if not plan.supported:
        raise BackendError(plan.refusal)
    model = onnx_of(bundle, node, plan)
    target = f"sm{gpu.capability} {gpu.name}"
    key = recipe(bundle, node, precision, plan, f"{TENSORRT} {trt.__version__}", target, gpu.driver)
    import pycuda.autoprimaryctx as primary

    primary.context.push()
    try:
        cached = EngineCache().get(key, lambda: compile_onnx(trt, model, plan))
        log = logger(trt)
        deserialized = trt.Runtime(log).deserialize_cuda_engine(cached.data)
        if deserialized is None:
            reason = log.errors[0] if log.errors else "no reason given"
            raise BackendError(f"{log.name} does not load the engine of {node.id}: {reason}")
        engine = CudaEngine(trt, deserialized.create_execution_context(), deserialized, PROFILE[-1])
    finally:
        primary.context.pop()
    check_itself(node.id, engine, OnnxRuntimeEngine(model), node.scaler.inputs)
    return engine
