"""Builds of the core and of this folder's programs, by CMake: each configuration once in a run of the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Build = Callable[..., Path]


def tool(name: str) -> str | None:
    """A program of this Python's environment or on the path."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds ``target`` by CMake with ``options``, and gives the build's folder. ``name`` stands for the options."""
    cmake = tool("cmake")
    if not cmake or not (tool("ninja") or tool("make")):
        pytest.skip("needs cmake and ninja or make (pip install cmake ninja)")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers

    def build(name: str, *options: str, target: str = "all") -> Path:
        folder = shared / f"build-{name}"
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if (ninja := tool("ninja")) else []
        fixed = ["-DETCC_PYTHON=OFF", "-DETCC_TESTS=ON", "-DCMAKE_CXX_FLAGS=-O1"]
        cores = str(len(os.sched_getaffinity(0)))
        with (shared / f"build-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
            for command in (
                [cmake, "-S", ROOT, "-B", folder, *generator, *fixed, *options],
                [cmake, "--build", folder, "--target", target, "--parallel", cores],
            ):
                done = subprocess.run(command, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr
        return folder

    return build


@pytest.fixture(scope="session")
def address_build(build: Build) -> Path:
    """Under the sanitizers of addresses and of undefined behaviour."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    return build("address", "-DCMAKE_CXX_COMPILER=g++", "-DETCC_SANITIZE=address,undefined")


@pytest.fixture(scope="session")
def thread_build(build: Build) -> Path:
    """Under the sanitizer of threads."""
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    return build("thread", "-DCMAKE_CXX_COMPILER=g++", "-DETCC_SANITIZE=thread")


@pytest.fixture(scope="session")
def arm_build(build: Build) -> Path:
    """For an emulated 64-bit ARM processor."""
    if not shutil.which("aarch64-linux-gnu-g++") or not shutil.which("qemu-aarch64"):
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64 (apt install g++-aarch64-linux-gnu qemu-user)")
    return build("arm", f"-DCMAKE_TOOLCHAIN_FILE={Path(__file__).parent / 'aarch64.cmake'}")


@pytest.fixture(scope="session")
def fuzzer_build(build: Build) -> Path:
    """Of the fuzz targets alone, for Clang's libFuzzer and sanitizers."""
    if not shutil.which("clang++"):
        pytest.skip("needs clang++ with libFuzzer (apt install clang)")
    sanitize = "-DETCC_SANITIZE=fuzzer-no-link,address,undefined"
    return build("fuzzer", "-DCMAKE_CXX_COMPILER=clang++", sanitize, target="fuzzers")
