"""TensorRT-RTX: compiles for a named GPU on any machine, and just in time for the kernels at load."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import numpy as np

from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.precision import Precision
from etcc_edge.errors import BackendError

from ..onnxruntime import OnnxRuntimeEngine
from .cache import CachedEngine, EngineCache
from .compile import PROFILE, compile_onnx, logger, onnx_of, recipe, version_of
from .cuda import CudaEngine, check_itself, first_gpu, why_no_gpu
from .plan import RTX_TARGETS, TENSORRT_RTX, EnginePlan, engine_plan


def why_not(bundle: Bundle | None = None, precision: Precision = "fp32") -> str:
    return why_not_compile() or why_no_gpu()


def why_not_compile() -> str:
    """Empty where this machine can compile; that needs no GPU."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return "the package tensorrt-rtx is not installed (pip install 'etcc-edge[rtx]')"
    return ""


def parse_targets(text: str) -> tuple[int, ...]:
    """Compute capabilities of ``sm75,sm86``. Raises BackendError for others than TensorRT-RTX has."""
    capabilities = []
    for name in text.split(","):
        match = re.fullmatch(r"\s*sm_?(\d+)\s*", name)
        if match is None or int(match[1]) not in RTX_TARGETS:
            known = ", ".join(f"sm{capability}" for capability in RTX_TARGETS)
            raise BackendError(f"no target {name.strip()!r}; TensorRT-RTX compiles for {known}")
        capabilities.append(int(match[1]))
    return tuple(dict.fromkeys(capabilities))


def planned(capability: int, precision: Precision) -> EnginePlan:
    """The plan of the installed library. Raises BackendError where there is none."""
    return engine_plan(TENSORRT_RTX, version_of(_library()), capability, precision)


def compiled(bundle: Bundle, node: Node, precision: Precision, capability: int, cache: EngineCache) -> CachedEngine:
    """A network's engine for a compute capability, from the cache or compiled into it.

    It runs where it fits that GPU, whatever the driver. Raises BackendError, in one line, where the plan or the
    library refuses it.
    """
    trt = _library()
    plan = planned(capability, precision)
    if not plan.supported:
        raise BackendError(plan.refusal)
    model = onnx_of(bundle, node, plan)
    key = recipe(bundle, node, precision, plan, f"{TENSORRT_RTX} {trt.__version__}", f"sm{capability}", driver="")
    return cache.get(key, lambda: compile_onnx(trt, model, plan, capability))


def open_engine(bundle: Bundle, node: Node, precision: Precision) -> CudaEngine:
    """A network on this machine's GPU, compiled now if the cache has none, and checked against its ONNX file.

    Raises BackendError where there is no GPU, or none that the library serves, or the check fails.
    """
    trt, gpu, cache = _library(), first_gpu(), EngineCache()
    cached = compiled(bundle, node, precision, gpu.capability, cache)
    plan = planned(gpu.capability, precision)
    import pycuda.autoprimaryctx as primary

    primary.context.push()
    try:
        log = logger(trt)
        deserialized = trt.Runtime(log).deserialize_cuda_engine(cached.data)
        if deserialized is None:
            reason = log.errors[0] if log.errors else "no reason given"
            raise BackendError(f"{log.name} does not load the engine of {node.id}: {reason}")
        key = recipe(
            bundle, node, precision, plan, f"{TENSORRT_RTX} {trt.__version__}", f"sm{gpu.capability}", gpu.driver
        )
        kernels = {**key, "kernels": gpu.name}  # of the just-in-time compiler, at home on this GPU and driver alone

        def opened(jit: bytes) -> tuple[CudaEngine, Any]:
            config = deserialized.create_runtime_config()
            held = config.create_runtime_cache()
            if jit:
                held.deserialize(jit)  # False where it does not fit: then all is compiled again
            config.set_runtime_cache(held)
            context = deserialized.create_execution_context(config)
            return CudaEngine(trt, context, deserialized, PROFILE[-1], (config, held)), held

        def warm_up() -> bytes:
            engine, held = opened(b"")
            for flows in PROFILE:
                engine.run(np.zeros((flows, node.scaler.inputs), np.float32))
            return bytes(held.serialize())

        engine, _ = opened(cache.get(kernels, warm_up).data)
    finally:
        primary.context.pop()
    check_itself(node.id, engine, OnnxRuntimeEngine(onnx_of(bundle, node, plan)), node.scaler.inputs)
    return engine


def _library() -> Any:
    if reason := why_not_compile():
        raise BackendError(reason)
    import tensorrt_rtx

    return tensorrt_rtx
