"""ONNX files are kept without their weights, and are the same files when they are filled in again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from etcc_edge.bundle import Bundle, load_bundle, save_bundle, store
from etcc_edge.bundle.network import parse_network
from etcc_edge.bundle.onnx_weights import Weights, with_weights, without_weights
from etcc_edge.errors import BundleError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import export_forms
from making import random_weights

NETWORKS = (
    "tent 8, conv 40 12, relu, flatten, dense 40, relu, dense 3",
    "conv 16 3, relu, max_pool 2, conv 20 3, relu, flatten, dense 4",
    "lstm 6, lstm 5, dense 3",
)
PLENTY = 1 << 30


@pytest.mark.parametrize("text", NETWORKS)
def test_every_form_is_small_without_weights_and_is_restored_to_the_byte(text: str) -> None:
    network = parse_network(text.split(", "))
    weights = random_weights(network, 12, 1)
    fp32 = build_onnx(network, 12, weights).SerializeToString()
    scaled = np.random.default_rng(2).random((600, 12), np.float32)
    for form, model in export_forms(fp32, scaled, scaled).models.items():
        stub = without_weights(model, Weights(network, weights))
        values = sum(len(t.raw_data) for t in onnx.load_from_string(stub).graph.initializer)
        assert values < 0.25 * sum(len(t.raw_data) for t in onnx.load_from_string(model).graph.initializer), form
        assert with_weights(stub, Weights(network, weights), PLENTY) == model
        assert with_weights(model, Weights(network, weights), PLENTY) == model


def test_values_that_are_not_the_weights_stay() -> None:
    network = parse_network(NETWORKS[0].split(", "))
    weights = random_weights(network, 12, 1)
    model = build_onnx(network, 12, weights)
    kept = next(t for t in model.graph.initializer if t.name == "conv_1_weight")
    other = numpy_helper.to_array(kept) + 1
    kept.CopyFrom(numpy_helper.from_array(other, "conv_1_weight"))
    stub = without_weights(model.SerializeToString(), Weights(network, weights))
    held = {t.name: t.raw_data for t in onnx.load_from_string(stub).graph.initializer}
    assert held["conv_1_weight"] == other.tobytes()
    assert held["dense_4_weight"] == b""
    assert with_weights(stub, Weights(network, weights), PLENTY) == model.SerializeToString()


def test_a_file_that_fields_in_another_order_would_change_stays_as_it_is() -> None:
    network = parse_network(["flatten", "dense 3"])
    weights = random_weights(network, 4, 1)
    model = build_onnx(network, 4, weights).SerializeToString()
    tensor = next(t for t in onnx.load_from_string(model).graph.initializer if t.name == "dense_1_weight")
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    ordered = tensor.SerializeToString()
    field = b"\x4a" + bytes([len(raw)]) + raw
    turned = model.replace(ordered + field, field + ordered)
    assert turned != model
    assert len(without_weights(model, Weights(network, weights))) < len(model)
    assert without_weights(turned, Weights(network, weights)) == turned


@pytest.mark.parametrize("doc_string", ["", "64 levels, upside down", "127 levels"])
def test_what_no_weight_fills_stays_empty(doc_string: str) -> None:
    network = parse_network(["flatten", "dense 3"])
    weights = random_weights(network, 4, 1)
    tensor = TensorProto(name="dense_9_weight_codes", data_type=TensorProto.INT8, dims=[3, 4], doc_string=doc_string)
    stub = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    assert with_weights(stub, Weights(network, weights), PLENTY) == stub


def test_a_small_file_cannot_fill_the_memory(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = parse_network(["flatten", "dense 300"])
    weights = random_weights(network, 400, 1)
    tensor = TensorProto(name="dense_1_weight", data_type=TensorProto.FLOAT, dims=[300, 400])
    stub = helper.make_model(helper.make_graph([], "g", [], [], [tensor] * 100)).SerializeToString()
    with pytest.raises(BundleError, match="would have more than 1000000 bytes with its weights"):
        with_weights(stub, Weights(network, weights), 1_000_000)

    forms = {("stage1", f"fp32-{i}"): tiny_bundle.onnx["stage1", "fp32"] for i in range(200)}
    many = dataclasses.replace(tiny_bundle, onnx=dict(tiny_bundle.onnx) | forms)
    save_bundle(many, tmp_path / "many")
    assert dict(load_bundle(tmp_path / "many").onnx) == dict(many.onnx)
    sizes = [file.stat().st_size for file in (tmp_path / "many").rglob("*") if file.is_file()]
    monkeypatch.setattr(store, "_MAX_TOTAL_BYTES", sum(sizes) + 100)
    with pytest.raises(BundleError, match=r"onnx/stage\S+ would have more than \d+ bytes with its weights"):
        load_bundle(tmp_path / "many")
