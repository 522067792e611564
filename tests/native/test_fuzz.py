"""What reads the bytes of strangers, away from Python: rows, captures, frames, and the whole meter, given any bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("target", ["rows", "capture", "decoder", "meter"])]

CORPUS = Path(__file__).parent / "corpus"
PROGRAMS = "tests/native"  # in a build's folder
SECONDS = 2


def kept_inputs(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_no_sanitizer_complains_of_the_kept_inputs(target: str, sanitizer: str, request: pytest.FixtureRequest) -> None:
    program = request.getfixturevalue(f"{sanitizer}_build") / PROGRAMS / f"replay_{target}"
    command = ["setarch", "-R", program, *kept_inputs(target)]  # the thread sanitizer wants addresses in order
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arm_reads_the_kept_inputs_alike(target: str, arm_build: Path) -> None:
    subprocess.run(["qemu-aarch64", arm_build / PROGRAMS / f"replay_{target}", *kept_inputs(target)], check=True)


def test_no_bytes_break_what_the_target_requires(target: str, fuzzer_build: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    limits = [f"-max_total_time={SECONDS}", "-max_len=400", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    program = fuzzer_build / PROGRAMS / f"fuzz_{target}"
    done = subprocess.run([program, *limits, inputs, CORPUS / target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
