"""Flows in Parquet and Arrow files are labelled as their CSV file is, and keep all that they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcc_edge.cli import main
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.arrow.footer import joined
from etcc_edge.infer.file import label_file

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pl = pytest.importorskip("polars")

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
LABELS = ("etcc_protocol", "etcc_protocol_confidence", "etcc_application", "etcc_application_confidence")


@pytest.fixture(scope="module")
def table() -> Any:
    """The generated flows: text, integers and floats. Two columns of one name are told apart as pandas does."""
    return pl.read_csv(GENERATED).rename({"Label_duplicated_0": "Label.1"}).to_arrow()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, ...]]:
    """The cells of `infer` from CSV to CSV."""
    target = tmp_path_factory.mktemp("csv") / "out.csv"
    label_file(GENERATED, target)
    return [tuple(line.split(",")[-4:]) for line in target.read_text().splitlines()[1:]]


def cells_of(path: Path) -> list[tuple[str, ...]]:
    """A labelled file's label cells as a CSV file has them."""
    if path.suffix == ".csv":
        return [tuple(line.split(",")[-4:]) for line in path.read_text().splitlines()[1:]]
    read = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()
    columns = [read[name].to_pylist() for name in LABELS]
    assert all(column is None or isinstance(column, str) for column in columns[0])
    return [
        tuple("" if cell is None else cell if isinstance(cell, str) else f"{cell:.4f}" for cell in row)
        for row in zip(*columns, strict=True)
    ]


def write(table: Any, path: Path, rows: int = 60) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return path


def infer(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["infer", *map(str, arguments)])


@pytest.mark.parametrize("source", ["f.csv", "f.parquet", "f.arrow"])
@pytest.mark.parametrize("target", ["o.csv", "o.parquet", "o.arrow"])
def test_any_form_to_any_form_has_the_same_labels(
    table: Any, expected: list[tuple[str, ...]], tmp_path: Path, source: str, target: str
) -> None:
    path = GENERATED if source == "f.csv" else write(table, tmp_path / source)
    summary = label_file(path, tmp_path / target)
    assert (summary.flows, summary.bundle, summary.dialect) == (200, "default", "cicdarknet2020")
    assert cells_of(tmp_path / target) == expected


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
def test_there_and_back_the_labels_are_the_same(expected: list[tuple[str, ...]], tmp_path: Path, name: str) -> None:
    label_file(GENERATED, tmp_path / "1.parquet", columns="all")
    plain = pq.read_table(tmp_path / "1.parquet").drop_columns(list(LABELS))
    label_file(write(plain, tmp_path / "2.parquet"), tmp_path / name)
    assert cells_of(tmp_path / name) == expected


def test_csv_keeps_the_cells_of_arrow_columns(table: Any, tmp_path: Path) -> None:
    odd = pa.array(['a,"b"', "line\nbreak", None, ""] * 50)
    label_file(write(table.append_column("odd", odd), tmp_path / "f.parquet"), tmp_path / "o.csv")
    back = pl.read_csv(tmp_path / "o.csv")
    assert back["odd"].to_list() == ['a,"b"', "line\nbreak", None, None] * 50
    assert back.select(table.column_names[:-1]).equals(pl.from_arrow(table).select(table.column_names[:-1]))


@pytest.mark.parametrize("writer", ["pyarrow", "polars", "pandas", "old"])
@pytest.mark.parametrize("rows", [1, 60, 200, 1000])
def test_parquet_keeps_row_groups_columns_and_metadata(table: Any, tmp_path: Path, writer: str, rows: int) -> None:
    source, target = tmp_path / "f.parquet", tmp_path / "o.parquet"
    if writer == "polars":
        pl.from_arrow(table).write_parquet(source, row_group_size=rows)
    elif writer == "pandas":
        pq.write_table(pa.Table.from_pandas(table.to_pandas()), source, row_group_size=rows)
    elif writer == "old":
        pq.write_table(table, source, version="1.0", compression="gzip", store_schema=False, row_group_size=rows)
    else:
        pq.write_table(
            table.replace_schema_metadata({"owner": "me"}), source, row_group_size=rows, write_page_index=True
        )
    before = pq.ParquetFile(source)
    label_file(source, target)
    after = pq.ParquetFile(target)
    assert target.read_bytes().startswith(source.read_bytes()[: -before.metadata.serialized_size - 8])
    assert after.schema_arrow.metadata == before.schema_arrow.metadata
    assert after.schema_arrow.names == [*before.schema_arrow.names, *LABELS]
    assert after.metadata.num_row_groups == before.metadata.num_row_groups
    own = list(before.schema_arrow.names)
    for i in range(before.metadata.num_row_groups):
        assert after.read_row_group(i, columns=own).equals(before.read_row_group(i))
    assert pl.read_parquet(target).shape == (200, table.num_columns + 4)


def test_a_file_without_rows_or_with_empty_row_groups_is_labelled(table: Any, tmp_path: Path) -> None:
    source = tmp_path / "f.parquet"
    with pq.ParquetWriter(source, table.schema) as writer:
        for part in (table.slice(0, 0), table.slice(0, 3), table.slice(0, 0), table.slice(3, 4), table.slice(0, 0)):
            writer.write_table(part)
    label_file(source, tmp_path / "o.parquet")
    assert len(pq.read_table(tmp_path / "o.parquet")) == 7
    assert label_file(write(table.slice(0, 0), tmp_path / "0.parquet"), tmp_path / "o.parquet").flows == 0
    assert pq.read_table(tmp_path / "o.parquet").column_names[-4:] == list(LABELS)
    assert label_file(write(table.slice(0, 0), tmp_path / "0.arrow"), tmp_path / "o.csv").flows == 0


def test_spark_reads_the_labels_of_a_file_that_it_wrote_by_its_own_schema(table: Any, tmp_path: Path) -> None:
    key = "org.apache.spark.sql.parquet.row.metadata"
    fields = [{"name": name, "type": "double", "nullable": True, "metadata": {}} for name in table.column_names]
    stated = table.replace_schema_metadata({key: json.dumps({"type": "struct", "fields": fields})})
    label_file(write(stated, tmp_path / "f.parquet"), tmp_path / "o.parquet", known=True)
    metadata = pq.read_metadata(tmp_path / "o.parquet").metadata
    added = json.loads(metadata[key.encode()])["fields"][len(fields) :]
    assert [(f["name"], f["type"]) for f in added] == [
        *zip(LABELS, ["string", "float"] * 2, strict=True),
        ("etcc_known", "boolean"),
    ]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ("labels", []),
        ("key", ["Flow ID", "Src IP", "Src Port", "Dst IP", "Dst Port", "Protocol", "Timestamp"]),
        ("flow duration,Src IP", ["Flow Duration", "Src IP"]),
    ],
)
def test_chosen_columns_come_before_the_labels(table: Any, tmp_path: Path, columns: str, names: list[str]) -> None:
    source = write(table, tmp_path / "f.parquet")
    for form in ("parquet", "arrow", "csv"):
        target = tmp_path / f"o.{form}"
        label_file(source, target, columns=columns)
        read = {"parquet": pq.read_table, "csv": lambda path: pl.read_csv(path).to_arrow()}.get(form)
        labelled = read(target) if read else pa.ipc.open_file(target).read_all()
        assert labelled.column_names == [*names, *LABELS]
        for name in names:
            assert labelled[name].to_pylist() == table[name].to_pylist()


def test_needed_columns_alone_are_read_for_labels(table: Any, tmp_path: Path) -> None:
    from etcc_edge.flows.arrow.files import open_table

    with_blob = table.append_column("blob", pa.array(["x" * 1000] * 200))
    opened = open_table(write(with_blob, tmp_path / "f.parquet"))
    [chunk] = opened.chunks([3, 5])
    assert chunk.batch.schema.names == [table.column_names[3], table.column_names[5]]
    assert chunk.column(5).equals(table.column(5).combine_chunks())


def test_two_columns_of_one_name_stay(table: Any, tmp_path: Path) -> None:
    twice = table.append_column("Label", table["Label"])
    for name in ("f.parquet", "f.arrow"):
        label_file(write(twice, tmp_path / name), tmp_path / f"o.{name}")
    assert pq.ParquetFile(tmp_path / "o.f.parquet").schema_arrow.names.count("Label") == 2
    assert pa.ipc.open_file(tmp_path / "o.f.arrow").schema.names.count("Label") == 2


# --- the command ---------------------------------------------------------------------------------------------


def test_without_a_name_the_labels_lie_beside_in_the_same_form(table: Any, tmp_path: Path) -> None:
    source = write(table, tmp_path / "f.parquet")
    result = infer(source)
    assert result.exit_code == 0, result.stderr
    assert len(pq.read_table(tmp_path / "f.labels.parquet")) == 200
    assert "exists already" in infer(source).stderr


def test_a_folder_is_labelled_file_by_file_and_keeps_its_partitions(table: Any, tmp_path: Path) -> None:
    flows, out = tmp_path / "flows", tmp_path / "out"
    for day in ("day=1", "day=2/hour=3"):
        (flows / day).mkdir(parents=True)
        write(table, flows / day / "part-0.parquet")
    (flows / "_temporary").mkdir()
    (flows / "_temporary" / "broken.parquet").write_text("")
    assert "name another existing folder with -o" in infer(flows).stderr
    assert infer(flows, "-o", flows).exit_code == 2
    out.mkdir()
    result = infer(flows, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.parquet")) == [
        "day=1/part-0.parquet",
        "day=2/hour=3/part-0.parquet",
    ]
    (tmp_path / "empty").mkdir()
    assert "is a folder without Parquet or Arrow files" in infer(tmp_path / "empty", "-o", out).stderr
    assert infer(tmp_path / "none*.parquet").exit_code == 2


def test_a_pattern_names_several_files_of_other_schemas(table: Any, tmp_path: Path) -> None:
    write(table, tmp_path / "a.parquet")
    write(table.drop_columns(["Label"]).append_column("new", table["Label"]), tmp_path / "b.parquet")
    write(table.drop_columns(["Flow Duration"]), tmp_path / "c.parquet")
    out = tmp_path / "out"
    out.mkdir()
    result = infer(str(tmp_path / "?.parquet"), "-o", out)
    assert result.exit_code == 1
    assert "c.parquet: no shipped bundle fits" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.labels.parquet", "b.labels.parquet"]


def test_a_uri_is_read_and_needs_a_name_for_the_labels(table: Any, expected: Any, tmp_path: Path) -> None:
    uri = write(table, tmp_path / "f.parquet").as_uri()
    assert "name a file or folder for the labels with -o" in infer(uri).stderr
    assert infer(uri, "-o", tmp_path / "o.parquet").exit_code == 0
    assert cells_of(tmp_path / "o.parquet") == expected
    assert "cannot be read" in infer(f"{uri}.gone", "-o", tmp_path / "p.parquet").stderr


def test_check_evaluate_and_previews_read_parquet(table: Any, tmp_path: Path) -> None:
    source = write(table, tmp_path / "f.parquet")
    runner = CliRunner()

    def figures(*arguments: Any) -> Any:
        result = runner.invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    checked, of_csv = (figures("check", path, "--json") for path in (source, GENERATED))
    for key in ("rows", "values", "bundles", "labels", "leakage", "columns"):
        assert checked[key] == of_csv[key], key
    evaluated, csv_evaluated = (figures("evaluate", path, "--json") for path in (source, GENERATED))
    for key in ("flows", "flows_ignored", "end_to_end"):
        assert evaluated[key] == csv_evaluated[key]
    preview, of_csv = (runner.invoke(main, ["infer", str(path), "--preview", "3"]) for path in (source, GENERATED))
    assert preview.stdout.splitlines()[1:] == of_csv.stdout.splitlines()[1:]


# --- bad input -----------------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_and_nothing_is_written(table: Any, tmp_path: Path) -> None:
    source, target = write(table, tmp_path / "f.parquet"), tmp_path / "o.parquet"
    data = source.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    (tmp_path / "no-footer.parquet").write_bytes(data[:footer] + bytes(32) + data[footer + 32 :])
    (tmp_path / "pages.parquet").write_bytes(data[:200] + bytes(len(data) // 2) + data[200 + len(data) // 2 :])
    (tmp_path / "magic.parquet").write_bytes(b"PAR1")
    (tmp_path / "cut.arrow").write_bytes(write(table, tmp_path / "f.arrow").read_bytes()[:5000])
    for name in ("cut.parquet", "no-footer.parquet", "pages.parquet", "magic.parquet", "cut.arrow"):
        result = infer(tmp_path / name, "-o", target)
        assert (result.exit_code, target.exists()) == (1, False), name
        assert result.stderr.startswith(f"Error: {tmp_path / name}: "), result.stderr
        assert len(result.stderr.splitlines()) <= 2, result.stderr


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_footer_makes_the_joining_fail_otherwise_than_with_an_error_of_ours(table: Any, data: st.DataObject) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table.select([0, 1]).slice(0, 3), sink)
    whole = sink.getvalue().to_pybytes()
    footer = whole[-8 - int.from_bytes(whole[-8:-4], "little") : -8]
    at = data.draw(st.integers(0, len(footer) - 1))
    damaged = footer[:at] + data.draw(st.binary(max_size=4)) + footer[at + data.draw(st.integers(0, 4)) :]
    try:
        joined(damaged, footer, shift=1000, key_values={})
    except EtccError as error:
        assert "damaged" in str(error) or "row groups" in str(error)  # noqa: PT017


def test_a_table_in_a_pipe_or_packed_is_refused(table: Any, tmp_path: Path) -> None:
    import gzip

    packed = tmp_path / "f.parquet.gz"
    packed.write_bytes(gzip.compress(write(table, tmp_path / "f.parquet").read_bytes()))
    assert "is a Parquet file; name the file itself, unpacked" in infer(packed, "-o", tmp_path / "o.csv").stderr
    piped = CliRunner().invoke(main, ["infer", "-"], input=(tmp_path / "f.parquet").read_bytes())
    assert "is a Parquet file; name the file itself" in piped.stderr


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(np.arange(200), pa.timestamp("us")), r"column 'Flow Duration' holds timestamp\[us\], but numbers"),
        (pa.array([{"a": 1}] * 200), r"column 'Flow Duration' holds struct<a: int64>, but numbers"),
    ],
)
def test_a_column_of_another_type_is_named(table: Any, tmp_path: Path, column: Any, words: str) -> None:
    at = table.column_names.index("Flow Duration")
    source = write(table.set_column(at, "Flow Duration", column), tmp_path / "f.parquet")
    with pytest.raises(FlowsError, match=words):
        label_file(source, tmp_path / "o.parquet")


def test_a_nested_column_that_is_not_needed_passes(table: Any, tmp_path: Path) -> None:
    nested = table.append_column("nested", pa.array([{"a": [1, 2]}] * 200)).append_column(
        "e", pa.array([b"\xff"] * 200)
    )
    source = write(nested, tmp_path / "f.parquet")
    for name in ("o.parquet", "o.arrow", "o.csv"):
        assert label_file(source, tmp_path / name).flows == 200
    kept = pq.read_table(tmp_path / "o.parquet")
    assert kept["nested"].to_pylist() == [{"a": [1, 2]}] * 200


def test_flows_that_are_labelled_already_are_refused(table: Any, tmp_path: Path) -> None:
    label_file(write(table, tmp_path / "f.parquet"), tmp_path / "o.parquet")
    with pytest.raises(FlowsError, match=r"o\.parquet: has a column 'etcc_application' already"):
        label_file(tmp_path / "o.parquet", tmp_path / "p.parquet")
    assert label_file(tmp_path / "o.parquet", tmp_path / "p.parquet", columns="labels").flows == 200


def test_without_pyarrow_the_error_says_what_to_install(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    source = write(table, tmp_path / "f.parquet")
    for name in [name for name in sys.modules if name.startswith("etcc_edge.flows.arrow.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for arguments in ((source,), (GENERATED, "-o", tmp_path / "o.parquet")):
        result = infer(*arguments)
        assert result.exit_code == 1
        assert "need pyarrow: pip install 'etcc-edge[arrow]'" in result.stderr
