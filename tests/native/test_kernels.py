"""The kernels compiled apart: for an emulated ARM processor, and under sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import etcc_edge._native as _native
from etcc_edge.bundle.network import parse_network
from making import native_layers, random_weights

pytestmark = pytest.mark.slow

NETWORKS = (
    "conv 64 3, relu, max_pool 2, conv 40 3, relu, flatten, dense 70, relu, dense 5",
    "tent 8, conv 30 41, relu, flatten, dense 20, relu, dense 3",
    "tent 3, conv 7 2, max_pool 3, relu, flatten, dense 18",
)


@pytest.fixture
def neon(arm_build: Path) -> list[str]:
    return ["qemu-aarch64", str(arm_build / "tests/native/run_network")]


@pytest.fixture
def sanitized(address_build: Path) -> list[str]:
    return [str(address_build / "tests/native/run_network")]


def coarse(values: np.ndarray) -> np.ndarray:
    return (np.rint(values * 64) / 64).astype(np.float32)


def check(command: list[str], instruction_set: str, text: str, scaling: str, precision: str = "fp32") -> None:
    """The program's logits are this package's. Scaled inputs and weights are such that what is summed before the first
    8-bit codes is exact, so that all instruction sets make the same codes."""
    network = parse_network(text.split(", "))
    rng = np.random.default_rng(1)
    weights = {name: coarse(array) for name, array in random_weights(network, 41, rng).items()}
    layers = native_layers(network, weights)
    values = [(weights.get(f"{i}.weight"), weights.get(f"{i}.bias")) for i in range(len(network))]
    arguments = []
    for layer, (weight, bias) in zip(network, values, strict=True):
        sizes = [0 if array is None else array.size for array in (weight, bias)]
        arguments.append(":".join(map(str, [layer.op, layer.size, layer.width, *sizes])))
    floats = b"".join(array.tobytes() for layer in values for array in layer if array is not None)
    scaled = coarse(rng.random((70, 41)))
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


def test_callers_and_threads_do_not_race(thread_build: Path) -> None:
    program = thread_build / "tests/native/run_cascade"
    done = subprocess.run(["setarch", "-R", program], capture_output=True, text=True)  # it wants addresses in order
    assert done.returncode == 0, done.stderr


def test_no_kernel_file_shares_a_symbol_that_the_linker_could_merge(address_build: Path) -> None:
    """Of a weak symbol the linker keeps one copy, which may be the one compiled for a larger CPU."""
    nm = shutil.which("nm")
    if not nm:
        pytest.skip("needs nm (apt install binutils)")
    objects = sorted(address_build.rglob("*_kernels.cpp.o"))
    assert len({path.parent for path in objects}) >= 3
    done = subprocess.run([nm, "-C", "--defined-only", *objects], capture_output=True, text=True, check=True)
    kinds = [line.split(maxsplit=2) for line in done.stdout.splitlines() if len(line.split()) >= 3]
    assert any(kind == "T" for _, kind, _ in kinds)  # the entry of each file
    # A reference to the handler of exceptions, data alike everywhere, comes with the sanitizer.
    assert [name for _, kind, name in kinds if kind in "WVu" and not name.startswith("DW.ref.")] == []
