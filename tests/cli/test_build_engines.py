"""The command: its table, its exit status, its one-line complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.cli import main
from etcc_edge.engines.backends import BACKENDS


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "engines"))


def run(*arguments: str):  # type: ignore[no-untyped-def]
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
    assert table["taken"] == {"onnxruntime cpu": "int8"}
    assert {"network", "precision", "backend", "target", "size", "seconds", "drift", "verdict"} <= set(
        table["engines"][0]
    )


def test_exit_3_where_nothing_passes() -> None:
    result = run("--backend", "onnxruntime", "--bundle", "default", "--precision", "int8", "--max-drift", "0")
    assert result.exit_code == 3
    assert "kept out: " in result.stdout
    assert "nothing passes" in result.stderr


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
        (["--bundle", "nowhere"], 1, "no bundle 'nowhere'"),
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
