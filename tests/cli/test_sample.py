"""`sample` writes generated flows, and over nothing."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from etcc_edge.cli import main

EXAMPLE = Path(__file__).parents[1] / "data" / "generated-flows.csv"


def test_the_example_file_is_made_by_it(tmp_path: Path) -> None:
    made = tmp_path / "made.csv"
    assert CliRunner().invoke(main, ["sample", "-n", "200", "--seed", "1", "-o", str(made)]).exit_code == 0
    assert made.read_bytes() == EXAMPLE.read_bytes()


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    made = tmp_path / "made.csv"
    made.write_text("mine")
    refused = CliRunner().invoke(main, ["sample", "-n", "1", "-o", str(made)])
    assert (refused.exit_code, made.read_text()) == (2, "mine")
    assert CliRunner().invoke(main, ["sample", "-n", "1", "-o", str(made), "--force"]).exit_code == 0
    assert made.read_text().startswith("Flow ID,")
