"""A table of any library comes back with its labels: those of its rows in a CSV file, to the bit."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import etcc_edge
from etcc_edge import Classifier, EtccError, FlowsError
from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer.file import label_file

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
NAMES = (
    *("duration", "flowBytesPerSecond", "flowPktsPerSecond", "mean_flowiat", "max_flowiat", "min_flowiat"),
    *("total_fiat", "note"),
)
LEVELS = ("protocol", "application")

Columns = dict[str, Any]
Answer = tuple[list[list[str]], np.ndarray]


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier(tiny_bundle, threads=2)


def of_csv(classifier: Classifier, columns: Columns, folder: Path) -> Answer:
    """What `infer` gives a file with these columns."""
    path = folder / "flows.csv"
    rows = zip(*(["" if cell is None else str(cell) for cell in column] for column in columns.values()), strict=True)
    path.write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n")
    labels: list[list[str]] = [[], []]
    confidence = [np.empty((2, 0), np.float32)]
    with FlowFile(path) as file:
        for _, result in classifier.classify(file.batches(classifier.features)):
            for cells, level in zip(labels, LEVELS, strict=True):
                cells += result.labels(level).tolist()
            confidence.append(result.confidence)
    return labels, np.concatenate(confidence, axis=1)


def answer_of(table: Any) -> Answer:
    """The label columns of a table that supports ``table[name]``, in one form."""
    labels = [[cell if isinstance(cell, str) else "" for cell in _cells(table[f"etcc_{level}"])] for level in LEVELS]
    sure = [_cells(table[f"etcc_{level}_confidence"]) for level in LEVELS]
    return labels, np.array([[np.nan if cell is None else cell for cell in column] for column in sure], np.float32)


def _cells(column: Any) -> list[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def assert_equal(first: Answer, second: Answer) -> None:
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def as_reader(columns: Columns) -> Any:
    return pa.table(columns).to_reader(max_chunksize=3)


def as_chunks(columns: Columns) -> Any:
    table = pa.table(columns)
    return pa.concat_tables([table.slice(0, 0), table.slice(0, 5), table.slice(5)])


KINDS: dict[str, Callable[[Columns], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "table": pa.table,
    "chunks": as_chunks,
    "batch": pa.RecordBatch.from_pydict,
    "reader": as_reader,
    "mapping": lambda columns: {name: np.array(column) for name, column in columns.items()},
}


def read(table: Any) -> Any:
    return table.read_all() if isinstance(table, pa.RecordBatchReader) else table


numbers = st.one_of(
    st.none(),
    st.floats(0, 1e6, width=32),
    st.integers(0, 2**53).map(float),
    st.sampled_from([-1.0, 0.0, 1e30, 1e39, float("inf"), float("nan")]),
)


@st.composite
def flows(draw: st.DrawFn) -> Columns:
    rows = draw(st.integers(1, 12))
    columns: Columns = {name: draw(st.lists(numbers, min_size=rows, max_size=rows)) for name in NAMES[:-1]}
    return {**columns, "note": ["x"] * rows}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=flows())
@pytest.mark.filterwarnings("ignore:.*contradict themselves", "ignore:.*have no labels")
def test_any_table_gets_the_labels_of_its_csv_file(
    classifier: Classifier, tmp_path: Path, kind: str, columns: Columns
) -> None:
    expected = of_csv(classifier, columns, tmp_path)
    # Arrays have no place for None among numbers.
    given = {name: [float("nan") if cell is None else cell for cell in column] for name, column in columns.items()}
    table = KINDS[kind](given if kind in ("mapping", "pandas") else columns)
    assert_equal(answer_of(read(classifier.label_table(table))), expected)


@pytest.fixture(scope="module")
def bundle_path(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(tiny_bundle, path)
    return str(path)


@pytest.mark.parametrize("name", ["flows.parquet", "flows.arrow", "flows.csv"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=flows())
def test_any_file_gets_the_labels_of_the_csv_file_in_parquet_too(
    classifier: Classifier, bundle_path: str, tmp_path: Path, name: str, columns: Columns
) -> None:
    expected = of_csv(classifier, columns, tmp_path)
    path, table = tmp_path / name, pa.table(columns)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=5)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    label_file(path, tmp_path / "labelled.parquet", bundle=bundle_path)
    assert_equal(answer_of(pq.read_table(tmp_path / "labelled.parquet")), expected)


def sample() -> Columns:
    """Ten rows that the tiny bundle labels; durations are in µs."""
    rng = np.random.default_rng(3)
    gap = np.round(rng.uniform(10, 900, 10))
    columns = {
        "duration": 4 * gap,
        "flowBytesPerSecond": rng.uniform(0, 900, 10),
        "flowPktsPerSecond": 5 / (4e-6 * gap),
    }
    return {**columns, "mean_flowiat": gap, "max_flowiat": gap + 1, "min_flowiat": gap - 1}


def padded(array: Any) -> Any:
    """The same in buffers that are a few bytes longer than they need be."""
    buffers = [buffer and pa.py_buffer(buffer.to_pybytes() + b"pad") for buffer in array.buffers()]
    return pa.Array.from_buffers(array.type, len(array), buffers)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda a: a.cast(pa.float32()), id="float32"),
        pytest.param(lambda a: a.cast(pa.large_string()), id="text"),
        pytest.param(lambda a: a.cast(pa.string()).cast(pa.string_view()), id="string view"),
        pytest.param(lambda a: a.dictionary_encode(), id="dictionary"),
        pytest.param(lambda a: a.cast(pa.string()).dictionary_encode(), id="dictionary of text"),
        pytest.param(lambda a: pa.compute.run_end_encode(a), id="run ends"),
        pytest.param(lambda a: padded(a), id="a buffer of odd length"),
        pytest.param(lambda a: padded(a.cast(pa.string())), id="text in buffers of odd lengths"),
        pytest.param(lambda a: pa.array([decimal.Decimal(str(x.as_py())) for x in a]), id="decimal"),
    ],
)
def test_numbers_may_be_of_many_types(classifier: Classifier, convert: Callable[[Any], Any]) -> None:
    columns = {name: pa.array(np.round(column, 4), pa.float64()) for name, column in sample().items()}
    rounded = {name: column.cast(pa.float32()).cast(pa.float64()) for name, column in columns.items()}
    given = rounded if convert(columns["duration"]).type == pa.float32() else columns
    expected = answer_of(classifier.label_table(pa.table(given)))
    converted = {name: convert(column) for name, column in given.items()}
    assert any(expected[0][0])
    assert_equal(answer_of(classifier.label_table(pa.table(converted))), expected)


@pytest.mark.parametrize("type_", [pa.int16(), pa.int32(), pa.int64(), pa.uint16(), pa.uint32(), pa.uint64()])
def test_integers_are_read_as_they_are(classifier: Classifier, type_: Any) -> None:
    columns = {name: np.round(column) for name, column in sample().items()}
    integers = {name: pa.array(np.minimum(column, 30000), pa.float64()).cast(type_) for name, column in columns.items()}
    expected = answer_of(classifier.label_table(pa.table({n: c.cast(pa.float64()) for n, c in integers.items()})))
    assert_equal(answer_of(classifier.label_table(pa.table(integers))), expected)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([datetime.datetime(2020, 1, 1)] * 10), r"column 'duration' holds timestamp\[us\], but numbers"),
        (pa.array([datetime.timedelta(1)] * 10), r"column 'duration' holds duration\[us\], but numbers are needed"),
        (pa.array([True] * 10), "column 'duration' holds bool, but numbers are needed"),
        (pa.array([[1.0]] * 10), "column 'duration' holds list<item: double>, but numbers are needed"),
        (pa.array([{"a": 1}] * 10), "column 'duration' holds struct<a: int64>, but numbers are needed"),
        (pa.array([b"1"] * 10), "column 'duration' holds binary, but numbers are needed"),
    ],
)
def test_a_column_that_holds_no_numbers_is_named(classifier: Classifier, column: Any, words: str) -> None:
    with pytest.raises(FlowsError, match=f"^table: {words}"):
        classifier.label_table(pa.table({**sample(), "duration": column}))


@pytest.mark.parametrize("kind", ["pandas", "polars", "table", "mapping"])
def test_a_cell_of_text_costs_its_row_the_labels_alone(classifier: Classifier, kind: str) -> None:
    columns: Columns = {name: column.tolist() for name, column in sample().items()}
    columns["max_flowiat"] = ["many", *map(str, columns["max_flowiat"][1:])]
    labels, confidence = answer_of(classifier.label_table(KINDS[kind](columns)))
    assert [bool(label) for label in labels[0]] == [False, *[True] * 9]
    assert np.isnan(confidence[0, 0])


def test_text_that_is_not_utf_8_costs_its_row_the_labels_alone(classifier: Classifier) -> None:
    columns = {name: [str(cell).encode() for cell in column] for name, column in sample().items()}
    columns["max_flowiat"][3] = b"\xff"
    table = pa.table({name: pa.array(column, pa.binary()).view(pa.string()) for name, column in columns.items()})
    labels, _ = answer_of(classifier.label_table(table))
    assert [row for row, label in enumerate(labels[0]) if not label] == [3]


@pytest.mark.parametrize("kind", ["pandas", "polars", "table", "chunks", "reader", "batch"])
def test_a_table_without_rows_gets_empty_columns(classifier: Classifier, kind: str) -> None:
    columns = {name: column[:0].astype(np.float32) for name, column in sample().items()}
    labelled = read(classifier.label_table(KINDS[kind](columns)))
    assert answer_of(labelled)[0] == [[], []]


def test_columns_without_any_value_leave_rows_without_labels(classifier: Classifier) -> None:
    for type_ in (pa.null(), pa.float32(), pa.int64(), pa.string(), pa.decimal128(9, 2)):
        table = pa.table({name: pa.nulls(4, type_) for name in sample()})
        with pytest.warns(UserWarning, match="4 of 4 rows have no labels"):
            assert answer_of(classifier.label_table(table))[0] == [[""] * 4] * 2


@pytest.mark.parametrize("kind", ["pandas", "polars", "table", "mapping"])
def test_what_is_no_table_of_flows_is_refused(classifier: Classifier, kind: str) -> None:
    with pytest.raises(FlowsError, match="table: is not the header of a known meter"):
        classifier.label_table(KINDS[kind]({}))
    with pytest.raises(FlowsError, match="table: lacks flow_iat_min"):
        classifier.label_table(KINDS[kind]({name: c for name, c in sample().items() if name != "min_flowiat"}))
    with pytest.raises(FlowsError, match="table: has a column 'etcc_protocol' already"):
        classifier.label_table(KINDS[kind]({**sample(), "etcc_protocol": ["VPN"] * 10}))


def test_two_columns_of_one_name_are_refused_where_the_name_is_needed(classifier: Classifier) -> None:
    columns = [*map(pa.array, sample().values()), pa.array(range(10))]
    with pytest.raises(FlowsError, match=r"'duration' \(column 1\) and 'duration' \(column 7\) could both be flow_dur"):
        classifier.label_table(pa.table(columns, [*sample(), "duration"]))
    labelled = classifier.label_table(pa.table([*columns, columns[-1]], [*sample(), "note", "note"]))
    assert labelled.column_names[6:8] == ["note", "note"]


def test_arrays_of_other_lengths_are_refused(classifier: Classifier) -> None:
    columns = sample()
    columns["duration"] = columns["duration"][:9]
    with pytest.raises(FlowsError, match=r"column 'flowBytesPerSecond' is of shape \[10\], not \[9\]"):
        classifier.label_table(columns)


@pytest.mark.parametrize(
    "table",
    [
        *([1, 2], "flows.csv", np.zeros((2, 6)), None),
        *(pd.DataFrame({"duration": [1, 2]})["duration"], pl.Series("duration", [1, 2]), pa.chunked_array([[1, 2]])),
    ],
    ids=lambda table: type(table).__module__ + type(table).__name__,
)
def test_what_is_no_table_is_a_type_error(classifier: Classifier, table: Any) -> None:
    with pytest.raises(TypeError, match="a table is a pandas or polars data frame"):
        classifier.label_table(table)


def test_arrays_of_another_byte_order_and_with_gaps_are_read(classifier: Classifier) -> None:
    expected = answer_of(classifier.label_table(sample()))
    swapped = {name: column.astype(">f8") for name, column in sample().items()}
    assert_equal(answer_of(classifier.label_table(swapped)), expected)
    rows = np.stack(list(sample().values()), axis=1)
    assert_equal(answer_of(classifier.label_table(dict(zip(sample(), rows.T, strict=True)))), expected)
    backward = {name: column[::-1] for name, column in sample().items()}
    labels, confidence = answer_of(classifier.label_table(backward))
    assert_equal(([column[::-1] for column in labels], confidence[:, ::-1]), expected)


def test_numbers_that_contradict_each_other_get_no_labels_and_a_warning(classifier: Classifier) -> None:
    columns = sample()
    columns["min_flowiat"] = columns["max_flowiat"] * 2
    with pytest.warns(UserWarning, match=r"10 of 10 rows contradict themselves .*min ≤ mean ≤ max of flow_iat"):
        labelled = classifier.label_table(columns)
    assert set(labelled["etcc_protocol"]) == {""}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_whose_rows_mostly_get_no_labels_warns_once_and_says_why(classifier: Classifier, kind: str) -> None:
    columns = {**sample(), "max_flowiat": np.array(["TCP"] * 9 + ["9000"])}
    with pytest.warns(UserWarning, match=r"table: 9 of 10 rows have no labels: 9 held text where a number") as warned:
        read(classifier.label_table(KINDS[kind](columns)))
    assert len(warned) == 1
    assert Path(warned[0].filename).parts[-3] != "etcc_edge"
    columns["max_flowiat"] = np.array(["TCP"] * 5 + ["9000"] * 5)
    assert sum(map(bool, answer_of(read(classifier.label_table(KINDS[kind](columns))))[0][0])) == 5


def test_a_file_that_is_classified_warns_as_a_table_does(classifier: Classifier, tmp_path: Path) -> None:
    columns = sample()
    for name, values, said in (
        ("max_flowiat", ["TCP"] * 10, "10 of 10 rows have no labels: 10 held text where a number is needed"),
        ("min_flowiat", columns["max_flowiat"] * 2, "10 of 10 rows contradict themselves .*; these rows have no label"),
    ):
        path = tmp_path / "flows.csv"
        pd.DataFrame({**columns, name: values}).to_csv(path, index=False)
        with pytest.warns(UserWarning, match=f"{path}: {said}") as warned:
            assert sum(len(batch) for batch, _ in classifier.classify(path)) == 10
        assert [Path(warning.filename).name for warning in warned] == ["test_table.py"]


def test_what_a_mask_hides_has_no_value(classifier: Classifier) -> None:
    hidden, absent = sample(), sample()
    for name in ("duration", "flowPktsPerSecond"):
        hidden[name] = np.ma.array(hidden[name], mask=np.arange(10) < 3)
        absent[name] = np.where(np.arange(10) < 3, np.nan, absent[name])
    whole = {**hidden, "duration": np.ma.array(hidden["duration"].astype(np.int64), mask=np.arange(10) < 3)}
    text = {**hidden, "duration": np.ma.array(absent["duration"].astype(str), mask=np.arange(10) < 3)}
    for columns in (hidden, whole, text):
        assert_equal(answer_of(classifier.label_table(columns)), answer_of(classifier.label_table(absent)))
    features = np.random.default_rng(0).uniform(1, 9, (10, len(classifier.features)))
    masked = np.ma.array(features, mask=features > 8)
    np.testing.assert_array_equal(
        classifier.predict(masked).confidence, classifier.predict(np.where(features > 8, np.nan, features)).confidence
    )


def test_pandas_keeps_index_columns_and_the_frame_itself(classifier: Classifier) -> None:
    frame = pd.DataFrame({**sample(), "note": pd.Categorical(["a"] * 10)}, index=list("jihgfedcba"))
    before = frame.copy()
    labelled = classifier.label_table(frame, known=True)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(labelled[before.columns], before)
    assert [str(t) for t in labelled.dtypes[-5:]] == ["category", "float32", "category", "float32", "boolean"]


def test_pandas_columns_with_masks_are_numbers(classifier: Classifier) -> None:
    frame = pd.DataFrame(sample()).convert_dtypes()
    frame.iloc[2, 0] = pd.NA
    plain = pd.DataFrame(sample())
    plain.iloc[2, 0] = np.nan
    assert_equal(answer_of(classifier.label_table(frame)), answer_of(classifier.label_table(plain)))


def test_a_duckdb_relation_comes_back_on_its_own_connection(classifier: Classifier) -> None:
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    frame = pa.table(sample())  # noqa: F841 DuckDB finds it by its name
    labelled = classifier.label_table(connection.sql("select * from frame"))
    assert isinstance(labelled, duckdb.DuckDBPyRelation)
    assert_equal(answer_of(labelled.to_arrow_table()), answer_of(classifier.label_table(sample())))
    connection.sql("create table kept as select * from labelled")
    assert connection.sql("select count(*) from kept where etcc_protocol is not null").fetchall() == [(10,)]


def test_schema_and_metadata_of_arrow_stay(classifier: Classifier) -> None:
    table = pa.table(sample()).replace_schema_metadata({"owner": "me"})
    for labelled in (classifier.label_table(table), read(classifier.label_table(table.to_reader()))):
        assert labelled.schema.metadata == {b"owner": b"me"}
        assert labelled.select(table.column_names).equals(table)


def test_a_reader_is_read_as_the_result_is(classifier: Classifier) -> None:
    taken = []

    def batches() -> Any:
        for batch in pa.table({name: np.tile(column, 300) for name, column in sample().items()}).to_batches(1000):
            taken.append(len(batch))
            yield batch

    schema = pa.table(sample()).schema
    labelled = classifier.label_table(pa.RecordBatchReader.from_batches(schema, batches()))
    assert len(taken) == 1  # that tells the dialect
    assert len(labelled.read_next_batch()) == 1000
    assert len(labelled.read_all()) == 2000
    assert len(taken) == 3


def test_float32_columns_are_not_copied(classifier: Classifier) -> None:
    from etcc_edge.flows.arrow.chunk import ArrowChunk

    column = pa.array(np.arange(10, dtype=np.float32), mask=np.arange(10) == 3)
    cells = ArrowChunk(pa.RecordBatch.from_arrays([column], ["duration"]), [0]).part(2, 9).numbers(0)
    assert cells.values.ctypes.data == column.buffers()[1].address + 8
    assert (cells.offset, len(cells.values)) == (2, 7)


def test_label_picks_the_bundle_as_infer_does() -> None:
    frame = pd.read_csv(GENERATED)
    expected = answer_of(etcc_edge.load("default").label_table(frame))
    assert_equal(answer_of(etcc_edge.label(frame)), expected)
    assert_equal(answer_of(etcc_edge.label(frame, "default", threads=1)), expected)
    without_ports = frame.drop(columns=["Src Port", "Dst Port"])
    assert_equal(answer_of(etcc_edge.label(without_ports)), answer_of(etcc_edge.label(frame, "no-ports")))


def test_the_least_confidence_is_that_of_infer(classifier: Classifier) -> None:
    strict = Classifier(classifier.bundle, min_confidence=1.0)
    labels, _ = answer_of(strict.label_table(sample()))
    assert all(labels[0])
    assert not any(labels[1])


def test_without_pyarrow_a_stream_says_what_to_install(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            raise NotImplementedError

    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(EtccError, match=r"needs pyarrow: pip install 'etcc-edge\[arrow\]'"):
        classifier.label_table(Stream())
    assert answer_of(classifier.label_table(pl.DataFrame(sample())))[0][0]


def test_a_classifier_of_tables_can_be_sent_elsewhere(classifier: Classifier) -> None:
    import pickle

    expected = answer_of(classifier.label_table(sample()))
    assert_equal(answer_of(pickle.loads(pickle.dumps(classifier)).label_table(sample())), expected)
