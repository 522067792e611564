"""Real compiles with TensorRT-RTX, which need no GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.engines.gpu import tensorrt_rtx
from etcc_edge.engines.gpu.cache import EngineCache
from etcc_edge.engines.gpu.compile import compile_onnx
from etcc_edge.engines.gpu.plan import EnginePlan
from etcc_edge.errors import BackendError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import export_forms

pytestmark = pytest.mark.slow

TARGETS = (75, 86, 89)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def in_all_forms(bundle: Bundle) -> Bundle:
    """From random flows: compiling asks nothing of accuracy."""
    onnx_files: dict[tuple[str, str], bytes] = {}
    for node in bundle.nodes():
        weights = {k.split("/")[1]: v for k, v in bundle.weights.items() if k.startswith(f"{node.id}/")}
        fp32 = build_onnx(node.network, node.scaler.inputs, weights).SerializeToString()
        rows = np.random.default_rng(0).random((64, node.scaler.inputs), np.float32)
        onnx_files |= {(node.id, form): data for form, data in export_forms(fp32, rows, rows).models.items()}
    return dataclasses.replace(bundle, onnx=onnx_files)


@pytest.fixture(scope="module")
def trt():
    return pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt-rtx")


@pytest.mark.parametrize("name", shipped_bundles())
def test_every_network_of_a_shipped_bundle_compiles(name: str, trt, cache: EngineCache) -> None:
    bundle = load_bundle(name)
    if not {(node.id, "int8-trt-fp16") for node in bundle.nodes()} <= set(bundle.onnx):
        bundle = in_all_forms(bundle)
    for node in bundle.nodes():
        for precision in ("fp16", "int8"):
            for capability in TARGETS:
                cached = tensorrt_rtx.compiled(bundle, node, precision, capability, cache)
                assert cached.built
                assert cached.refused == ""
                assert 0 < len(cached.data) < 3 * len(bundle.onnx[node.id, "fp32"])
    assert len(list(cache.folder.glob("*.engine"))) == 6 * len(list(bundle.nodes()))


def test_a_second_time_nothing_is_compiled(trt, tiny_bundle: Bundle, cache: EngineCache) -> None:
    bundle = in_all_forms(tiny_bundle)
    first = tensorrt_rtx.compiled(bundle, bundle.root, "fp16", 86, cache)
    again = tensorrt_rtx.compiled(bundle, bundle.root, "fp16", 86, cache)
    assert (first.built, again.built) == (True, False)
    assert first.data == again.data


@pytest.mark.parametrize("capability", [86, 89])
def test_fp32_compiles_where_the_gpu_multiplies_it(
    trt, tiny_bundle: Bundle, cache: EngineCache, capability: int
) -> None:
    assert tensorrt_rtx.compiled(tiny_bundle, tiny_bundle.root, "fp32", capability, cache).built


def test_fp32_for_sm75_is_refused_by_the_plan_and_by_the_library(trt, tiny_bundle: Bundle, cache: EngineCache) -> None:
    with pytest.raises(BackendError, match="TensorRT-RTX multiplies no fp32 matrices on sm_75; take fp16"):
        tensorrt_rtx.compiled(tiny_bundle, tiny_bundle.root, "fp32", 75, cache)
    with pytest.raises(BackendError) as refused:
        compile_onnx(trt, tiny_bundle.onnx["stage1", "fp32"], EnginePlan("fp32"), 75)
    assert "it multiplies no fp32 matrices on this GPU; take fp16" in str(refused.value)


def test_a_zero_point_other_than_0_is_refused_in_one_line(trt, tiny_bundle: Bundle) -> None:
    model = onnx.load_from_string(in_all_forms(tiny_bundle).onnx["stage1", "int8-trt-fp16"])
    zero = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("_zero") and not tensor.dims)
    zero.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), zero.name))
    with pytest.raises(BackendError) as refused:
        compile_onnx(trt, model.SerializeToString(), EnginePlan("int8-trt-fp16"), 86)
    assert "a quantization zero point is not 0" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("model", [b"", b"no ONNX at all", b"\x08\x08"])
def test_what_is_no_network_is_refused_in_one_line(trt, model: bytes) -> None:
    with pytest.raises(BackendError, match=r"tensorrt-rtx 1\..*") as refused:
        compile_onnx(trt, model, EnginePlan("fp16"), 86)
    assert "\n" not in str(refused.value)


def test_the_form_for_cpus_is_refused(trt, tiny_bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="cannot read the network"):
        compile_onnx(trt, in_all_forms(load_bundle("iscx-tor-vpn-15s")).onnx["stage1", "int8"], EnginePlan("int8"), 86)


def test_a_form_that_the_bundle_lacks_says_how_to_get_it(trt, tiny_bundle: Bundle, cache: EngineCache) -> None:
    with pytest.raises(
        BackendError, match=r"bundle tiny holds no fp16 ONNX file for stage1; write them with etcc_edge"
    ):
        tensorrt_rtx.compiled(tiny_bundle, tiny_bundle.root, "fp16", 86, cache)


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, cache: EngineCache
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"tensorrt-rtx is not installed \(pip install 'etcc-edge\[rtx\]'\)"):
        tensorrt_rtx.compiled(tiny_bundle, tiny_bundle.root, "fp32", 86, cache)


@pytest.mark.parametrize(("text", "capabilities"), [("sm75", (75,)), ("sm75, sm_86,sm75", (75, 86)), ("sm120", (120,))])
def test_targets_are_named(text: str, capabilities: tuple[int, ...]) -> None:
    assert tensorrt_rtx.parse_targets(text) == capabilities


@pytest.mark.parametrize("text", ["", "sm90", "sm61", "gtx1650", "sm75;sm86"])
def test_another_target_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(BackendError, match="TensorRT-RTX compiles for sm75, sm80, sm86, sm89, sm120, sm121"):
        tensorrt_rtx.parse_targets(text)
