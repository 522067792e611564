"""What a shell completes."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from etcc_edge.cli import main

BUNDLES = {"default", "no-ports", "iscx-tor-vpn-15s", "wire"}


def completed(line: str) -> list[tuple[str, ...]]:
    """What click's script for bash gets: kinds and values, in order."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_ETCC_EDGE_COMPLETE": "bash_complete"}
    done = CliRunner().invoke(main, [], env=words, prog_name="etcc-edge")
    assert done.exit_code == 0, done.output
    return [tuple(item.split(",", 1)) for item in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str) -> None:
    outcome = CliRunner().invoke(main, ["completion", shell])
    assert outcome.exit_code == 0
    assert "_ETCC_EDGE_COMPLETE" in outcome.stdout


def test_without_a_shell_the_error_is_one_line() -> None:
    outcome = CliRunner().invoke(main, ["completion"])
    assert outcome.exit_code == 2
    assert outcome.stderr.count("\n") == 1
    assert "bash, zsh, fish" in outcome.stderr


def test_commands_and_options_are_completed() -> None:
    assert completed("etcc-edge che") == [("plain", "check")]
    assert ("plain", "--sum-by") in completed("etcc-edge infer flows.csv --s")


@pytest.mark.parametrize(
    "words",
    [
        *(f"{command} flo" for command in ("check", "infer", "meter", "evaluate", "train", "select-features", "watch")),
        *("adapt default flo", "infer first.csv flo", "infer --preview flo", "infer flows.csv -o flo"),
        *("infer flows.csv --sum-by host,5min --windows flo", "check flows.csv --groups flo", "sample -o flo"),
        *("evaluate flows.csv --report flo", "bench --compare old.json flo", "train --captures flo", "live -o flo"),
    ],
)
def test_files_are_completed(words: str) -> None:
    assert completed(f"etcc-edge {words}") == [("file", "flo")]


@pytest.mark.parametrize(
    "command",
    [
        *("info", "adapt"),
        *(f"{name} --bundle" for name in ("infer flows.csv", "evaluate", "live", "watch", "bench", "build-engines")),
    ],
)
def test_bundles_are_completed_by_name_or_as_files(command: str) -> None:
    assert completed(f"etcc-edge {command} n") == [("file", "n"), ("plain", "no-ports")]
    files, *names = completed(f"etcc-edge {command} ")
    assert files == ("file", "")
    assert {name for _, name in names} == BUNDLES


def test_bash_itself_completes_names(tmp_path: Path) -> None:
    """The order of files and names matters there."""
    script = """
    compopt() { :; }  # it is for the line that is typed
    source <(etcc-edge completion bash)
    COMP_WORDS=(etcc-edge info n) COMP_CWORD=2
    _etcc_edge_completion etcc-edge
    echo "${COMPREPLY[*]}"
    """
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("no-ports\n", "")
