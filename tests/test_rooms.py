"""The map of rooms: who may import whom, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Folder to the package that it is installed as.
PACKAGES = {"etcc_edge": "etcc_edge", "engines": "etcc_edge.engines", "export": "etcc_edge.export"}
PACKAGES["bench"] = "etcc_edge.bench"

GROUND = {"native", "errors", "arrays", "version"}
# Room to the rooms that it may import. A room is the second part of a module's name; `face` is `etcc_edge` itself.
MAY_IMPORT: dict[str, set[str]] = {
    "native": set(),
    "errors": set(),
    "arrays": set(),
    "version": set(),
    "flows": GROUND,
    "meter": GROUND | {"flows"},
    "bundle": GROUND | {"flows"},
    "engines": GROUND | {"flows", "bundle"},
    "infer": GROUND | {"flows", "meter", "bundle", "engines"},
    "serve": GROUND | {"flows", "meter", "bundle", "engines", "infer"},
    "reports": GROUND,
    "evaluation": GROUND | {"flows", "meter", "bundle", "engines", "infer", "reports"},
    "checking": GROUND | {"flows", "meter", "bundle", "engines", "infer", "reports"},
    "export": GROUND | {"flows", "bundle", "engines", "evaluation"},
    "training": GROUND | {"flows", "bundle", "engines", "reports", "evaluation", "export"},
    "face": GROUND | {"flows", "meter", "bundle", "engines", "infer"},
}
MAY_IMPORT["bench"] = set(MAY_IMPORT) - {"face"}
MAY_IMPORT["cli"] = set(MAY_IMPORT) - {"face"}
MAY_IMPORT["command"] = {"cli"}  # python -m etcc_edge


def modules() -> dict[str, Path]:
    """Every module of the package by name. The scripts of the bench stand alone: they are what a user would write."""
    paths = {"etcc_edge._native": ROOT / "etcc_edge" / "_native.pyi"}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            if "scripts" not in inner:
                paths[".".join([package, *(part for part in inner if part != "__init__")])] = path
    return paths


MODULES = modules()
# A package's name in text is where its data lies, no import.
NAMED_IN_TEXT = {name for name, path in MODULES.items() if path.name != "__init__.py"}


def room_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 1:
        return "face"
    return {"_native": "native", "__main__": "command"}.get(parts[1], parts[1])


def nearest(name: str) -> str:
    """The module that a dotted name lies in."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def imports_of(module: str) -> Iterator[str]:
    """The modules that a module imports anywhere in its code, and those that it names in text, to import later."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (nearest(a.name) for a in node.names if a.name.split(".")[0] == "etcc_edge")
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                start = ".".join([*above, start] if start else above)
            if start.split(".")[0] == "etcc_edge":
                yield from (nearest(f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and node.value in NAMED_IN_TEXT:
            yield str(node.value)


IMPORTS = {module: set(imports_of(module)) - {module} for module in MODULES}


def test_every_room_has_its_line_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} == set(MAY_IMPORT)


def test_the_table_itself_has_no_circle() -> None:
    done: set[str] = set()
    while done != set(MAY_IMPORT):
        ready = {room for room, others in MAY_IMPORT.items() if others <= done} - done
        assert ready, f"a circle among {set(MAY_IMPORT) - done}"
        done |= ready


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_lies_below_its_room(module: str) -> None:
    room = room_of(module)
    upward = {other for other in IMPORTS[module] if room_of(other) not in {room, *MAY_IMPORT[room]}}
    assert not upward


def test_no_files_import_each_other_in_a_circle() -> None:
    done: set[str] = set()
    left = {module: IMPORTS[module] - {"etcc_edge"} for module in MODULES}
    while left:
        ready = {module for module, others in left.items() if others <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready
        left = {module: others for module, others in left.items() if module not in ready}


@pytest.mark.parametrize("folder", sorted(set(PACKAGES) - {"etcc_edge"}))
def test_neighbours_are_imported_relatively(folder: str) -> None:
    """So that the imports hold wherever the folder is installed, and tools that read the checkout can follow them."""
    for path in (ROOT / folder).rglob("*.py"):
        assert f"from {PACKAGES[folder]}" not in path.read_text(encoding="utf-8"), path
