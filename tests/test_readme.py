"""The README and the pages say what is so: their commands parse, their code runs, what they point at exists."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from etcc_edge.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "NOTICE.md", "SECURITY.md", "bench/README.md"))]
PAGES += sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(text_of(page)) if name == language]


def commands(page: Path) -> list[list[str]]:
    """The arguments of each `etcc-edge` in the page's blocks; what stands in [brackets] is optional, and kept."""
    arguments = []
    for line in "".join(blocks(page, "")).splitlines():
        for part in re.split(r"&&|\|", line):
            words = shlex.split(re.sub(r"[\[\]]", "", part), comments=True)
            at = next((i for i, word in enumerate(words) if word.rpartition("/")[2] == "etcc-edge"), None)
            if at is not None:
                arguments.append(words[at + 1 :])
    return arguments


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(pattern: str) -> list[str]:
    """What all pages name in code, by pattern."""
    return sorted({name for page in PAGES for name in re.findall(pattern, text_of(page))})


def test_the_readme_is_short() -> None:
    assert len(text_of(README).split()) <= 1600


@pytest.mark.parametrize(
    "arguments", [pytest.param(words, id=" ".join(words)) for page in PAGES for words in commands(page)]
)
def test_a_command_has_only_options_that_exist(arguments: list[str]) -> None:
    command = main.get_command(click.Context(main), arguments[0])
    assert command is not None
    command.make_context(arguments[0], arguments[1:])


def test_both_kinds_of_page_have_commands() -> None:
    assert len(commands(README)) > 5
    assert len(commands(ROOT / "docs" / "use.md")) > 5


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "use.md"], ids=lambda page: page.name)
def test_its_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks(page, "python")
    exec(compile(code, page.name, "exec"), {})
    assert "VPN" in capsys.readouterr().out


@pytest.mark.parametrize("module", named(r"python -m (etcc_edge[\w.]*)") + named(r"from (etcc_edge[\w.]*) import"))
def test_a_module_that_is_named_exists(module: str) -> None:
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("path", named(r"`((?:etcc_edge|engines|export|bench|tests|docs)/[\w./-]*\w/?)`"))
def test_a_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists() or "NAME" in path


@pytest.mark.parametrize("test", named(r"`(test_\w+)`"))
def test_a_test_that_is_named_exists(test: str) -> None:
    assert any(f"def {test}(" in path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("extra", named(r"pip install '\.\[([\w-]+)\]'"))
def test_an_extra_that_is_named_exists(extra: str) -> None:
    assert f"\n{extra} = [" in text_of(ROOT / "pyproject.toml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", BLOCK.sub("", text_of(page))):
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def script_of_docs(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_chart_of_soaks_shows_what_they_recorded() -> None:
    script = script_of_docs("soak_chart")
    assert script.chart() == text_of(script.CHART)


def test_the_chart_shows_the_benchs_figures() -> None:
    script = script_of_docs("speed_chart")
    assert script.chart(json.loads(text_of(script.REPORT))) == text_of(script.CHART)
