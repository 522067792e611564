"""Shortcuts: `nox` runs fast, lint and types; `nox -s NAME` any one of the sessions below.

Each session installs the project into an environment of its own. `nox -r` keeps the environments between runs.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["fast", "lint", "types"]

ROOT = Path(__file__).parent


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
