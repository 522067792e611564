"""Labelled flows come from files, each once, or from captures."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from etcc_edge.cli.labelled import check_source


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["t.csv", "t.csv"], "t.csv is given twice; name each file once"),
        (["t.csv", "u.csv", "./t.csv"], "./t.csv is the same file as t.csv; name each file once"),
        (["link.csv", "t.csv"], "t.csv is the same file as link.csv; name each file once"),
    ],
)
def test_a_file_given_twice_is_named(
    names: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "u.csv"):
        Path(name).write_text("the same\n")
    Path("link.csv").symlink_to("t.csv")
    with pytest.raises(click.UsageError) as error:
        check_source(names, None, columns=None)
    assert error.value.message == words


def test_files_that_differ_are_taken_be_they_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "u.csv"):
        Path(name).write_text("the same\n")
    check_source(["t.csv", "u.csv", "none.csv", "none.csv", "-"], None, columns=None)
