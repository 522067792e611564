"""`select-features` writes what `train --features` reads, and takes up an interrupted search."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from etcc_edge.cli import main
from etcc_edge.cli.train import _feature_list
from etcc_edge.flows.generated import sample_rows


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flows") / "generated.csv"
    path.write_text("".join(sample_rows(800, seed=4)))
    return path


def select(flows: Path, output: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["select-features", str(flows), "-o", str(output), *options])


def test_it_writes_a_list_that_train_reads(generated: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.txt"
    done = select(generated, output, "-k", "4", "--candidates", "time", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert output.read_text().splitlines() == told["features"] == _feature_list(str(output))
    assert [step["size"] for step in told["steps"]] == [1, 2, 3, 4]
    assert not any(name.startswith("idle") for name in told["features"])
    assert [path.name for path in tmp_path.iterdir()] == ["features.txt"]


def test_a_person_gets_a_table(generated: Path, tmp_path: Path) -> None:
    done = select(generated, tmp_path / "f", "-k", "2", "--candidates", "time", "--target", "both", "--split=flow-id")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == ["features", "accuracy", "added", "dropped"]
    assert len(done.stdout.splitlines()) == 3
    assert f"wrote {tmp_path / 'f'}: 2 of " in done.stderr


def test_no_identifier_and_no_idle_time_is_a_candidate(generated: Path, tmp_path: Path) -> None:
    done = select(generated, tmp_path / "f", "-k", "1", "--json")
    chosen = json.loads(done.stdout)
    # 75 features, of 85 columns: no Flow ID, addresses, time stamp, Idle times or labels.
    assert chosen["candidates"] + len(chosen["constant"]) == 75


def test_an_existing_file_needs_force(generated: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.txt"
    output.write_text("mine")
    refused = select(generated, output, "-k", "1", "--candidates", "time")
    assert (refused.exit_code, output.read_text()) == (2, "mine")
    assert select(generated, output, "-k", "1", "--candidates", "time", "--force").exit_code == 0
    assert output.read_text() != "mine"


def test_the_flows_are_never_written_over(generated: Path) -> None:
    before = generated.read_bytes()
    refused = select(generated, generated, "--force")
    assert refused.exit_code == 2
    assert "is a file that is read" in refused.output
    assert generated.read_bytes() == before


def test_standard_output_cannot_be_taken_up_again(generated: Path) -> None:
    refused = CliRunner().invoke(main, ["select-features", str(generated), "-o", "-"])
    assert refused.exit_code == 2
    assert "-o needs a file" in refused.output


def test_a_mistake_is_one_line_and_leaves_nothing(generated: Path, tmp_path: Path) -> None:
    failed = select(generated, tmp_path / "f", "-k", "41", "--candidates", "time")
    assert failed.exit_code == 1
    assert "features vary, so that -k can be 1 to" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_another_searchs_state_is_left_alone(generated: Path, tmp_path: Path) -> None:
    state = tmp_path / "f.unfinished"
    state.write_text("mine")
    failed = select(generated, tmp_path / "f", "-k", "1")
    assert (failed.exit_code, state.read_text()) == (1, "mine")
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_stopped_search_ends_as_a_whole_one(
    generated: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    output, state = tmp_path / "features.txt", tmp_path / "features.txt.unfinished"
    words = ["select-features", os.fspath(generated), "-o", os.fspath(output), "--candidates", "time"]
    # Enough features for the signal to come before the end.
    command = [os.fspath(Path(sys.executable).with_name("etcc-edge")), *words, "-k", "12"]
    # What is ignored here, as under nohup, would be ignored there.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
    )
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == [state.name]
    resumed = select(generated, output, "-k", "4", "--candidates", "time")
    whole = select(generated, tmp_path / "whole.txt", "-k", "4", "--candidates", "time")
    assert (resumed.exit_code, resumed.stdout) == (0, whole.stdout)
    assert output.read_text() == (tmp_path / "whole.txt").read_text()
    assert not state.exists()
