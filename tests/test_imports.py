"""What an edge box need not install is never imported there, and the command's help waits for nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etcc_edge.bundle import Bundle, save_bundle

NOT_ON_AN_EDGE_BOX = {
    "torch",
    "onnx",
    "pandas",
    "sklearn",
    "matplotlib",
    "mlxtend",
    "polars",
    "scipy",
    "pyarrow",
    "pyspark",
    "duckdb",
}
ROW = "600000,900,200,100,700,10\n"
HEADER = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat\n"


def imported_by(code: str) -> set[str]:
    """Top-level modules after ``code`` has run in a fresh interpreter, whatever way it ends."""
    script = (
        "import atexit, json, sys\n"
        "def tell():\n"
        "    names = sorted({name.partition('.')[0] for name in sys.modules})\n"
        "    print(json.dumps(names), file=sys.stderr)\n"
        "atexit.register(tell)\n" + code
    )
    # From another folder: `-c` puts the current one, which may be the source, before the installed package.
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd="/")
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stderr.splitlines()[-1]))


def command(*arguments: str) -> str:
    return f"sys.argv = {['etcc-edge', *arguments]}\nfrom etcc_edge.cli import main\nmain()"


def test_in_a_checkout_everything_comes_from_the_installed_package() -> None:
    code = "import etcc_edge, etcc_edge.engines.native; print(etcc_edge.load('default').features[0])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (run.returncode, run.stdout) == (0, "src_port\n"), run.stderr


def test_a_checkout_without_an_installed_package_says_what_to_do(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "etcc_edge"
    shutil.copytree(source, tmp_path / "etcc_edge", ignore=shutil.ignore_patterns("*.so", "shipped", "native"))
    run = subprocess.run([sys.executable, "-S", "-c", "import etcc_edge"], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("without its compiled module; install it first: pip install .")


def test_the_package_imports_none_of_the_training_libraries() -> None:
    assert not imported_by("import etcc_edge") & (NOT_ON_AN_EDGE_BOX | {"numpy", "onnxruntime"})
    assert not imported_by("import etcc_edge; etcc_edge.Classifier, etcc_edge.Result") & (
        NOT_ON_AN_EDGE_BOX | {"onnxruntime"}
    )


def test_infer_imports_none_of_the_training_libraries(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "tiny")
    (tmp_path / "flows.csv").write_text(HEADER + ROW * 5)
    code = command("infer", str(tmp_path / "flows.csv"), "--bundle", str(tmp_path / "tiny"), "--backend", "onnxruntime")
    modules = imported_by(code)
    assert (tmp_path / "flows.labels.csv").is_file()
    assert {"numpy", "onnxruntime"} <= modules
    assert not modules & NOT_ON_AN_EDGE_BOX


def test_the_native_backend_needs_no_onnxruntime(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "tiny")
    (tmp_path / "flows.csv").write_text(HEADER + ROW * 5)
    modules = imported_by(command("infer", str(tmp_path / "flows.csv"), "--bundle", str(tmp_path / "tiny")))
    assert (tmp_path / "flows.labels.csv").is_file()
    assert not modules & (NOT_ON_AN_EDGE_BOX | {"onnxruntime"})


def test_parquet_is_labelled_without_pandas(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """pyarrow imports it, where it is installed, for many a convenience."""
    save_bundle(tiny_bundle, tmp_path / "tiny")
    pytest.importorskip("polars").read_csv((HEADER + ROW * 5).encode()).write_parquet(tmp_path / "flows.parquet")
    modules = imported_by(command("infer", str(tmp_path / "flows.parquet"), "--bundle", str(tmp_path / "tiny")))
    assert (tmp_path / "flows.labels.parquet").is_file()
    assert modules & NOT_ON_AN_EDGE_BOX == {"pyarrow"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_waits_for_no_library(arguments: list[str]) -> None:
    assert not imported_by(command(*arguments)) & (NOT_ON_AN_EDGE_BOX | {"numpy", "onnxruntime", "safetensors"})


@pytest.mark.parametrize(
    "name",
    [
        "infer",
        "live",
        "watch",
        "train",
        "select-features",
        "check",
        "evaluate",
        "build-engines",
        "bench",
        "info",
        "sample",
    ],
)
def test_a_commands_help_needs_no_training_library(name: str) -> None:
    assert not imported_by(command(name, "--help")) & (NOT_ON_AN_EDGE_BOX | {"onnxruntime"})
