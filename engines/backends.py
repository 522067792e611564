"""The table of backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from etcc_edge.bundle.model import Bundle

from .engine import OpenEngine


@dataclass(frozen=True)
class Backend:
    """A way to run networks. Its module is imported only when it is asked for, and has

    ``why_not(bundle | None, precision) -> str``: empty where this machine can use it (for that bundle);
    ``open_engine(bundle, node, precision) -> Engine``; and, where it runs all stages at once,
    ``open_fused(bundle, precision, block, threads)``, whose ``run`` fills the arrays of a `Result`."""

    module: str
    precisions: tuple[str, ...]
    summary: str
    auto: str = "fp32"  # the precision that ``auto`` means

    def why_not(self, bundle: Bundle | None = None, precision: str = "fp32") -> str:
        reason: str = importlib.import_module(self.module).why_not(bundle, precision)
        return reason

    def opener(self, bundle: Bundle, precision: str) -> OpenEngine:
        open_engine = importlib.import_module(self.module).open_engine
        return lambda node: open_engine(bundle, node, precision)

    def fused(self) -> Callable[..., Any] | None:
        """The module's ``open_fused``, if it has one."""
        return getattr(importlib.import_module(self.module), "open_fused", None)


# In the order in which `auto` tries them.
BACKENDS: Mapping[str, Backend] = {
    "native": Backend("etcc_edge.engines.native", ("fp32", "int8"), "this package's own C++, all stages at once"),
    "onnxruntime": Backend("etcc_edge.engines.onnxruntime", ("fp32", "int8"), "ONNX Runtime on the CPU"),
    "tensorrt-rtx": Backend(
        "etcc_edge.engines.gpu.tensorrt_rtx", ("fp32", "fp16", "int8"), "TensorRT-RTX on an RTX or GTX 16 GPU", "fp16"
    ),
    "tensorrt": Backend(
        "etcc_edge.engines.gpu.tensorrt", ("fp32", "fp16", "int8"), "TensorRT on an NVIDIA GPU", "fp16"
    ),
}
