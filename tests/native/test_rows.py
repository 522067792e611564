"""The reader and the writer of rows away from Python: under sanitizers, and given any bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parent / "corpus" / "rows"
PROGRAMS = "tests/native"  # in a build's folder
SECONDS = 2


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_no_sanitizer_complains_of_the_kept_inputs(sanitizer: str, request: pytest.FixtureRequest) -> None:
    program = request.getfixturevalue(f"{sanitizer}_build") / PROGRAMS / "replay_rows"
    command = ["setarch", "-R", program, *sorted(CORPUS.iterdir())]  # the thread sanitizer wants addresses in order
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arm_reads_the_kept_inputs_alike(arm_build: Path) -> None:
    subprocess.run(["qemu-aarch64", arm_build / PROGRAMS / "replay_rows", *sorted(CORPUS.iterdir())], check=True)


def test_any_bytes_are_rows_of_which_all_instruction_sets_say_the_same(fuzzer_build: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    limits = [f"-max_total_time={SECONDS}", "-max_len=400", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    program = fuzzer_build / PROGRAMS / "fuzz_rows"
    done = subprocess.run([program, *limits, inputs, CORPUS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
