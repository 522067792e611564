"""What each shipped bundle says of generated flows, kept as files: no change of code or weights passes unseen.

The files hold what the portable instruction set gives, which every CPU can run. After a change that is meant to change
labels, write them again: ``python tests/golden.py``.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etcc_edge._native import instruction_sets
from etcc_edge.bundle import load_bundle, save_bundle, shipped_bundles
from etcc_edge.engines.native import INSTRUCTION_SET
from etcc_edge.infer.file import label_file

DATA = Path(__file__).parent / "data"
# Generated flows in the form that each bundle's meter writes.
FLOWS = {
    "default": DATA / "generated-flows.csv",
    "no-ports": DATA / "generated-flows.csv",
    "iscx-tor-vpn-15s": DATA / "generated-flows-iscx.csv",
    "wire": DATA / "generated-flows.csv",
}


def golden(name: str) -> Path:
    return DATA / "golden" / f"{name}.labels.csv"


def test_every_shipped_bundle_has_its_file() -> None:
    assert set(shipped_bundles()) == set(FLOWS)


@pytest.fixture(params=sorted(FLOWS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_portable_instruction_set_gives_every_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INSTRUCTION_SET, "portable")
    label_file(FLOWS[name], tmp_path / "out.csv", bundle=name, backend="native", columns="labels", min_confidence=0)
    assert (tmp_path / "out.csv").read_text() == golden(name).read_text()


@pytest.mark.parametrize("backend", ["onnxruntime", *(f"native {name}" for name in instruction_sets())])
def test_every_backend_and_instruction_set_gives_the_labels(
    name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, _, instruction_set = backend.partition(" ")
    monkeypatch.setenv(INSTRUCTION_SET, instruction_set)
    label_file(FLOWS[name], tmp_path / "out.csv", bundle=name, backend=backend, columns="labels", min_confidence=0)
    with (tmp_path / "out.csv").open(newline="") as ours, golden(name).open(newline="") as kept:
        rows, expected = list(csv.reader(ours)), list(csv.reader(kept))
    assert [row[0::2] for row in rows] == [row[0::2] for row in expected]
    sure, kept_sure = (
        np.array([[cell or "nan" for cell in row[1::2]] for row in table[1:]], float) for table in (rows, expected)
    )
    np.testing.assert_allclose(sure, kept_sure, rtol=0, atol=1.01e-4)  # and half a digit of rounding on each side


def test_the_files_name_every_protocol_of_the_generated_flows(name: str) -> None:
    with golden(name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert len({row["etcc_protocol"] for row in rows}) >= 2
    assert len({row["etcc_application"] for row in rows}) >= 4


def test_the_files_are_of_these_very_weights(name: str) -> None:
    """Few flows meet every weight of a table, so a changed one might not show in 200 labels."""
    assert load_bundle(name).digest() == json.loads((DATA / "golden" / "digests.json").read_text())[name]


@pytest.mark.parametrize("node", ["stage1", "stage2.vpn"])
def test_a_changed_weight_shows(name: str, node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(name)
    kept = json.loads((DATA / "golden" / "digests.json").read_text())[name]
    keys = [key for key in bundle.weights if key.startswith(f"{node}/")]
    for key in keys:
        array = bundle.weights[key].copy()
        array.ravel()[-1] += 1e-3
        assert replace(bundle, weights={**bundle.weights, key: array}).digest() != kept
    last = max((key for key in keys if key.endswith(".bias")), key=lambda key: int(key.split("/")[1].split(".")[0]))
    array = bundle.weights[last].copy()
    array[-1] += 0.01
    # Without ONNX files: with them, they and the weights would be different networks.
    save_bundle(replace(bundle, weights={**bundle.weights, last: array}, onnx={}), tmp_path / "changed")
    monkeypatch.setenv(INSTRUCTION_SET, "portable")
    label_file(
        FLOWS[name],
        tmp_path / "out.csv",
        bundle=str(tmp_path / "changed"),
        backend="native",
        columns="labels",
        min_confidence=0,
    )
    assert (tmp_path / "out.csv").read_text() != golden(name).read_text()


def test_the_script_for_installed_packages_tries_every_shipped_bundle() -> None:
    script = Path(__file__).parents[1] / "packaging" / "golden.sh"
    command = Path(sys.executable).with_name("etcc-edge")
    tried = subprocess.run(["sh", script, command], check=True, capture_output=True, text=True)
    assert set(tried.stdout.splitlines()) == {f"{name}: golden" for name in FLOWS}
