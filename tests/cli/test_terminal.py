"""What a terminal shows of work that goes on."""

from __future__ import annotations

import sys

import pytest

from etcc_edge.cli.terminal import byte_progress, status


def test_a_file_of_any_name_has_a_bar_of_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with byte_progress("a[/b]\x1b[31m\nc.csv") as progress:
        progress(1, 2)
    with status() as tell:
        tell("reading [/d]\x1b[31m")
    shown = capsys.readouterr().err
    assert r"a[/b]\x1b[31m\nc.csv" in shown
    assert "\x1b[31m\n" not in shown
