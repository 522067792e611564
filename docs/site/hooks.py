"""Puts the repository's Markdown, at its own paths, into the site, and checks that nothing comes from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import etcc_edge

ROOT = Path(__file__).parents[2]
PYTHON = "python.md"
_LINK = re.compile(r"\]\(([^)#:]+)[^)]*\)")
# What a browser fetches by itself; a link that a reader may follow is not among it.
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//[^\s"'>]+"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)[^>]*\bhref=["']?(?:https?:)?//[^\s"'>]+"""
    r"""|(?:url\(|@import)\s*["']?(?:https?:)?//[^\s"')]+""",
    re.IGNORECASE,
)


def _pages(nav: Any) -> Iterator[str]:
    """The paths that the navigation names."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(part)


def _reference() -> str:
    """The public names; mkdocstrings puts in their docstrings."""
    names = sorted(
        (name for name in etcc_edge.__all__ if not name.startswith("_")), key=lambda name: not name.islower()
    )
    return "# Python\n\n" + "\n".join(f"::: etcc_edge.{name}\n" for name in names)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of the navigation and the files that they link to, in place of what lies in the folder."""
    paths = {path for path in _pages(config.nav) if path != PYTHON}
    linked = {
        target.relative_to(ROOT).as_posix()
        for path in paths
        for link in _LINK.findall((ROOT / path).read_text(encoding="utf-8"))
        if (target := (ROOT / path).parent.joinpath(link).resolve()).is_file()
    }
    site = [File.generated(config, path, abs_src_path=str(ROOT / path)) for path in sorted(paths | linked)]
    site.append(File.generated(config, PYTHON, content=_reference()))
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *site])


def on_post_build(config: MkDocsConfig) -> None:
    """Raises PluginError where a page would load something from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css", ".svg") and (found := _FETCHED.search(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path}: loads from elsewhere: {found.group()}")
