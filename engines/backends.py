"""The table of backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.precision import PRECISIONS, Precision

from .engine import OpenEngine

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Backend:
    """A way to run networks. Its module is imported only when it is asked for, and has

    ``why_not(bundle | None, precision) -> str``: empty where this machine can use it (for that bundle);
    ``open_engine(bundle, node, precision) -> Engine``; and, where it runs all stages at once,
    ``open_fused(bundle, precision, block, threads)``, whose ``run`` fills the arrays of a `Result`."""

    name: str
    module: str
    device: Device
    preference: tuple[Precision, ...]  # its precisions; `build-engines` takes the first that passes
    auto: Precision  # the one that ``auto`` means
    summary: str

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """In the order of `PRECISIONS`."""
        return tuple(precision for precision in PRECISIONS if precision in self.preference)

    def why_not(self, bundle: Bundle | None = None, precision: Precision = "fp32") -> str:
        reason: str = importlib.import_module(self.module).why_not(bundle, precision)
        return reason

    def opener(self, bundle: Bundle, precision: Precision) -> OpenEngine:
        open_engine = importlib.import_module(self.module).open_engine
        return lambda node: open_engine(bundle, node, precision)

    def fused(self) -> Callable[..., Any] | None:
        """The module's ``open_fused``, if it has one."""
        return getattr(importlib.import_module(self.module), "open_fused", None)


# By name, in the order in which `auto` tries them. fp32 needs no gate on a CPU, and comes last everywhere.
BACKENDS: Mapping[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            name="native",
            module="etcc_edge.engines.native",
            device="cpu",
            preference=("int8", "fp32"),
            auto="fp32",
            summary="this package's own C++, all stages at once",
        ),
        Backend(
            name="onnxruntime",
            module="etcc_edge.engines.onnxruntime",
            device="cpu",
            preference=("int8", "fp32"),
            auto="fp32",
            summary="ONNX Runtime on the CPU",
        ),
        Backend(
            name="tensorrt-rtx",
            module="etcc_edge.engines.gpu.tensorrt_rtx",
            device="gpu",
            preference=("fp16", "int8", "fp32"),
            auto="fp16",
            summary="TensorRT-RTX on an RTX or GTX 16 GPU",
        ),
        Backend(
            name="tensorrt",
            module="etcc_edge.engines.gpu.tensorrt",
            device="gpu",
            preference=("fp16", "int8", "fp32"),
            auto="fp16",
            summary="TensorRT on an NVIDIA GPU",
        ),
    )
}
