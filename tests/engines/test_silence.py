"""An edge box is silent: nothing is looked up, sent, or written outside the files asked for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"
COMMANDS = {
    "infer, native": ["infer", str(GENERATED), "-o", "out.csv"],
    "infer, ONNX Runtime": ["infer", str(GENERATED), "-o", "out.csv", "--backend", "onnxruntime"],
    "evaluate": ["evaluate", str(GENERATED), "--backend", "onnxruntime"],
    "check": ["check", str(GENERATED)],
    "info": ["info"],
    "build-engines": ["build-engines", "--backend", "onnxruntime", "--flows", str(GENERATED)],
}
MAIN = "import sys; from etcc_edge.cli import main; main(sys.argv[1:], prog_name='etcc-edge')"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_leaves_nothing_at_home(command: str, home: Path, tmp_path: Path) -> None:
    run(command, [], home, tmp_path)
    assert list(home.rglob("*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_looks_nothing_up(command: str, home: Path, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("needs strace (apt install strace)")
    trace = tmp_path / "trace"
    run(command, [strace, "-f", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(trace)], home, tmp_path)
    calls = [line for line in trace.read_text().splitlines() if re.search(r"\b(connect|sendto|sendm?msg)\(", line)]
    assert calls == []


def run(command: str, before: list[str], home: Path, folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_", "ETCC_"))}
    arguments = [*before, sys.executable, "-c", MAIN, *COMMANDS[command]]
    done = subprocess.run(arguments, env={**environment, "HOME": str(home)}, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
