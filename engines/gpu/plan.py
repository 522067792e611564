"""What a TensorRT library can build for a GPU, and how: a pure function, so that its whole table is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etcc_edge.bundle.precision import PRECISIONS, Form, Precision

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt-rtx"

# Compute capabilities that TensorRT-RTX 1.x compiles for.
RTX_TARGETS = (75, 80, 86, 89, 120, 121)

_OLDEST = (8, 5)
_WITHOUT_PASCAL = (10, 0)
_WITHOUT_VOLTA = (10, 5)
_WITH_BLACKWELL = (10, 8)


@dataclass(frozen=True)
class EnginePlan:
    """How to build, or with ``refusal`` why not. ``form`` is that of the ONNX file to build from, empty with a refusal;
    flags are names of BuilderFlag and NetworkDefinitionCreationFlag."""

    form: Form | Literal[""] = ""
    builder_flags: tuple[str, ...] = ()
    cleared_flags: tuple[str, ...] = ()  # on by default, and wrong here
    network_flags: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def supported(self) -> bool:
        return not self.refusal


def engine_plan(library: str, version: tuple[int, int], capability: int, precision: Precision) -> EnginePlan:
    """The plan for a library's (major, minor) version, a compute capability such as 75, and a precision.

    Raises ValueError for a library or precision that is none of the known.
    """
    if library not in (TENSORRT, TENSORRT_RTX) or precision not in PRECISIONS:
        raise ValueError(f"no plan for {library} at {precision}")
    refuse = _refusal_rtx if library == TENSORRT_RTX else _refusal
    if reason := refuse(version, capability, precision):
        return EnginePlan(refusal=reason)
    # fp32 means fp32: TensorRT would multiply in TF32, with fp16's mantissa.
    cleared = ("TF32",) if precision == "fp32" and capability >= 80 else ()
    if library == TENSORRT_RTX:
        return EnginePlan(_typed(precision), cleared_flags=cleared)
    if version < (10, 0):
        # Types come from the builder's flags, and Q/DQ in fp16 would need opset 19.
        flags = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}[precision]
        return EnginePlan("int8-trt" if precision == "int8" else precision, flags, cleared, ("EXPLICIT_BATCH",))
    network = ("STRONGLY_TYPED",) if version < (11, 0) else ()
    return EnginePlan(_typed(precision), (), cleared, network)


def _typed(precision: Precision) -> Form:
    """The form whose own types are the types to run in."""
    return "int8-trt-fp16" if precision == "int8" else precision


def _refusal_rtx(version: tuple[int, int], capability: int, precision: Precision) -> str:
    if version < (1, 0):
        return f"TensorRT-RTX {_dotted(version)} is older than 1.0"
    if capability not in RTX_TARGETS:
        return f"TensorRT-RTX compiles for {_targets(RTX_TARGETS)}, not for sm_{capability}"
    if capability == 75 and precision == "fp32":
        return "TensorRT-RTX multiplies no fp32 matrices on sm_75; take fp16"
    return ""


def _refusal(version: tuple[int, int], capability: int, precision: Precision) -> str:
    name = f"TensorRT {_dotted(version)}"
    if version < _OLDEST or (9, 0) <= version < (10, 0):
        return f"{name} is not served; take 8.5, 8.6 or 10.0 and later"
    if capability < 60:
        return f"sm_{capability} is older than Pascal, which TensorRT 8.6 serves last"
    if capability < 70:
        if version >= _WITHOUT_PASCAL:
            return f"{name} does not serve Pascal (sm_{capability}); TensorRT 8.6 is the last that does"
        if precision == "fp16" and capability != 60:
            return f"sm_{capability} has no fast fp16; take int8 or fp32"
        if precision == "int8" and capability == 60:
            return "sm_60 has no int8; take fp16 or fp32"
    elif capability < 75 and version >= _WITHOUT_VOLTA:
        return f"{name} does not serve Volta (sm_{capability}); TensorRT 10.4 is the last that does"
    elif capability >= 100 and version < _WITH_BLACKWELL:
        return f"{name} does not serve Blackwell (sm_{capability}); TensorRT 10.8 is the first that does"
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _targets(capabilities: tuple[int, ...]) -> str:
    return ", ".join(f"sm_{capability}" for capability in capabilities)
