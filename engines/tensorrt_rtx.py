"""TensorRT-RTX: compiles for a named GPU on any machine, and just in time for the kernels at load."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.engines.builder import compile_onnx, onnx_of, recipe, version_of
from etcc_edge.engines.cache import EngineCache, Found
from etcc_edge.engines.plan import RTX_TARGETS, TENSORRT_RTX, Plan, plan
from etcc_edge.errors import BackendError


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


def planned(capability: int, precision: str) -> Plan:
    """The plan of the installed library. Raises BackendError where there is none."""
    return plan(TENSORRT_RTX, version_of(_library()), capability, precision)


def compiled(bundle: Bundle, node: Node, precision: str, capability: int, cache: EngineCache) -> Found:
    """A network's engine for a compute capability, from the cache or compiled into it.

    It runs where it fits that GPU, whatever the driver. Raises BackendError, in one line, where the plan or the
    library refuses it.
    """
    trt = _library()
    made = plan(TENSORRT_RTX, version_of(trt), capability, precision)
    if not made.supported:
        raise BackendError(made.refusal)
    model = onnx_of(bundle, node, made)
    said = recipe(bundle, node, precision, made, f"{TENSORRT_RTX} {trt.__version__}", f"sm{capability}", driver="")
    return cache.get(said, lambda: compile_onnx(trt, model, made, capability))


def _library() -> Any:
    if reason := why_not_compile():
        raise BackendError(reason)
    import tensorrt_rtx

    return tensorrt_rtx
