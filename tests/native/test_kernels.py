"""The kernels compiled apart: for an emulated ARM processor, and under sanitizers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import etcc_edge._native as _native
from etcc_edge.bundle.network import parameter_shapes, parse_network

pytestmark = pytest.mark.slow

NATIVE = Path(__file__).parents[2] / "etcc_edge" / "native"
SOURCES = ("cascade", "kernels", "maps", "network", "pool", "router", "scaler")
COMMON = ("network", "row", "scale")
AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma")
# A kernel file, a name to compile it under, and the flags for that. kernels.cpp refers to all of a processor family.
Compiled = tuple[str, str, tuple[str, ...]]
X86: tuple[Compiled, ...] = (
    *((part, "portable", ()) for part in COMMON),
    *((part, "avx2", AVX2) for part in COMMON),
    *((part, "avx512", AVX512) for part in COMMON),
    ("int8", "avx2", AVX2),
    ("int8", "avxvnni", (*AVX2, "-mavxvnni")),
    ("int8", "avx512", AVX512),
    ("int8", "avx512vnni", (*AVX512, "-mavx512vnni")),
)
ARM: tuple[Compiled, ...] = (
    *((part, to, ()) for part in COMMON for to in ("portable", "neon")),
    ("int8", "dotprod", ("-march=armv8.2-a+dotprod",)),
)
HERE = X86 if platform.machine() == "x86_64" else ARM
NETWORKS = (
    "conv 64 3, relu, max_pool 2, conv 40 3, relu, flatten, dense 70, relu, dense 5",
    "tent 8, conv 30 41, relu, flatten, dense 20, relu, dense 3",
    "tent 3, conv 7 2, max_pool 3, relu, flatten, dense 18",
)


def build(
    folder: Path, compiler: str, flags: list[str], kernels: tuple[Compiled, ...], program: str = "run_network"
) -> Path:
    """A program of this folder."""
    objects = []
    for part, name, own in kernels:
        objects.append(folder / f"{name}_{part}.o")
        source, contract = NATIVE / "kernels" / f"{part}_kernels.cpp", "fast" if part == "network" else "off"
        options = [
            "-std=c++20",
            f"-I{NATIVE}",
            "-Wno-psabi",
            f"-ffp-contract={contract}",
            f"-DETCC_ISA={name}",
            *flags,
            *own,
        ]
        subprocess.run([compiler, *options, "-c", source, "-o", objects[-1]], check=True)
    sources = [Path(__file__).parent / f"{program}.cpp", *(next(NATIVE.rglob(f"{name}.cpp")) for name in SOURCES)]
    command = [compiler, "-std=c++20", *flags, f"-I{NATIVE}", *sources, *objects, "-o", folder / program]
    subprocess.run(command, check=True)
    return folder / program


@pytest.fixture(scope="module")
def neon(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64 (apt install g++-aarch64-linux-gnu qemu-user)")
    folder = tmp_path_factory.mktemp("neon")
    return [emulator, str(build(folder, compiler, ["-O1", "-static"], ARM))]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("needs g++")
    flags = ["-O1", "-g0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan"]
    return [str(build(tmp_path_factory.mktemp("sanitized"), compiler, flags, HERE))]


def coarse(values: np.ndarray) -> np.ndarray:
    return (np.rint(values * 64) / 64).astype(np.float32)


def check(command: list[str], instruction_set: str, text: str, scaling: str, precision: str = "fp32") -> None:
    """The program's logits are this package's. Scaled inputs and weights are such that what is summed before the first
    8-bit codes is exact, so that all instruction sets make the same codes."""
    network = parse_network(text.split(", "))
    rng = np.random.default_rng(1)
    weights = {
        name: coarse(rng.normal(0, np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3, shape))
        for name, shape in parameter_shapes(network, 41).items()
    }
    none = np.zeros(0, np.float32)
    layers = [
        (
            layer.op,
            layer.size,
            layer.width,
            weights.get(f"{i}.weight", none).ravel(),
            weights.get(f"{i}.bias", none).ravel(),
        )
        for i, layer in enumerate(network)
    ]
    scaled = coarse(rng.random((70, 41)))
    arguments = [f"{op}:{size}:{width}:{weight.size}:{bias.size}" for op, size, width, weight, bias in layers]
    floats = b"".join([part.tobytes() for layer in layers for part in layer[3:]])  # type: ignore[union-attr]
    for flows in (1, 70):
        done = subprocess.run(
            [*command, instruction_set, "41", str(flows), scaling, precision, *arguments],
            input=floats + scaled[:flows].tobytes(),
            capture_output=True,
            check=True,
        )
        logits = np.frombuffer(done.stdout, np.float32).reshape(flows, -1)
        int8 = precision == "int8"
        expected = _native.Network(41, layers, "" if int8 else "portable", int8).run(scaled[:flows])
        np.testing.assert_allclose(logits, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("scaling", ["scaler", "scaled"])
@pytest.mark.parametrize("text", NETWORKS)
@pytest.mark.parametrize("instruction_set", ["neon", "portable"])
def test_arm_gives_the_same_logits(neon: list[str], instruction_set: str, text: str, scaling: str) -> None:
    check(neon, instruction_set, text, scaling)


@pytest.mark.skipif(not _native.has_int8(), reason="needs a CPU with int8 of its own to compare with")
def test_arm_gives_the_same_int8_logits(neon: list[str]) -> None:
    check(neon, "dotprod", NETWORKS[0], "scaled", "int8")


@pytest.mark.parametrize("scaling", ["scaler", "scaled"])
@pytest.mark.parametrize("text", NETWORKS)
@pytest.mark.parametrize("instruction_set", _native.instruction_sets())
def test_no_sanitizer_complains(sanitized: list[str], instruction_set: str, text: str, scaling: str) -> None:
    check(sanitized, instruction_set, text, scaling)


@pytest.mark.parametrize("instruction_set", [*filter(_native.has_int8, _native.instruction_sets())])
def test_no_sanitizer_complains_of_int8(sanitized: list[str], instruction_set: str) -> None:
    check(sanitized, instruction_set, NETWORKS[0], "scaled", "int8")


def test_callers_and_threads_do_not_race(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("needs g++")
    program = build(tmp_path, compiler, ["-O1", "-g0", "-fsanitize=thread", "-static-libtsan"], HERE, "run_cascade")
    done = subprocess.run(["setarch", "-R", program], capture_output=True, text=True)  # it wants addresses in order
    assert done.returncode == 0, done.stderr
