"""The scripts that others are measured by label flows as this package does."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import etcc_edge
from etcc_edge.bench import infer_whole

FLOWS = Path(__file__).parents[1] / "data" / "generated-flows.csv"


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_script_gives_the_same_labels_and_keeps_the_columns(tmp_path: Path, library: str) -> None:
    pytest.importorskip(library)
    out = tmp_path / "out.csv"
    script = infer_whole.SCRIPTS / f"{library}_onnxruntime.py"
    subprocess.run([sys.executable, script, FLOWS, out, "--bundle", "default", "--threads", "2"], check=True)
    [(_, result)] = etcc_edge.load("default").classify(FLOWS)
    expected = list(zip(result.labels("protocol").tolist(), result.labels("application").tolist(), strict=True))
    assert infer_whole.labels(out) == expected
    with FLOWS.open(newline="") as given, out.open(newline="") as written:
        assert [row[0] for row in csv.reader(written)] == [row[0] for row in csv.reader(given)]
