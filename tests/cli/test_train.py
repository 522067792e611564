"""`train` says how far it is, and replaces nothing of worth. What it writes is tested with the training."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.cli import main
from etcc_edge.cli.terminal import line_progress


def test_off_a_terminal_the_newest_line_comes_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""
    with line_progress(every_s=0.01) as tell:
        tell("stage1: epoch 1/80")
        while "epoch 1/80" not in shown:  # ends with the first line, however slow the machine
            shown += capsys.readouterr().err
            time.sleep(0.001)
        tell("stage1: epoch 2/80")
        while "epoch 2/80" not in shown:
            shown += capsys.readouterr().err
            time.sleep(0.001)
    assert re.fullmatch(r"(stage1: epoch 1/80; \d+ s so far\n)+(stage1: epoch 2/80; \d+ s so far\n)+", shown)


def test_work_of_less_than_the_interval_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with line_progress(every_s=1000) as tell:
        tell("reading flows.csv")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["train"], ["adapt", "default"]])
@pytest.mark.parametrize("target", ["flows.zip", "groups.txt", "captures.csv", "a.pcap", "link.zip"])
def test_a_bundle_replaces_no_input_even_with_force(tmp_path: Path, command: list[str], target: str) -> None:
    pytest.importorskip("torch")
    for name in ("flows.zip", "groups.txt", "a.pcap"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "captures.csv").write_text("capture,protocol,application\na.pcap,VPN,Chat\n")
    (tmp_path / "link.zip").symlink_to("flows.zip")
    of_captures = target in ("captures.csv", "a.pcap")
    flows, groups, table = (str(tmp_path / name) for name in ("flows.zip", "groups.txt", "captures.csv"))
    inputs = ["--captures", table] if of_captures else [flows, "--groups", groups]
    before = (tmp_path / target).read_text()
    done = CliRunner().invoke(main, [*command, *inputs, "-o", str(tmp_path / target), "--force"])
    assert (done.exit_code, f"{target}: is an input; name another place" in done.stderr) == (2, True)
    assert (tmp_path / target).read_text() == before
