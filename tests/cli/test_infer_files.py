"""What ``etcc-edge infer`` reads, writes, refuses and leaves behind."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sysconfig
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from etcc_edge.bundle.store import save_bundle
from etcc_edge.cli import main
from etcc_edge.infer.classifier import Classifier

NAMES = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat,note"
HEADER = NAMES.encode() + b"\n"
LABELS = b"etcc_protocol,etcc_protocol_confidence,etcc_application,etcc_application_confidence"
COMMAND = [str(Path(sysconfig.get_path("scripts")) / "etcc-edge"), "infer"]

Infer = Callable[..., Result]


def rows(n: int) -> list[bytes]:
    """Flows of two packets, in microseconds."""
    return [b"%d,%d,%r,%d,%d,%d,n%d\n" % (d, i, 2e6 / d, d, d, d, i) for i in range(n) for d in [(i + 1) * 1000]]


@pytest.fixture
def infer(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    """Runs the command in an otherwise empty folder that holds flows.csv."""
    monkeypatch.chdir(tmp_path)
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(5)))
    return lambda *arguments: CliRunner().invoke(main, ["infer", *arguments, "--bundle", bundle])


def table(path: str = "flows.labels.csv") -> list[list[str]]:
    return list(csv.reader(io.StringIO(Path(path).read_bytes().decode(), newline="")))


def failed(result: Result, status: int) -> str:
    """The error's one line."""
    assert result.exit_code == status
    assert isinstance(result.exception, SystemExit)  # nothing else would be without a traceback
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert errors == result.stderr.splitlines()[-1:]
    return errors[0]


# --- what is written ----------------------------------------------------------------------------------------


def test_every_row_has_one_output_row_in_order_with_its_bytes_unchanged(infer):
    data = [
        b"1.50e6, 2 ,+3,4e5,5e5,6,x\n",
        b"1,2\n",
        b'15e5,2,3,4e5,5e5,6,"a, ""b""\nc"\n',
        b"15e5,,3,4e5,5e5,6,x\n",
        *rows(3),
    ]
    Path("flows.csv").write_bytes(HEADER + b"".join(data))
    assert infer("flows.csv").exit_code == 0
    header, *labelled = table()
    assert header == [*NAMES.split(","), *LABELS.decode().split(",")]
    assert [len(row) for row in labelled] == [7 + 4] * len(data)
    rest = Path("flows.labels.csv").read_bytes().removeprefix(HEADER.rstrip() + b"," + LABELS + b"\n")
    for row, written in zip(data, labelled, strict=True):
        start = row.rstrip() + b"," * (5 if row == b"1,2\n" else 0) + b"," + ",".join(written[7:]).encode() + b"\n"
        assert rest.startswith(start)
        rest = rest.removeprefix(start)
    assert rest == b""


def test_a_label_has_its_confidence_and_only_a_protocol_with_applications_has_one(infer):
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(200)))
    infer("flows.csv")
    for *_, protocol, sure, application, sure_of_it in table()[1:]:
        assert protocol in {"Non-VPN", "Tor", "VPN"}
        assert 1 / 3 <= float(sure) <= 1
        assert bool(application) == bool(sure_of_it) == (protocol != "Tor")


@pytest.mark.parametrize(
    ("row", "kind"),
    [(b"1,2\n", "short"), (b"1,2,3,4,5,6,7,8\n", "long"), (b"1,2,3,4,5,many,7\n", "not_a_number")],
)
def test_a_row_that_cannot_be_labelled_keeps_its_place_with_empty_labels(infer, row, kind):
    Path("flows.csv").write_bytes(HEADER + rows(1)[0] + row + rows(1)[0])
    [summary] = json.loads(infer("flows.csv", "--json").stdout)
    _, before, bad, after = table()
    assert bad[7:] == [""] * 4
    assert before == after
    assert before[7:9] != ["", ""]
    assert (summary["flows"], summary["rows"][kind]) == (3, 1)


def test_what_is_wrong_with_the_rows_is_said_once_with_its_number(infer):
    Path("flows.csv").write_bytes(HEADER + b"1,2\n" * 3 + b"\n" + HEADER + b"".join(rows(2)))
    said = infer("flows.csv").stderr
    assert "flows.csv: 3 rows had too few cells: padded, not labelled\n" in said
    assert "flows.csv: 1 blank or comment line skipped\n" in said
    assert "flows.csv: 1 repeated header line skipped\n" in said


def test_a_flow_beyond_the_bundles_threshold_is_not_known(infer, tiny_bundle):
    spread = rows(500)
    Path("flows.csv").write_bytes(HEADER + b"".join(spread) + b"1,2\n")
    [summary] = json.loads(infer("flows.csv", "--known", "--json").stdout)
    *known, unreadable = [row[-1] for row in table()[1:]]
    result = Classifier(tiny_bundle).predict([[float(cell) for cell in row[:6]] for row in table()[1:-1]])
    assert known == ["1" if energy <= tiny_bundle.root.thresholds["fp32"] else "0" for energy in result.energy[0]]
    assert 0 < known.count("0") == summary["unknown"] < 500
    assert unreadable == ""


def test_without_a_threshold_no_flow_is_said_to_be_known_or_not(tiny_bundle, tmp_path, infer):
    save_bundle(replace(tiny_bundle, root=replace(tiny_bundle.root, thresholds={})), tmp_path / "plain")
    done = CliRunner().invoke(main, ["infer", "flows.csv", "--bundle", str(tmp_path / "plain"), "--known", "--json"])
    [summary] = json.loads(done.stdout)
    assert summary["unknown"] is None
    assert "has no threshold for unknown protocols at fp32: etcc_known stays empty" in done.stderr
    assert {row[-1] for row in table()[1:]} == {""}


def test_a_confidence_that_is_no_number_is_refused(infer):
    assert "'nan' is no number" in infer("flows.csv", "--min-confidence", "nan").stderr


def test_an_application_that_is_less_sure_than_wanted_stays_empty(infer):
    # Within the range of the bundle's scalers, whose flows may be sure.
    spread = np.random.default_rng(1).uniform(0, 1000, (200, 4)).tolist()
    Path("flows.csv").write_bytes(HEADER + b"".join(b",%r,%r,,%r,%r,n\n" % tuple(row) for row in spread))
    infer("flows.csv")
    every = table()[1:]
    infer("flows.csv", "--force", "--min-confidence", "0.4")
    for before, after in zip(every, table()[1:], strict=True):
        sure = before[10] != "" and float(before[8]) * float(before[10]) >= 0.4
        assert after == (before if sure else [*before[:9], "", ""])
    assert 0 < sum(row[9] != "" for row in table()[1:]) < sum(row[9] != "" for row in every)


@pytest.mark.parametrize("data", [HEADER + b"".join(rows(40_000)), (HEADER + b"".join(rows(40_000)) + b'1,"2"')])
def test_the_number_of_threads_changes_nothing(infer, data):
    Path("flows.csv").write_bytes(data)  # several blocks
    infer("flows.csv", "--threads", "1")
    alone = Path("flows.labels.csv").read_bytes()
    assert alone.count(b"\n") > 40_000
    for threads in ("2", "3"):
        infer("flows.csv", "--force", "--threads", threads)
        assert Path("flows.labels.csv").read_bytes() == alone


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_rows_before_a_damaged_part_are_written_to_standard_output(infer, threads):
    packed = gzip.compress(HEADER + b"".join(rows(60_000)))
    for kept in (len(packed) // 3, len(packed) - 9):
        Path("flows.csv").write_bytes(packed[:kept])
        before = zlib.decompressobj(wbits=31).decompress(packed[:kept])
        result = infer("flows.csv", "-o", "-", "--threads", threads)
        assert "cannot be read to its end" in failed(result, 1)
        given = [line.rsplit(b",", 4)[0] for line in result.stdout_bytes.splitlines()]
        assert given == before.splitlines()[: before.count(b"\n")]


def test_labels_alone(infer):
    assert infer("flows.csv", "--columns", "labels").exit_code == 0
    header, *lines = Path("flows.labels.csv").read_bytes().splitlines()
    assert header == LABELS
    assert [line.count(b",") for line in lines] == [3] * 5


def test_chosen_columns_are_written_byte_for_byte_before_the_labels(infer):
    Path("flows.csv").write_bytes(HEADER + b'1000, 1 ,2000,1000,1000,1000,"a, ""b"""\n')
    assert infer("flows.csv", "--columns", "note, FLOWBYTESPERSECOND").exit_code == 0
    header, line = Path("flows.labels.csv").read_bytes().splitlines()
    assert header == b"note,flowBytesPerSecond," + LABELS
    assert line.startswith(b'"a, ""b""", 1 ,')
    assert line.count(b",") == 2 + 1 + 3


def test_the_key_columns_are_those_that_identify_a_flow(infer):
    Path("flows.csv").write_bytes(b"Src IP,Timestamp," + HEADER + b"192.0.2.1,5," + rows(1)[0])
    assert infer("flows.csv", "--columns", "key").exit_code == 0
    header, line = Path("flows.labels.csv").read_bytes().splitlines()
    assert header == b"Src IP,Timestamp," + LABELS
    assert line.startswith(b"192.0.2.1,5,")


@pytest.mark.parametrize("threads", ["1", "3"])
def test_chosen_columns_stay_with_their_rows_over_many_blocks(infer, threads):
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(40_000)))
    infer("flows.csv", "--columns", "note", "--threads", threads)
    chosen = table()
    infer("flows.csv", "-o", "all.csv", "--threads", threads)
    assert chosen == [row[6:] for row in table("all.csv")]


def test_a_column_that_the_file_lacks_is_named_with_the_nearest(infer):
    error = failed(infer("flows.csv", "--columns", "notes"), 1)
    assert error == "Error: flows.csv:1: has no column 'notes'; the nearest is 'note'"
    assert os.listdir() == ["flows.csv"]


def test_a_zip_file_of_one_csv_is_labelled_as_the_csv(infer):
    with zipfile.ZipFile("packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write("flows.csv")
    infer("flows.csv")
    assert infer("packed.zip").exit_code == 0
    assert Path("packed.labels.csv").read_bytes() == Path("flows.labels.csv").read_bytes()


def test_line_ends_and_the_byte_order_mark_stay(infer):
    Path("flows.csv").write_bytes(b"\xef\xbb\xbf" + (HEADER + b"".join(rows(2))).replace(b"\n", b"\r\n"))
    infer("flows.csv")
    lines = Path("flows.labels.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"\xef\xbb\xbf" + HEADER.rstrip() + b"," + LABELS
    assert (len(lines), lines[-1]) == (4, b"")


def test_arff_in_gives_csv_out(infer):
    arff = "".join(f"@attribute {name} numeric\n" for name in NAMES.split(",")) + "@data\n"
    Path("other.arff").write_bytes(b"@relation flows\n" + arff.encode() + b"% a comment\n" + b"".join(rows(5)))
    infer("other.arff")
    infer("flows.csv")
    assert Path("other.labels.csv").read_bytes() == Path("flows.labels.csv").read_bytes()


def test_a_header_alone_gives_a_header_alone(infer):
    Path("flows.csv").write_bytes(HEADER)
    assert infer("flows.csv").exit_code == 0
    assert Path("flows.labels.csv").read_bytes() == HEADER.rstrip() + b"," + LABELS + b"\n"


def test_gzip_in_and_gzip_out(infer):
    Path("packed.csv.gz").write_bytes(gzip.compress(Path("flows.csv").read_bytes()))
    infer("flows.csv")
    infer("packed.csv.gz", "-o", "out.csv.gz")
    assert gzip.decompress(Path("out.csv.gz").read_bytes()) == Path("flows.labels.csv").read_bytes()


def test_json_is_the_summary_of_each_input_and_nothing_else_is_on_standard_output(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    first, second = json.loads(infer("flows.csv", "more.csv", "--json").stdout)
    assert (first["input"], first["output"], first["flows"]) == ("flows.csv", "flows.labels.csv", 5)
    assert (second["input"], second["output"], second["flows"]) == ("more.csv", "more.labels.csv", 2)
    assert sum(n for applications in first["counts"].values() for n in applications.values()) == 5


def test_the_last_note_is_how_long_it_took(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    said = infer("flows.csv", "more.csv").stderr.splitlines()
    assert re.fullmatch(r"7 flows in \d+\.\d\d s: \d+ flows/s", said[-1])
    assert sum("flows/s" in line for line in said) == 1


def test_the_counts_of_several_files_have_their_names(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    lines = infer("flows.csv", "more.csv").stdout.splitlines()
    assert [line for line in lines if "→" in line] == ["flows.csv → flows.labels.csv", "more.csv → more.labels.csv"]
    assert "→" not in infer("flows.csv").stdout


def test_contradictions_end_with_exit_status_1_and_the_likely_cause(infer):
    swapped = [b",".join([*row.split(b",")[:5], b"9e9", row.split(b",")[6]]) for row in rows(3)]
    Path("mixed.csv").write_bytes(HEADER + b"".join([*rows(3), *swapped]))
    done = infer("mixed.csv")
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: mixed.csv: 3 of 6 rows contradict themselves (broken first: min")
    assert "in 3): probably some columns were changed after the meter wrote them" in errors[0]
    assert [bool(row[-4]) for row in table("mixed.labels.csv")[1:]] == [True] * 3 + [False] * 3


# --- preview ------------------------------------------------------------------------------------------------


def preview(infer: Infer, *words: str) -> list[list[str]]:
    """The table's cells, after checking that it fits and that no file was written."""
    before = sorted(os.listdir())
    done = infer(*words)
    assert done.exit_code == 0, done.stderr
    assert sorted(os.listdir()) == before
    assert max(map(len, done.stdout.splitlines())) < 80
    return [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["flows.csv", "--preview"], 10), (["--preview", "flows.csv"], 10), (["--preview", "3", "flows.csv"], 3)],
)
def test_a_preview_shows_the_first_flows_labels_and_writes_nothing(infer, words, shown):
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(30)))
    head, *lines = preview(infer, *words)
    infer("flows.csv", "-o", "all.csv")
    assert head == ["etcc_protocol", "etcc_application"]
    assert len(lines) == shown
    for line, row in zip(lines, table("all.csv")[1:], strict=False):
        named = [f"{row[i]} {float(row[i + 1]):.2f}" for i in (7, 9) if row[i]]
        assert line == named


def test_a_preview_of_fewer_flows_shows_them_all(infer):
    assert len(preview(infer, "flows.csv", "--preview", "100")) == 1 + 5


def test_a_preview_names_the_flows_where_they_can_be_named_and_shows_nothing_that_a_terminal_obeys(infer):
    names = b"2001:db8:1111:2222:3333:4444:5555:6666,\x1b[2J,12/02/2016 10:00:00,"
    Path("flows.csv").write_bytes(b"Src IP,Dst IP,Timestamp," + HEADER + names + rows(1)[0])
    head, line = preview(infer, "flows.csv", "--preview")
    assert head[:2] == ["source", "destination"]
    assert line[0].startswith("2001:db8:")
    assert line[0].endswith("…")
    assert line[1] == "\ufffd[2J"


def test_a_preview_says_why_flows_have_no_labels(infer):
    Path("odd.csv").write_bytes(HEADER + rows(1)[0] + b"1,2\n" * 2 + rows(1)[0].replace(b"1000", b"TCP", 1))
    done = infer("odd.csv", "--preview", "3")
    assert "odd.csv: 2 of 3 rows have no labels: 2 had too few cells\n" in done.stderr
    done = infer("odd.csv", "--preview")
    assert "odd.csv: 3 of 4 rows have no labels: 2 had too few cells, 1 held text where a number is" in done.stderr
    assert "no labels" not in infer("flows.csv", "--preview").stderr


def test_previews_of_several_files_have_their_names(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    assert [line for line in preview(infer, "flows.csv", "more.csv", "--preview") if line[0].endswith(".csv")] == [
        ["flows.csv"],
        ["more.csv"],
    ]


def test_a_preview_of_a_file_that_cannot_be_labelled_is_one_line_and_the_others_are_shown(infer):
    Path("bad.csv").write_text("nothing,known\n1,2\n")
    done = infer("bad.csv", "flows.csv", "--preview")
    assert done.exit_code == 1
    assert "Error: bad.csv:1: is not the header of a known meter" in done.stderr
    assert len(done.stdout.splitlines()) == 1 + 1 + 5


@pytest.mark.parametrize("words", [["-o", "out.csv"], ["--json"], ["--columns", "key"], ["--strict"], ["--known"]])
def test_a_preview_takes_no_option_about_a_file(infer, words):
    assert f"--preview writes no file; leave out {words[0]}" in failed(infer("flows.csv", "--preview", *words), 2)


def test_what_was_chosen_is_said(infer, bundle):
    said = infer("flows.csv").stderr.splitlines()[0]
    assert said.startswith(
        "flows.csv: iscx2016-time flows, times in us; bundle tiny (as asked for; trained on flows of a 15 s"
    )


# --- where it is written ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.arff", "folder/a.txt", "a.b.csv"])
def test_without_o_the_labels_lie_beside_the_input(infer, name):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(HEADER + rows(1)[0])
    assert infer(name).exit_code == 0
    stem = name.removesuffix(".gz").rsplit(".", 1)[0]
    assert Path(stem + ".labels.csv").is_file()


@pytest.mark.parametrize("options", [(), ("-o", "flows.labels.csv")])
@pytest.mark.parametrize(
    "earlier", [b"notes\n", HEADER.rstrip() + b"," + LABELS + b"\n", gzip.compress(b"notes", mtime=0)]
)
def test_an_existing_file_is_replaced_only_with_force(infer, options, earlier):
    Path("flows.labels.csv").write_bytes(earlier)
    assert "flows.labels.csv exists already; use --force" in failed(infer("flows.csv", *options), 2)
    assert Path("flows.labels.csv").read_bytes() == earlier
    assert infer("flows.csv", *options, "--force").exit_code == 0
    assert len(table()) == 6


def test_a_folder_that_is_absent_is_said_before_the_work_begins(infer):
    assert "nowhere/out.csv: there is no folder nowhere" in failed(infer("flows.csv", "-o", "nowhere/out.csv"), 2)


def test_without_flows_the_usage_is_said():
    assert "Missing argument 'FLOWS...'" in failed(CliRunner().invoke(main, ["infer"]), 2)


def test_an_archive_is_no_flows_file(infer):
    with tarfile.open("flows.tar", "w") as archive:
        archive.add("flows.csv")
    assert "flows.tar:1: holds NUL bytes, so it is no text; unpack an archive such as tar first" in failed(
        infer("flows.tar"), 1
    )


def test_an_empty_file_is_replaced(infer):
    Path("flows.labels.csv").touch()
    assert infer("flows.csv").exit_code == 0
    assert len(table()) == 6


def test_standard_input_replaces_no_file_without_force(infer, bundle):
    infer("flows.csv", "-o", "out.csv")
    earlier = Path("out.csv").read_bytes()
    done = CliRunner().invoke(main, ["infer", "-", "-o", "out.csv", "--bundle", bundle], input=HEADER + rows(1)[0])
    assert "out.csv exists already; use --force" in failed(done, 2)
    assert Path("out.csv").read_bytes() == earlier


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.json", "out.xlsx", "out.tsv", "out.csv.zip", "out.json.gz"])
def test_a_name_of_a_form_that_is_not_written_is_refused(infer, name):
    error = failed(infer("flows.csv", "-o", name), 2)
    assert (
        f"-o {name}: only CSV, Parquet and Arrow can be written; name a file that ends in .csv, .csv.gz, .pa" in error
    )
    assert os.listdir() == ["flows.csv"]


@pytest.mark.parametrize("name", ["out.csv", "out.CSV", "out.csv.gz", "out", "out.gz"])
def test_csv_packed_or_not_and_a_name_without_ending_are_written(infer, name):
    assert infer("flows.csv", "-o", name).exit_code == 0
    assert Path(name).exists()


def test_force_writes_over_an_existing_file(infer):
    Path("flows.labels.csv").write_bytes(b"other\n")
    assert infer("flows.csv", "--force").exit_code == 0
    assert LABELS in Path("flows.labels.csv").read_bytes()


@pytest.mark.parametrize("target", ["flows.csv", "./flows.csv", "symlink.csv", "hardlink.csv"])
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "force"])
def test_the_input_is_never_written_over(infer, target, force):
    os.symlink("flows.csv", "symlink.csv")
    os.link("flows.csv", "hardlink.csv")
    before = Path("flows.csv").read_bytes()
    assert "is an input; write to another file" in failed(infer("flows.csv", "-o", target, *force), 2)
    assert Path("flows.csv").read_bytes() == before


def test_another_input_is_never_written_over(infer):
    Path("flows.labels.csv").write_bytes(HEADER + b"".join(rows(9)))
    failed(infer("flows.csv", "flows.labels.csv", "--force"), 2)
    assert Path("flows.labels.csv").read_bytes() == HEADER + b"".join(rows(9))


def test_the_sums_are_written_over_no_input_and_no_labels(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    before = Path("more.csv").read_bytes()
    summed = ("flows.csv", "-o", "out.csv", "--sum-by", "host,1h", "--windows")
    assert "more.csv exists already" in failed(infer(*summed, "more.csv"), 2)
    assert "flows.csv is an input" in failed(infer(*summed, "flows.csv", "--force"), 2)
    assert "out.csv would be written twice" in failed(infer(*summed, "out.csv"), 2)
    assert Path("more.csv").read_bytes() == before
    assert sorted(os.listdir()) == ["flows.csv", "more.csv"]


def test_two_inputs_whose_sums_would_be_one_file_are_refused(infer):
    table = pytest.importorskip("pyarrow.csv").read_csv("flows.csv")
    pytest.importorskip("pyarrow.parquet").write_table(table, "flows.parquet")
    complaint = failed(infer("flows.csv", "flows.parquet", "--sum-by", "host,1h"), 2)
    assert "flows.windows.csv would be written twice" in complaint


def test_a_pattern_and_a_folder_can_be_previewed(infer):
    Path("flaws.csv").write_bytes(HEADER + b"".join(rows(2)))
    result = infer("fl*.csv", "--preview", "1")
    assert result.exit_code == 0
    assert {"flaws.csv", "flows.csv"} <= set(re.findall(r"fl[ao]ws\.csv", result.stdout))


def test_o_may_be_a_folder_for_several_inputs(infer):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    Path("out").mkdir()
    assert infer("flows.csv", "more.csv", "-o", "out").exit_code == 0
    assert sorted(os.listdir("out")) == ["flows.labels.csv", "more.labels.csv"]


@pytest.mark.parametrize("output", ["out.csv", "-"])
def test_several_inputs_do_not_go_into_one_file(infer, output):
    Path("more.csv").write_bytes(HEADER + b"".join(rows(2)))
    assert "is one file for several inputs" in failed(infer("flows.csv", "more.csv", "-o", output), 2)
    assert sorted(os.listdir()) == ["flows.csv", "more.csv"]


def test_two_inputs_of_one_name_do_not_go_into_one_file(infer):
    Path("flows.arff").write_bytes(b"")
    assert "would be written twice; label the inputs one by one" in failed(infer("flows.csv", "flows.arff"), 2)
    assert sorted(os.listdir()) == ["flows.arff", "flows.csv"]


def test_o_dash_is_standard_output_and_only_the_labelled_flows_go_there(infer):
    infer("flows.csv")
    result = infer("flows.csv", "-o", "-")
    assert result.exit_code == 0
    assert result.stdout_bytes == Path("flows.labels.csv").read_bytes()


def test_json_and_labelled_flows_do_not_share_standard_output(infer):
    assert "would share standard output" in failed(infer("flows.csv", "-o", "-", "--json"), 2)


def test_a_device_needs_no_force(infer):
    assert infer("flows.csv", "-o", "/dev/null").exit_code == 0


# --- what fails ---------------------------------------------------------------------------------------------


def test_strict_names_the_first_bad_row_and_leaves_nothing(infer):
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(2)) + b"1,2\n")
    error = failed(infer("flows.csv", "--strict"), 1)
    assert error.startswith("Error: flows.csv:4: has 2 cells where the header has 7")
    assert os.listdir() == ["flows.csv"]


def test_strict_minds_neither_missing_values_nor_blank_lines(infer):
    Path("flows.csv").write_bytes(HEADER + b"\n,NaN,Infinity,-1,-1,-1,x\n")
    assert infer("flows.csv", "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "flows.csv: is empty"),
        (b"a,b\n1,2\n", "flows.csv:1: is not the header of a known meter"),
        (HEADER.decode().encode("utf-16"), "flows.csv: is UTF-16 text"),
        (gzip.compress(HEADER + rows(1)[0])[:-9], "flows.csv: cannot be read to its end"),
        (b"@attribute duration numeric\n", "flows.csv: is an ARFF file without @data"),
        (
            HEADER.replace(b"max_flowiat", b"most_flowiat"),
            "needs what the file lacks: flow_iat_max (nearest column: '",
        ),
    ],
    ids=["empty", "no header", "UTF-16", "cut gzip", "ARFF without data", "no such column"],
)
def test_a_bad_input_is_one_line_and_leaves_nothing(infer, data, complaint):
    Path("flows.csv").write_bytes(data)
    assert complaint in failed(infer("flows.csv"), 1)
    assert os.listdir() == ["flows.csv"]


@pytest.mark.parametrize(("name", "complaint"), [("none.csv", "No such file or directory"), (".", "is a folder")])
def test_an_input_that_is_no_file_is_one_line(infer, name, complaint):
    result = infer(name, "-o", "out.csv")
    assert complaint in failed(result, 1)
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir() == ["flows.csv"]


def test_a_failed_run_keeps_the_earlier_output(infer):
    infer("flows.csv", "-o", "out.csv")
    earlier = Path("out.csv").read_bytes()
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(9)) + b"1,2\n")
    failed(infer("flows.csv", "-o", "out.csv", "--strict", "--force"), 1)
    assert Path("out.csv").read_bytes() == earlier
    assert sorted(os.listdir()) == ["flows.csv", "out.csv"]


def test_a_labelled_file_is_not_labelled_again(infer):
    infer("flows.csv")
    assert "flows.labels.csv: has a column 'etcc_application' already; use --columns labels" in failed(
        infer("flows.labels.csv"), 1
    )
    assert infer("flows.labels.csv", "--columns", "labels").exit_code == 0


# --- pipes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_standard_input_to_standard_output(infer, bundle, packed):
    infer("flows.csv")
    data = Path("flows.csv").read_bytes()
    sent = gzip.compress(data) if packed else data
    done = subprocess.run([*COMMAND, "-", "--bundle", bundle], input=sent, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, Path("flows.labels.csv").read_bytes())


def test_a_reader_that_has_enough_ends_the_command_quietly(infer, bundle):
    Path("flows.csv").write_bytes(HEADER + b"".join(rows(20_000)))
    command = [*COMMAND, "flows.csv", "-o", "-", "--bundle", bundle]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline() == HEADER.rstrip() + b"," + LABELS + b"\n"
        running.stdout.close()
        said = running.stderr.read().decode()
    assert running.returncode == 0
    assert [line for line in said.splitlines() if not line.startswith("flows.csv: ")] == []


def test_a_file_that_cannot_be_labelled_does_not_stop_the_others(infer):
    Path("bad.csv").write_text("nothing,known\n1,2\n")
    Path("good.csv").write_bytes(HEADER + rows(1)[0])
    done = infer("bad.csv", "good.csv", "--json")
    assert done.exit_code == 1
    bad, good = json.loads(done.stdout)
    assert (bad["input"], good["flows"]) == ("bad.csv", 1)
    assert "is not the header of a known meter" in bad["error"]
    assert Path("good.labels.csv").exists()


def test_a_full_disk_is_one_line_on_standard_output_too(bundle):
    with open("/dev/full", "wb") as full:
        sent = HEADER + rows(1)[0]
        done = subprocess.run(
            [*COMMAND, "-", "--bundle", bundle], input=sent, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"Error: standard output: cannot be written: No space left on device"


def not_ignored(number: signal.Signals) -> Callable[[], object] | None:
    """For a child to meet the signal as a command does that is started by hand; under nohup it would ignore it."""
    return None if number == signal.SIGKILL else lambda: signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_behind(bundle, tmp_path, number):
    with subprocess.Popen(
        [*COMMAND, "-", "-o", tmp_path / "out.csv", "--bundle", bundle],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=not_ignored(number),
    ) as running:
        running.stdin.write(HEADER + b"".join(rows(100)) * 1000)
        assert b"iscx2016-time flows" in running.stderr.readline()
        running.send_signal(number)
        running.wait(30)
    assert running.returncode in (-number, 128 + number)
    assert list(tmp_path.iterdir()) == []


def test_a_usage_error_is_one_line(bundle):
    done = subprocess.run([*COMMAND, "--thread", "0", "x.csv"], capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"Error: No such option")


def test_a_row_without_any_value_is_not_labelled(infer):
    Path("none.csv").write_bytes(HEADER + b"," * HEADER.count(b",") + b"\n" + rows(1)[0])
    done = infer("none.csv", "--json")
    assert json.loads(done.stdout)[0]["rows"]["too_few_values"] == 1
    assert Path("none.labels.csv").read_bytes().splitlines()[1].endswith(b",,,,,")
    assert "1 row had values in less than half of the needed columns" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--sum-by host,5minn", "cannot sum by 'host,5minn'; write host,5min"),
        ("--sum-by hst,5min", "cannot sum by 'hst,5min'"),
        ("--sum-by host", "cannot sum by 'host'"),
        ("--sum-hosts both", "nothing is summed without --sum-by; leave out --sum-hosts"),
        ("--preview --windows w.csv", "nothing is summed without --sum-by; leave out --windows"),
        ("--bundle no-such-bundle", "no bundle 'no-such-bundle': neither a path nor one of default, no-ports"),
    ],
)
def test_wrong_usage_is_told_before_any_file_is_read(words: str, complaint: str) -> None:
    done = CliRunner().invoke(main, ["infer", "no-such-1.csv", "no-such-2.csv", *words.split()])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {complaint}")
    assert done.stderr.count("\n") == 1
