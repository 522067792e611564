"""The reader and the writer of rows compiled apart: under sanitizers, and given any bytes."""

from __future__ import annotations

import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
NATIVE = FOLDER.parents[1] / "etcc_edge" / "native"
CORPUS = FOLDER / "corpus" / "rows"
FLAGS = {
    "portable": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma"],
    "neon": [],
}
ARM = ("portable", "neon")
HERE = {"x86_64": ("portable", "avx2", "avx512")}.get(platform.machine(), ARM)
SECONDS = 2


def build(
    folder: Path, compiler: str, flags: list[str], link: list[str | Path], instruction_sets: tuple[str, ...] = HERE
) -> Path:
    """The fuzz target, linked with what calls it."""
    command = [compiler, "-std=c++20", "-O1", "-g0", f"-I{NATIVE}", *flags]
    units = {
        name: [NATIVE / "kernels" / "row_kernels.cpp", f"-DETCC_ISA={name}", "-Wno-psabi", *FLAGS[name]]
        for name in instruction_sets
    }
    units |= {name: [NATIVE / "rows" / f"{name}.cpp"] for name in ("number", "reader", "writer")}
    units["fuzz_rows"] = [FOLDER / "fuzz_rows.cpp"]

    def compiled(name: str) -> Path:
        target = folder / f"{name}.o"
        subprocess.run([*command, *units[name], "-c", "-o", target], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, units))
    subprocess.run([*command, *link, *objects, "-o", folder / "program"], check=True)
    return folder / "program"


@pytest.mark.parametrize(
    "flags",
    [
        ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan"],
        ["-fsanitize=thread", "-static-libtsan"],
    ],
    ids=["address and undefined", "thread"],
)
def test_no_sanitizer_complains_of_the_kept_inputs(tmp_path: Path, flags: list[str]) -> None:
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("needs g++")
    program = build(tmp_path, compiler, flags, [FOLDER / "replay.cpp"])
    command = ["setarch", "-R", program, *sorted(CORPUS.iterdir())]  # the thread sanitizer wants addresses in order
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arm_reads_the_kept_inputs_alike(tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64 (apt install g++-aarch64-linux-gnu qemu-user)")
    program = build(tmp_path, compiler, ["-static"], [FOLDER / "replay.cpp"], ARM)
    subprocess.run([emulator, program, *sorted(CORPUS.iterdir())], check=True)


def test_any_bytes_are_rows_of_which_all_instruction_sets_say_the_same(tmp_path: Path) -> None:
    compiler = shutil.which("clang++")
    if not compiler:
        pytest.skip("needs clang++ with libFuzzer (apt install clang)")
    flags = ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all"]
    program = build(tmp_path, compiler, flags, ["-fsanitize=fuzzer"])
    found = tmp_path / "found"
    found.mkdir()
    limits = [f"-max_total_time={SECONDS}", "-max_len=400", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([program, *limits, found, CORPUS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
