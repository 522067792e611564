"""What a network is computed in, and what an ONNX file of it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# One precision may need several files, since what TensorRT fuses is not what ONNX Runtime has integer kernels for.
Form = Literal["fp32", "fp16", "int8", "int8-trt", "int8-trt-fp16"]
FORMS: Mapping[Form, str] = {
    "fp32": "every backend",
    "fp16": "TensorRT; inputs and outputs fp32",
    "int8": "CPUs, through ONNX Runtime's integer kernels",
    "int8-trt": "TensorRT before 10, fp32 around int8",
    "int8-trt-fp16": "TensorRT 10 and later and TensorRT-RTX, fp16 around int8",
}
