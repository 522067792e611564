"""`train` says how far it is. What it writes is tested with the training."""

from __future__ import annotations

import re
import time

import pytest

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
