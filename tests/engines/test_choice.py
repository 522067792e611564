"""Which backend and precision are chosen, and why not the others."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.engines import choice
from etcc_edge.engines.backends import BACKENDS, Backend
from etcc_edge.engines.choice import Choice, choose
from etcc_edge.errors import BackendError


def fake_backend(monkeypatch: pytest.MonkeyPatch, name: str, why_not: str, *precisions: str) -> Backend:
    """A backend whose module says ``why_not``."""
    module = ModuleType(f"fake_{name}")
    module.why_not = lambda bundle, precision: why_not  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Backend(module.__name__, precisions, f"a fake {name}")


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


@pytest.mark.parametrize("name", BACKENDS)
def test_a_real_backend_says_in_text_why_it_is_not_there(name: str) -> None:
    assert isinstance(BACKENDS[name].why_not(), str)
    assert "fp32" in BACKENDS[name].precisions
    assert BACKENDS[name].summary


def test_native_is_chosen_here_and_onnxruntime_where_asked_for() -> None:
    assert choose() == Choice("native", "fp32", "the fastest that this machine has")
    assert choose("onnxruntime") == Choice("onnxruntime", "fp32", "as asked for")
