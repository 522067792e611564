"""What files are called in messages and records."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from etcc_edge.flows.names import one_line, short_name
from etcc_edge.flows.open import open_flows
from etcc_edge.flows.truth import read_labelled

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (b"flows.csv", "flows.csv"),
        ("größe 流.csv".encode(), "größe 流.csv"),
        (b"b\xff.csv", r"b\xff.csv"),
        (b"a\nb\x1b[31m\x7f.csv", r"a\nb\x1b[31m\x7f.csv"),
        ("a\u2028b\u202ec.csv".encode(), r"a\u2028b\u202ec.csv"),
    ],
)
def test_a_name_is_one_line_of_valid_text(name: bytes, line: str) -> None:
    assert one_line(os.fsdecode(name)) == line
    assert short_name(Path("/data") / "flows" / os.fsdecode(name)) == f"flows/{line}"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_is_opened_by_its_own_name_and_called_by_a_valid_one(tmp_path: Path, form: str) -> None:
    file = tmp_path / os.fsdecode(b"b\xff\n." + form.encode())
    if form == "csv":
        shutil.copy(GENERATED, file)
        assert read_labelled(file).name == rf"{tmp_path.name}/b\xff\n.csv"
    else:
        pyarrow_csv = pytest.importorskip("pyarrow.csv")
        parquet = pytest.importorskip("pyarrow.parquet")
        with file.open("wb") as out:
            parquet.write_table(pyarrow_csv.read_csv(GENERATED), out)
    with open_flows(file) as flows:
        assert flows.name == rf"{tmp_path}/b\xff\n.{form}"
        assert sum(len(batch) for batch in flows.batches(["flow_duration"])) == 200
