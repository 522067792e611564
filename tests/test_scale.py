"""The examples of docs/scale.md run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_readme import ROOT, blocks

import etcc_edge

pytest.importorskip("pandas")
PAGE = ROOT / "docs" / "scale.md"
EXAMPLES = {"pandas": "import pandas", "spark": "SparkSession", "stream": "readStream", "ray": "import ray"}


def example(library: str) -> str:
    [code] = [block for block in blocks(PAGE, "python") if EXAMPLES[library] in block]
    return code


def run(library: str) -> None:
    exec(compile(example(library), PAGE.name, "exec"), {"__name__": "example"})


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """A folder with a folder flows of Parquet."""
    generated = pytest.importorskip("polars").read_csv("tests/data/generated-flows.csv")
    generated.write_parquet(tmp_path / "flows" / "0.parquet", mkdir=True)
    return tmp_path


def test_every_example_is_run_by_a_test() -> None:
    assert len(blocks(PAGE, "python")) == len(EXAMPLES)


def test_the_example_of_tables_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("pandas")
    assert "VPN" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyspark") is None, reason="needs PySpark: pip install '.[spark]'")
@pytest.mark.skipif(shutil.which("java") is None, reason="needs Java 17: apt install openjdk-17-jre-headless")
def test_the_examples_of_spark_run(flows: Path) -> None:
    """As one program: the second needs the first one's names."""
    start = "labelled.writeStream.format('memory').queryName('q').trigger(availableNow=True).start()"
    show = "print(spark.sql('select count(*) from q where etcc_protocol is not null').first())"
    program = [example("spark"), example("stream"), f"{start}.awaitTermination()", show]
    (flows / "label_flows.py").write_text("\n".join(program))
    [submit] = [line for block in blocks(PAGE, "") for line in block.splitlines() if line.startswith("spark-submit")]
    bin_folder = Path(sys.executable).parent
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYSPARK_PYTHON": sys.executable}
    environment["SPARK_LOCAL_IP"] = "127.0.0.1"
    run = subprocess.run(
        ["bash", "-c", submit], cwd=flows, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert "Row(count(1)=200)" in run.stdout
    labelled = pytest.importorskip("polars").read_parquet(flows / "labelled" / "*.parquet")
    assert "VPN" in labelled["etcc_protocol"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray Data: pip install 'ray[data]'")
def test_the_example_of_ray_runs(flows: Path) -> None:
    """In a process of its own, with which Ray ends."""
    command = [sys.executable, "-c", example("ray")]
    run = subprocess.run(command, cwd=flows, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] in etcc_edge.load("default").bundle.root.labels
