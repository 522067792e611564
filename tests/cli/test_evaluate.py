"""`evaluate` scores a bundle on labelled flows."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from etcc_edge.bundle import load_bundle
from etcc_edge.cli import main

GENERATED = str(Path(__file__).parents[1] / "data" / "generated-flows.csv")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", *words])


def test_json_has_the_stable_keys() -> None:
    done = run(GENERATED, "--json")
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["flows"] == 200
    assert (figures["flows_ignored"], figures["flows_trained_on"], figures["coverage"]) == (0, 0, 1.0)
    assert (figures["bundle"], figures["backend"], figures["precision"]) == ("default", "native", "fp32")
    assert 0 <= figures["end_to_end"]["strict_accuracy"] <= figures["end_to_end"]["accuracy"] <= 1
    assert set(figures["stage2"]) == {"VPN", "Non-VPN"}
    for scores in (figures["protocol"], *figures["stage2"].values()):
        assert {"accuracy", "precision", "recall", "f1", "confusion"} <= set(scores)
    assert 0 <= figures["mean_stage2_accuracy"] <= 1


def test_several_bundles_are_a_list() -> None:
    done = run(GENERATED, "--bundle", "default", "--bundle", "no-ports", "--json")
    assert [figures["bundle"] for figures in json.loads(done.stdout)] == ["default", "no-ports"]


def test_reports_hold_the_same_figures(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"figures{suffix}") for suffix in (".json", ".md", ".html")]
    done = run(GENERATED, "--json", *(word for path in paths for word in ("--report", path)))
    figures = json.loads(done.stdout)
    assert json.loads(Path(paths[0]).read_text()) == figures
    shown = f"{100 * figures['end_to_end']['accuracy']:.2f}"
    assert all(shown in Path(path).read_text() for path in paths[1:])


def test_a_report_is_written_over_no_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept.md"
    kept.write_text("mine")
    assert "exists already; use --force" in run(GENERATED, "--report", str(kept)).stderr
    assert kept.read_text() == "mine"
    assert run(GENERATED, "--report", str(kept), "--force").exit_code == 0
    assert "etcc-edge" in kept.read_text()
    flows = tmp_path / "flows.json"
    flows.write_bytes(Path(GENERATED).read_bytes())
    done = run(str(flows), "--report", str(flows), "--force")
    assert done.exit_code == 2
    assert "is an input; name another file" in done.stderr


def test_every_report_says_when_how_and_of_what_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"figures{suffix}") for suffix in (".json", ".md", ".html")]
    words = [GENERATED, *(word for path in paths for word in ("--report", path))]
    monkeypatch.setattr("sys.argv", ["etcc-edge", "evaluate", *words])
    assert run(*words).exit_code == 0
    figures = json.loads(Path(paths[0]).read_text())
    made = datetime.fromisoformat(figures["made"])
    assert made.utcoffset() == timedelta(0)
    assert abs(datetime.now(timezone.utc) - made) < timedelta(minutes=10)
    assert figures["command"].startswith("etcc-edge evaluate data/generated-flows.csv --report ")
    assert str(tmp_path.parent) not in figures["command"]
    assert figures["file_sha256"] == hashlib.sha256(Path(GENERATED).read_bytes()).hexdigest()
    assert figures["bundle_digest"] == load_bundle("default").digest()
    for path in paths[1:]:
        text = Path(path).read_text()
        assert all(figures[key] in text for key in ("made", "file_sha256", "bundle_digest"))


def test_a_person_gets_a_table_and_remarks() -> None:
    done = run(GENERATED)
    for line in ("protocol", "VPN applications", "Non-VPN applications", "end to end, all flows"):
        assert re.search(rf"^{line} +\d+ +\d+\.\d\d % \(", done.stdout, re.MULTILINE)
    for words in ("stage 1 wrong", "at 80 % coverage: ", "calibration error: protocol "):
        assert words in done.stdout
    assert "true label" not in done.stdout
    assert "foreground: flows of no service" in done.stdout
    assert len(done.stdout.splitlines()) < 25


def test_confusion_matrices_are_shown_on_demand() -> None:
    done = run(GENERATED, "--confusion")
    assert done.stdout.count("% of each true label") == 3
    assert re.search(r"^2 Tor +\d", done.stdout, re.MULTILINE)


def test_a_person_gets_bundles_side_by_side() -> None:
    done = run(GENERATED, "--bundle", "default", "--bundle", "no-ports")
    assert done.stdout.splitlines()[0].split("  ")[-1].strip() == "no-ports (cnn)"
    assert re.search(r"^protocol( +\d+\.\d\d % \(.*?\)){2}$", done.stdout, re.MULTILINE)
    assert "no-ports (cnn): end to end: " in done.stdout


def test_flows_trained_on_are_warned_of_or_left_out(real_flows: Path) -> None:
    path = str(real_flows / "iscx-tor-vpn-15s" / "flows.csv")
    done = run(path, "--json")
    everything, tested = json.loads(done.stdout), json.loads(run(path, "--json", "--rows", "test").stdout)
    assert f"{everything['flows_twins']} of these flows have the features of flows that bundle iscx" in done.stderr
    assert everything["flows"] - everything["flows_twins"] == tested["flows"]
    assert (tested["flows_trained_on"], tested["flows_twins"]) == (None, 0)
    assert tested["end_to_end"]["accuracy"] < everything["end_to_end"]["accuracy"]


def test_flows_of_protocols_that_a_bundle_does_not_know_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text(re.sub("(Non-)?VPN,|Tor,", "QUIC,", Path(GENERATED).read_text()))
    failed = run(str(path), "--bundle", "default")
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert failed.stderr.splitlines() == [
        f"Error: {path}: no flow has a protocol that bundle default knows (Non-VPN, Tor, VPN); name yours with --bundle"
    ]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-"], 2, "name a file instead of standard input"),
        ([GENERATED, "--report", "figures.txt"], 2, "name a file that ends in .json, .md, .html"),
        ([GENERATED, "--report", "no/such/folder/a.md"], 2, "there is no folder no/such/folder"),
        ([GENERATED, "--bundle", "default", "--bundle", "default"], 2, "each bundle once"),
        ([GENERATED, "--protocol-column", "Labels"], 1, "has no column 'Labels'; the nearest is 'Label'"),
        (
            [GENERATED, "--bundle", "iscx-tor-vpn-15s"],
            1,
            "needs what the file lacks: idle_mean (this meter writes absolute capture times there)",
        ),
    ],
)
def test_what_cannot_be_scored_is_one_line(words: list[str], status: int, said: str) -> None:
    failed = run(*words)
    assert failed.exit_code == status
    assert said in failed.stderr.splitlines()[-1]
