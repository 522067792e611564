"""Which backend and precision are chosen, and why not the others."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.precision import PRECISIONS, Precision
from etcc_edge.engines import choice
from etcc_edge.engines.backends import BACKENDS, Backend
from etcc_edge.engines.choice import Choice, choose
from etcc_edge.errors import BackendError


def fake_backend(monkeypatch: pytest.MonkeyPatch, name: str, why_not: str, *precisions: Precision) -> Backend:
    """A backend whose module says ``why_not``."""
    module = ModuleType(f"fake_{name}")
    module.why_not = lambda bundle, precision: why_not  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Backend(name, module.__name__, "cpu", precisions, "fp32", f"a fake {name}")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """gpu: absent; native: fp32 only; slow: fp32 and int8."""
    backends = {
        "gpu": fake_backend(monkeypatch, "gpu", "no NVIDIA driver", "fp32", "fp16"),
        "native": fake_backend(monkeypatch, "native", "", "fp32"),
        "slow": fake_backend(monkeypatch, "slow", "", "fp32", "int8"),
    }
    monkeypatch.setattr(choice, "BACKENDS", backends)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ((), ("native", "fp32", "the fastest that this machine has")),
        (("auto", "fp32"), ("native", "fp32", "the fastest that this machine has at fp32")),
        (("auto", "int8"), ("slow", "int8", "the fastest that this machine has at int8")),
        (("slow",), ("slow", "fp32", "as asked for")),
        (("slow", "int8"), ("slow", "int8", "as asked for")),
    ],
)
@pytest.mark.usefixtures("fakes")
def test_the_first_that_can_is_chosen_unless_one_is_asked_for(asked: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert choose(*asked) == Choice(*chosen)


@pytest.mark.usefixtures("fakes")
def test_a_backend_that_cannot_run_the_bundle_is_passed_over_and_named(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle
) -> None:
    monkeypatch.setattr(sys.modules["fake_native"], "why_not", lambda bundle, precision: "no lstm" if bundle else "")
    assert choose(bundle=tiny_bundle) == Choice(
        "slow", "fp32", "the fastest that this machine has; not native: no lstm"
    )
    assert choose().backend == "native"
    with pytest.raises(BackendError, match="native: no lstm"):
        choose("native", bundle=tiny_bundle)


@pytest.mark.parametrize(
    ("backend", "precision", "complaint"),
    [
        ("tpu", "auto", "no backend 'tpu'; there are gpu, native, slow"),
        ("gpu", "auto", "gpu: no NVIDIA driver"),
        ("gpu", "int8", "gpu has no int8, only fp32, fp16"),
        ("auto", "int4", "gpu has no int4, only fp32, fp16; native has no int4, only fp32; slow has no int4"),
        (
            "auto",
            "fp16",
            "no backend can run here: gpu: no NVIDIA driver; native has no fp16, only fp32; "
            "slow has no fp16, only fp32, int8",
        ),
    ],
)
@pytest.mark.usefixtures("fakes")
def test_what_cannot_be_chosen_is_said_with_the_reason_of_each(backend: str, precision: str, complaint: str) -> None:
    with pytest.raises(BackendError, match=complaint):
        choose(backend, precision)


def test_what_the_cpu_backends_need_is_installed_with_the_package() -> None:
    assert {name: BACKENDS[name].why_not() for name in BACKENDS if BACKENDS[name].device == "cpu"} == {
        "native": "",
        "onnxruntime": "",
    }


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_a_gpu_backend_without_its_library_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert BACKENDS[name].why_not().startswith(f"the package {name} is not installed (pip install 'etcc-edge[")


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_a_gpu_backend_without_a_driver_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: ModuleSpec("any", None))
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert BACKENDS[name].why_not().startswith("there is no usable NVIDIA GPU (")


def test_every_backend_prefers_its_own_precisions_with_fp32_last_and_lists_them_from_the_widest() -> None:
    assert {name: (*backend.preference, backend.auto) for name, backend in BACKENDS.items()} == {
        "native": ("int8", "fp32", "fp32"),
        "onnxruntime": ("int8", "fp32", "fp32"),
        "tensorrt-rtx": ("fp16", "int8", "fp32", "fp16"),
        "tensorrt": ("fp16", "int8", "fp32", "fp16"),
    }
    assert BACKENDS["tensorrt"].precisions == PRECISIONS
    assert BACKENDS["native"].precisions == ("fp32", "int8")


def test_native_is_chosen_here_and_onnxruntime_where_asked_for() -> None:
    assert choose() == Choice("native", "fp32", "the fastest that this machine has")
    assert choose("onnxruntime") == Choice("onnxruntime", "fp32", "as asked for")
