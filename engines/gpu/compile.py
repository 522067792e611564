"""Compiling an ONNX file with TensorRT's builder, classic or RTX, whose Python faces are one.

Only names that TensorRT 8.5 to 11 and TensorRT-RTX 1.x share are used.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from etcc_edge.bundle.model import SCALER_ARRAYS, Bundle, Node
from etcc_edge.errors import BackendError

from .plan import EnginePlan

# Flows a call: the least, what the engine is tuned for, and the most.
PROFILE = (1, 256, 4096)
_WORKSPACE = 256 << 20  # bytes; the networks are small


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: the library calls its logger with a lock held that freeing an older builder,
    which an error's traceback may have kept, would wait for."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def compile_onnx(trt: Any, model: bytes, plan: EnginePlan, capability: int | None = None) -> bytes:
    """A serialized engine, for the named compute capability or else for this machine's GPU.

    ``trt`` is the library's module, ``plan`` one that it supports. Raises BackendError, in one line, for what
    the library refuses.
    """
    log = logger(trt)
    builder = trt.Builder(log)
    flags = 0
    for name in plan.network_flags:
        # A flag that a later library dropped names what has become its only way.
        if (flag := getattr(trt.NetworkDefinitionCreationFlag, name, None)) is not None:
            flags |= 1 << int(flag)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise BackendError(f"{log.name} cannot read the network: {_line(parser.get_error(0).desc())}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    for name in plan.builder_flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name in plan.cleared_flags:
        config.clear_flag(getattr(trt.BuilderFlag, name))
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), 0)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        profile.set_shape(tensor.name, *[(flows, *tuple(tensor.shape)[1:]) for flows in PROFILE])
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendError(
            f"{log.name} refuses the network: {_line(log.errors[0] if log.errors else 'no reason given')}"
        )
    return bytes(engine)


def logger(trt: Any) -> Any:
    """A logger for the library that keeps its errors."""

    class Log(trt.ILogger):  # type: ignore[misc]
        name = f"{trt.__name__.replace('_', '-')} {trt.__version__}"

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


# What TensorRT says, to what it means here.
_MEANINGS = {
    r"FP32 GEMM is not supported": "it multiplies no fp32 matrices on this GPU; take fp16",
    r"Non-zero zero point": "a quantization zero point is not 0; write its ONNX again with etcc_edge.export",
    r"Plugin not found": "it has an operator that TensorRT does not know",
    r"MODEL_DESERIALIZE_FAILED": "it is no ONNX file",
}


def _line(message: str) -> str:
    for pattern, meaning in _MEANINGS.items():
        if re.search(pattern, message):
            return meaning
    return " ".join(message.split())[:200]


def version_of(trt: Any) -> tuple[int, int]:
    """(major, minor)."""
    major, minor = re.findall(r"\d+", trt.__version__)[:2]
    return int(major), int(minor)


def recipe(
    bundle: Bundle, node: Node, precision: str, plan: EnginePlan, library: str, target: str, driver: str
) -> Mapping[str, str]:
    """What one engine is made from, for `EngineCache`. ``library`` has its full version; ``driver`` is empty where
    the engine does not depend on it. Raises BackendError where the bundle lacks the ONNX file."""
    scaler = hashlib.sha256()
    for part in SCALER_ARRAYS:
        scaler.update(np.ascontiguousarray(getattr(node.scaler, part)).tobytes())
    calibration = bundle.training.get("quantization", {}).get(node.id, {}).get("calibration_fingerprint", "")
    return {
        "onnx": hashlib.sha256(onnx_of(bundle, node, plan)).hexdigest(),
        "scaler": scaler.hexdigest(),
        "calibration": str(calibration),
        "precision": precision,
        "profile": "/".join(map(str, PROFILE)),
        "flags": ",".join((*plan.builder_flags, *plan.network_flags, *(f"no {flag}" for flag in plan.cleared_flags))),
        "library": library,
        "driver": driver,
        "target": target,
    }


def onnx_of(bundle: Bundle, node: Node, plan: EnginePlan) -> bytes:
    """The ONNX file that a plan builds from. Raises BackendError where the bundle lacks it."""
    model = bundle.onnx.get((node.id, plan.form))
    if model is None:
        raise BackendError(
            f"bundle {bundle.name} holds no {plan.form} ONNX file for {node.id}; write them with etcc_edge.export"
        )
    return model
