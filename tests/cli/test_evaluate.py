"""`evaluate` scores a bundle on labelled flows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

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


def test_a_report_holds_the_same_figures(tmp_path: Path) -> None:
    done = run(GENERATED, "--report", str(tmp_path / "figures.json"), "--json")
    assert json.loads((tmp_path / "figures.json").read_text()) == json.loads(done.stdout)
    assert run(GENERATED, "--report", str(tmp_path / "figures.txt")).exit_code == 2


def test_a_person_gets_a_table() -> None:
    done = run(GENERATED)
    for line in ("protocol", "VPN applications", "Non-VPN applications", "end to end, all flows"):
        assert line in done.stdout


def test_flows_trained_on_are_warned_of_or_left_out(real_flows: Path) -> None:
    path = str(real_flows / "iscx-tor-vpn-15s" / "flows.csv")
    done = run(path, "--json")
    assert "was trained on" in done.stderr
    everything, tested = json.loads(done.stdout), json.loads(run(path, "--json", "--rows", "test").stdout)
    assert everything["flows"] - everything["flows_trained_on"] == tested["flows"]
    assert tested["flows_trained_on"] == 0
    assert tested["end_to_end"]["accuracy"] < everything["end_to_end"]["accuracy"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["-"], 2, "name a file instead of standard input"),
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
