"""`check` says whether a file can be labelled or trained on."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path

import pytest
from captures import exchange, pcap
from click.testing import CliRunner, Result

from etcc_edge.cli import main

DATA = Path(__file__).parents[1] / "data"
GENERATED = str(DATA / "generated-flows.csv")


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["check", *words], input=stdin)


def test_a_person_gets_a_line_a_finding() -> None:
    done = run(GENERATED)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"{GENERATED}: can be labelled, by bundle default"
    assert lines[1].startswith("200 flows, ")
    assert [line for line in lines if line and not line.startswith(" ")][2:] == ["reading", "values", "leakage"]
    severities = [line.split()[0] for line in lines if line.startswith("  ")]
    assert set(severities) <= {"ok", "note", "warning"}
    assert len({line.index(line.split()[2]) for line in lines if line.startswith("  ok")}) == 1
    assert done.stderr == ""


def test_json_has_the_stable_keys() -> None:
    figures = json.loads(run(GENERATED, "--json").stdout)
    assert set(figures) == {
        *("file", "dialect", "meter", "time_unit", "notes", "columns", "other_columns", "features_missing"),
        *(
            "bundles",
            "rows",
            "capture",
            "damage",
            "relations",
            "capture",
            "damage",
            "contradiction",
            "failure",
            "values",
            "repeats",
            "label_columns",
            "labels",
            "leakage",
            "findings",
        ),
    }
    assert set(figures["leakage"]) == {"identifiers", "absolute_times", "conflicts", "date", "split"}
    assert set(figures["values"]["src_port"]) == {
        *("unit", "missing", "infinite", "negative", "constant", "min", "max"),
    }
    assert set(figures["findings"][0]) == {"part", "severity", "topic", "text"}


def test_columns_show_every_feature() -> None:
    done = run(GENERATED, "--columns")
    row = next(line for line in done.stdout.splitlines() if line.startswith("fwd_packets "))
    assert "Total Fwd Packet" in row
    assert len(done.stdout.splitlines()) > 75


def test_a_stream_and_a_gzip_file_give_the_same_figures(tmp_path: Path) -> None:
    data = Path(GENERATED).read_bytes()
    packed = tmp_path / "flows.csv.gz"
    packed.write_bytes(gzip.compress(data))
    expected, *others = (json.loads(run(name, "--json", stdin=data).stdout) for name in (GENERATED, "-", str(packed)))
    for figures in others:
        assert {**figures, "file": ""} == {**expected, "file": ""}


@pytest.mark.parametrize("kind", ["random", "flow-id", "session"])
def test_a_split_is_audited(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("sklearn")
    groups = tmp_path / "groups.txt"
    groups.write_text("".join(f"{i % 10}\n" for i in range(200)))
    words = ["--groups", str(groups)] if kind == "session" else []
    split = json.loads(run(GENERATED, "--split", kind, *words, "--json").stdout)["leakage"]["split"]
    assert (split["kind"], split["seed"], split["train"] + split["test"]) == (kind, 0, 200)
    assert 0 <= split["twins"] <= split["near_twins"] <= split["test"]
    assert f"{kind}, seed 0: " in run(GENERATED, "--split", kind, *words).stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-", "--split", "random"], 2, "--split reads the flows twice; name a file"),
        ([GENERATED, "--split", "session"], 2, "--groups FILE and --split session go together"),
        ([GENERATED, "--groups", GENERATED], 2, "--groups FILE and --split session go together"),
        ([GENERATED, "--protocol-column", "Labels"], 1, "has no column 'Labels'; the nearest is 'Label'"),
        (["nothing.csv"], 1, "nothing.csv: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_checked_is_one_line(words: list[str], status: int, said: str) -> None:
    failed = run(*words)
    assert failed.exit_code == status
    assert failed.stderr.count("\n") == 1
    assert said in failed.stderr


def test_a_split_of_flows_without_labels_asks_for_them(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "flows.csv"
    path.write_text("Source Port,Flow Duration,Flow Bytes/s,Flow Packets/s,Flow IAT Mean\n1,2,3,4,5\n")
    assert run(str(path)).exit_code == 3
    failed = run(str(path), "--split", "random")
    assert failed.exit_code == 1
    assert "name the label column with --protocol-column" in failed.stderr


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_file_that_no_shipped_bundle_fits_is_described_and_exits_3(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "flows.csv"
    path.write_text("Source Port,Flow Duration,Flow Bytes/s,Flow Packets/s,Flow IAT Mean\n1,2,3,4,5\n")
    done = run(str(path), *words)
    assert (done.exit_code, done.stderr) == (3, "")
    assert "no shipped one fits; train your own" in done.stdout
    assert "wire is for CICFlowMeter" in done.stdout


def test_check_fails_where_infer_would_and_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(Path(GENERATED).read_text().replace("Flow Duration", "Flow Duraton", 1))
    done = run(str(path))
    assert done.exit_code == 3
    verdict = done.stdout.splitlines()[0]
    assert verdict.startswith(f"{path}: cannot be labelled as it is: no shipped bundle of view inside, which infer")
    lack = "needs flow_duration (nearest column: 'Flow Duraton')"
    assert f"default {lack}; no-ports {lack}; " in verdict
    assert "infer takes it with --bundle wire" in done.stdout
    assert CliRunner().invoke(main, ["infer", str(path)]).exit_code == 1


def test_numbers_that_contradict_each_other_are_the_verdict(tmp_path: Path) -> None:
    header, *rows = csv.reader(Path(GENERATED).read_text().splitlines())
    times = [i for i, name in enumerate(header) if name == "Flow Duration" or "IAT" in name]
    for row in rows[:100]:
        for i in times:
            row[i] = repr(float(row[i]) / 1e6)
    path = tmp_path / "flows.csv"
    path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))
    done = run(str(path))
    assert done.exit_code == 3
    verdict = done.stdout.splitlines()[0]
    assert "cannot be labelled as it is: " in verdict
    assert "rows contradict themselves" in verdict
    assert "write all in one unit" in verdict
    assert CliRunner().invoke(main, ["infer", str(path)]).exit_code == 1


def damaged(damage: str) -> str:
    """The generated flows, every row of them damaged."""
    header, *rows = Path(GENERATED).read_text("utf-8").splitlines()
    if damage == "unneeded":  # default reads no sums of bytes in bulks
        place = header.split(",").index("Fwd Bytes/Bulk Avg")
        cut = [row.split(",") for row in rows]
        rows = [",".join([*cells[:place], "text", *cells[place + 1 :]]) for cells in cut]
        return "\n".join([header, *rows]) + "\n"
    of_row = {
        "long": lambda row: row + ",",
        "short": lambda row: row.rpartition(",")[0],
        "text": lambda row: re.sub(r",(6|17|0),", ",TCP,", row, count=1),
        "quote": lambda row: '"' + row,
        "empty": lambda row: ",".join([*row.split(",")[:7], *[""] * (row.count(",") - 6)]),
    }
    return "\n".join([header, *map(of_row[damage], rows)]) + "\n"


@pytest.mark.parametrize("given", ["file", "standard input"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("long", "had too many cells"),
        ("short", "had too few cells"),
        ("text", "held text where a number is needed"),
        ("quote", "had a quote that does not close, or text after it"),
        ("empty", "had values in less than half of the needed columns"),
    ],
)
def test_a_file_of_which_no_row_can_be_labelled_is_an_error(
    tmp_path: Path, damage: str, reason: str, given: str
) -> None:
    path, labels = tmp_path / "flows.csv", tmp_path / "labels.csv"
    path.write_text(damaged(damage), "utf-8")
    name, words, stdin = (str(path), [str(path)], None) if given == "file" else (given, ["-"], path.read_bytes())
    done = run(*words, stdin=stdin)
    said = f"200 of 200 rows have no labels: 200 {reason}"
    assert (done.exit_code, done.stdout.splitlines()[0]) == (3, f"{name}: cannot be labelled as it is: {said}")
    done = CliRunner().invoke(main, ["infer", *words, "-o", str(labels)], input=stdin)
    assert (done.exit_code, f"Error: {name}: {said}\n" in done.stderr) == (1, True)
    assert labels.read_bytes().count(b"\n") == 201


def test_text_in_a_column_that_infer_does_not_need_is_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(damaged("unneeded"), "utf-8")
    assert CliRunner().invoke(main, ["infer", str(path)]).exit_code == 0
    assert run(str(path)).exit_code == 0


@pytest.mark.parametrize("name", ["flows.csv", "capture.pcap"])
def test_without_flows_there_is_nothing_to_label(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pcap([]) if name == "capture.pcap" else Path(GENERATED).read_bytes().partition(b"\n")[0] + b"\n")
    done = run(str(path))
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"{path}: nothing to label: no flows")
    labelled = CliRunner().invoke(main, ["infer", str(path)])
    assert labelled.exit_code == 0
    assert f"{path}: warning: no flows: there is nothing to label\n" in labelled.stderr


def test_a_capture_is_cut_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(pcap(exchange("10.0.0.1", 1000, "10.0.0.2", 443) + exchange("fe80::1", 1, "fe80::2", 2))[:-1])
    done = CliRunner().invoke(main, ["check", str(path)])
    assert done.exit_code == 3, done.output
    assert done.stdout.startswith(f"{path}: cannot be labelled as it is: it is cut within a record")
    assert "a capture, cut into flows by darknet2020 at 120 s: 11 packets" in done.stdout
    assert "1 flows of IPv6: of the shipped bundles only wire" in done.stdout
    assert "it is cut within a record; what follows is about the flows up to there" in done.stdout
    assert "default fits" in done.stdout
    figures = json.loads(CliRunner().invoke(main, ["check", str(path), "--json"]).stdout)
    assert figures["capture"]["packets"] == 11
    assert figures["columns"]["flow_duration"] == "flow_duration"
