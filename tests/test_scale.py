"""The examples of docs/scale.md run as they stand."""

from __future__ import annotations

import pytest
from test_readme import ROOT, blocks

pytest.importorskip("pandas")
PAGE = ROOT / "docs" / "scale.md"
EXAMPLES = {"pandas": "import pandas"}


def example(library: str) -> str:
    [code] = [block for block in blocks(PAGE, "python") if EXAMPLES[library] in block]
    return code


def run(library: str) -> None:
    exec(compile(example(library), PAGE.name, "exec"), {"__name__": "example"})


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_example_is_run_by_a_test() -> None:
    assert len(blocks(PAGE, "python")) == len(EXAMPLES)


def test_the_example_of_tables_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("pandas")
    assert "VPN" in capsys.readouterr().out
