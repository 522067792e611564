"""The site that is made of the pages: every link leads somewhere, every page is in it, nothing comes from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import etcc_edge

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", SITE / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", SITE / "mkdocs.yml", "-d", folder / "site"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_it_is_built_with_every_link_leading_somewhere_and_a_search(site: Path) -> None:
    assert "adds two labels to every flow" in (site / "index.html").read_text()
    assert "cicflowmeter" in (site / "search" / "search_index.json").read_text().casefold()


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "python" / "index.html").read_text()
    for name in etcc_edge.__all__:
        assert name.startswith("_") or f'id="etcc_edge.{name}"' in page
    assert "Labels of raw features" in page


def test_every_page_is_in_the_navigation() -> None:
    navigation = (SITE / "mkdocs.yml").read_text()
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        path = page.relative_to(ROOT).as_posix()
        assert path == "docs/README.md" or re.search(rf": {re.escape(path)}$", navigation, re.MULTILINE), path


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.example/x.js">',
        "<link rel=stylesheet href=//fonts.example/css>",
        '<img alt="" src="http://example.org/a.png">',
        "@import 'https://example.org/a.css'",
        "a{background:url(https://example.org/a.png)}",
    ],
)
def test_what_would_come_from_elsewhere_ends_the_build(text: str, hooks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(text)
    config = type("Config", (), {"site_dir": str(tmp_path)})
    with pytest.raises(hooks.PluginError, match="loads from elsewhere"):
        hooks.on_post_build(config)


def test_a_link_that_a_reader_follows_does_not(hooks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<a href="https://example.org/">x</a><img src="a.png">')
    hooks.on_post_build(type("Config", (), {"site_dir": str(tmp_path)}))


def test_a_link_to_no_heading_ends_the_build(tmp_path: Path) -> None:
    shutil.copytree(SITE, tmp_path / "docs" / "site")
    config = tmp_path / "docs" / "site" / "mkdocs.yml"
    before, after = re.split(r"(?m)^nav:\n(?: .*\n)+", config.read_text())
    config.write_text(f"{before}nav: [README.md]\n{after}")
    (tmp_path / "README.md").write_text("# A\n\n[b](#b)\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "'#b'" in done.stderr
