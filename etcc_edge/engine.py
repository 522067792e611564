"""What runs one network, and which backends there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etcc_edge import recommendation
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.errors import BackendError


class Engine(Protocol):
    """One network at one precision, ready to run. `run` may be called from several threads at once."""

    def run(self, scaled: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits float32 [n, classes] of scaled inputs float32 [n, inputs], n ≥ 1."""


OpenEngine = Callable[[Node], Engine]


@dataclass(frozen=True)
class Backend:
    """A way to run networks. Its module has ``why_not(bundle | None, precision) -> str``, empty where this machine can
    use it (for that bundle), and ``open_engine(bundle, node, precision) -> Engine``; where it runs all stages
    at once, also ``open_fused(bundle, precision, block, threads) -> Cascade``. It is imported only when it is asked
    for."""

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
        "etcc_edge.engines.tensorrt_rtx", ("fp32", "fp16", "int8"), "TensorRT-RTX on an RTX or GTX 16 GPU", "fp16"
    ),
    "tensorrt": Backend("etcc_edge.engines.tensorrt", ("fp32", "fp16", "int8"), "TensorRT on an NVIDIA GPU", "fp16"),
}


@dataclass(frozen=True)
class Choice:
    backend: str
    precision: str
    reason: str


def choose(backend: str = "auto", precision: str = "auto", bundle: Bundle | None = None) -> Choice:
    """The backend and precision to run with, for any bundle or for a given one.

    ``auto`` takes the first backend of `BACKENDS` that this machine has and that can run the bundle. Precision
    ``auto`` is that backend's own (`Backend.auto`), or on a GPU the one that `build-engines` let through. At that
    precision ``auto`` takes the backend that a bench found fastest here with the same labels, if that was saved.
    Raises BackendError for one that is unknown, absent, unable, or does not have the precision.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    found, ignored = recommendation.read(bundle) if bundle and "auto" in (backend, precision) else (None, "")
    reasons, unable = [], ""
    for name in BACKENDS if backend == "auto" else (backend,):
        gated = found.gated.get(name) if found and precision == "auto" else None
        if gated == "":
            reasons.append(f"{name}: build-engines let none of its precisions through; name one with --precision")
            continue
        wanted = gated or (BACKENDS[name].auto if precision == "auto" else precision)
        if wanted not in BACKENDS[name].precisions:
            reasons.append(f"{name} has no {wanted}, only {', '.join(BACKENDS[name].precisions)}")
        elif why_not := BACKENDS[name].why_not(None, wanted):
            reasons.append(f"{name}: {why_not}")
        elif bundle and (why_not := BACKENDS[name].why_not(bundle, wanted)):
            reasons.append(f"{name}: {why_not}")
            unable += f"; not {name}: {why_not}"
        else:
            at = "" if precision == "auto" else f" at {wanted}"
            if backend != "auto":
                return Choice(name, wanted, f"as asked for; {gated} passed build-engines" if gated else "as asked for")
            usual = Choice(name, wanted, f"the fastest that this machine has{at}{unable}")
            if ignored:
                return replace(usual, reason=f"{usual.reason}; {ignored}, so it is ignored")
            return _recommended(usual, bundle, found) if bundle and found else usual
    raise BackendError("; ".join(reasons) if backend != "auto" else "no backend can run here: " + "; ".join(reasons))


def _recommended(usual: Choice, bundle: Bundle, found: recommendation.Recommendation) -> Choice:
    """What a bench of this machine and bundle recommends at the usual choice's precision, if it can run."""
    name = found.backends.get(usual.precision)
    if name is None:
        return usual
    if name not in BACKENDS or usual.precision not in BACKENDS[name].precisions:
        return replace(usual, reason=f"{usual.reason}; the bench of {found.made} names {name!r}, which is none")
    if reason := BACKENDS[name].why_not(bundle, usual.precision):
        return replace(usual, reason=f"{usual.reason}; the bench of {found.made} says {name}, but {reason}")
    return replace(usual, backend=name, reason=f"by the bench of {found.made}")
