"""The command: its table, its exit status, its one-line complaints."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from captures import exchange, pcap
from click.testing import CliRunner

from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.cli import build_engines, main
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.build import Outcome


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "engines"))


def run(*arguments: str):
    return CliRunner().invoke(main, ["build-engines", *arguments])


def test_without_gpu_and_flows_it_prints_the_cpu_engines_and_leaves_no_cache(tmp_path: Path) -> None:
    result = run("--backend", "onnxruntime", "--bundle", "iscx-tor-vpn-15s")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split()[:5] == ["network", "precision", "backend", "target", "size"]
    assert "at training: " in result.stdout
    assert "not gated here" in result.stdout
    assert "onnxruntime cpu: int8 is the first that is not kept out" in result.stderr
    assert "for a GPU: " in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_is_for_machines() -> None:
    result = run("--backend", "onnxruntime", "--bundle", "iscx-tor-vpn-15s", "--json")
    table = json.loads(result.stdout)
    whole = next(row for row in table["engines"] if row["network"] == "end to end")
    assert whole["recorded"]
    assert whole["drift"].keys() == {"flows", "agreement", "change_points"}
    assert 0.99 < whole["drift"]["agreement"] < 1
    assert table["taken"] == {"onnxruntime cpu": "int8"}
    assert {"network", "precision", "backend", "target", "size", "seconds", "drift", "verdict"} <= set(
        table["engines"][0]
    )


def test_exit_3_where_nothing_passes() -> None:
    result = run("--backend", "onnxruntime", "--bundle", "no-ports", "--precision", "int8", "--max-drift", "0")
    assert result.exit_code == 3
    assert "kept out: " in result.stdout
    assert "nothing passes" in result.stderr


@pytest.fixture
def too_new(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with an fp16 file of an opset that TensorRT lacks; nothing is compiled."""
    model = onnx.load_from_string(tiny_bundle.onnx["stage1", "fp32"])
    model.opset_import[0].version = 21
    files = {**tiny_bundle.onnx, ("stage1", "fp16"): model.SerializeToString()}
    save_bundle(replace(tiny_bundle, onnx=files), tmp_path / "too-new")
    monkeypatch.setattr(build_engines, "build_engines", lambda *_, **__: Outcome(taken={"tensorrt-rtx sm75": "fp16"}))
    return tmp_path / "too-new"


def test_what_tensorrt_would_refuse_is_noted_before_it_compiles(too_new: Path) -> None:
    result = run("--bundle", str(too_new), "--target", "sm75")
    assert result.exit_code == 0
    assert "stage1 (fp16) would be refused by tensorrt-10: model: has opset 21, newer than 20" in result.stderr


def test_compiling_needs_no_package_onnx(too_new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = run("--bundle", str(too_new), "--target", "sm75")
    assert result.exit_code == 0
    assert "would be refused" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--target", "sm90"], 1, "no target 'sm90'; TensorRT-RTX compiles for sm75"),
        (["--backend", "tensorrt"], 1, "tensorrt cannot build for this machine: "),
        (["--backend", "onnxruntime", "--target", "sm75"], 2, "--target is for tensorrt-rtx"),
        (["--backend", "onnxruntime", "--precision", "fp16"], 2, "onnxruntime has no fp16; take fp32 or int8"),
        (["--max-drift", "-1"], 2, "--max-drift"),
        (["--max-drift", "nan"], 2, "'nan' is no number"),
        (["--flows", "-"], 2, "standard input cannot be read twice"),
        (["--bundle", "nowhere"], 2, "no bundle 'nowhere'"),
        (["--flows", "nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], status: int, says: str) -> None:
    if arguments == ["--backend", "tensorrt"] and not BACKENDS["tensorrt"].why_not():
        pytest.skip("this machine has TensorRT and a GPU")
    result = run(*arguments)
    assert result.exit_code == status
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_engines_are_gated_on_a_capture_too(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap(packet for i in range(50) for packet in exchange("10.0.0.1", 1000 + i, "192.0.2.1", 443)))
    result = run("--backend", "onnxruntime", "--bundle", "no-ports", "--flows", str(path), "--json")
    assert result.exit_code in (0, 3), result.output
    assert all("not gated here" not in row["verdict"] for row in json.loads(result.stdout)["engines"])
