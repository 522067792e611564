"""``etcc-edge doctor``"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

import etcc_edge._native as _native
from etcc_edge.bundle import load_bundle, shipped_bundles
from etcc_edge.cli.terminal import print_table
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cache_root import cache_root
from etcc_edge.engines.native import INSTRUCTION_SET
from etcc_edge.errors import EtccError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.version import __version__

BROKEN_STATUS = 3
OK, ABSENT, BROKEN = "ok", "absent", "broken"
_ROWS = 1000  # of random numbers, that both CPU backends label
_NEAR_TIES = 5  # of them, whose two best labels rounding may exchange
_FOR_DEVELOPERS = ("test", "test-all")


@dataclass(frozen=True)
class Finding:
    """``state``: `OK`; `ABSENT`, which costs a feature; or `BROKEN`, which must be mended. ``remedy`` says how."""

    what: str
    state: str
    detail: str
    remedy: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """What this machine has for etcc-edge, what it lacks, and what to do about it.

    Exit status 3: something is broken, not only absent.

    \b
    Example:
      etcc-edge doctor
    """
    findings = [*_package(), *_bundles(), *_labels(), *_backends(), *_extras(), *_cache()]
    broken = [finding.what for finding in findings if finding.state == BROKEN]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        rows = [[f.what, f.state, "; ".join(filter(None, (f.detail, f.remedy)))] for f in findings]
        print_table(["", "state", "what there is"], rows)
        click.echo(
            f"\nbroken: {', '.join(broken)}; mend what the table says of it"
            if broken
            else "\nlabelling works here and nothing is broken; what is absent is optional"
        )
    if broken:
        ctx.exit(BROKEN_STATUS)


def _package() -> Iterator[Finding]:
    yield Finding("etcc-edge", OK, f"{__version__}, Python {platform.python_version()}, {platform.machine()}")
    there, forced = _native.instruction_sets(), os.environ.get(INSTRUCTION_SET)
    if forced and forced not in there:
        detail = f"{INSTRUCTION_SET} forces {forced}, which this CPU lacks"
        yield Finding("instruction set", BROKEN, detail, f"unset it, or take one of {', '.join(there)}")
    else:
        yield Finding("instruction set", OK, f"{forced}, forced by {INSTRUCTION_SET}" if forced else there[0])


def _bundles() -> Iterator[Finding]:
    for name, path in shipped_bundles().items():
        try:
            load_bundle(path)
        except EtccError as error:
            yield Finding(f"bundle {name}", BROKEN, str(error), "install etcc-edge again")
        else:
            yield Finding(f"bundle {name}", OK, "every file is whole")


def _labels() -> Iterator[Finding]:
    """Both CPU backends on the same random numbers, which are no flows."""
    try:
        bundle = load_bundle("default")
        drawn = np.random.default_rng(0).lognormal(5, 4, (_ROWS, len(bundle.features))).astype(np.float32)
        labels = [Classifier(bundle, backend=name).predict(drawn).codes for name in ("native", "onnxruntime")]
    except EtccError as error:
        yield Finding("labels", BROKEN, str(error), "install etcc-edge again")
        return
    differing = int((labels[0] != labels[1]).any(axis=0).sum())
    if differing > _NEAR_TIES:
        detail = f"native and onnxruntime label {differing} of {_ROWS} rows of random numbers differently"
        yield Finding("labels", BROKEN, detail, "label with --backend onnxruntime, and report it")
    else:
        yield Finding(
            "labels", OK, f"native and onnxruntime agree on {_ROWS - differing} of {_ROWS} rows of random numbers"
        )


def _backends() -> Iterator[Finding]:
    for name, backend in BACKENDS.items():
        reason = backend.why_not()
        yield Finding(f"backend {name}", ABSENT if reason else OK, reason or backend.summary)


def _extras() -> Iterator[Finding]:
    for extra, packages in sorted(_packages_of_extras().items()):
        lacking = [package for package in packages if not _is_installed(package)]
        what = f"extra {extra}"
        if lacking:
            yield Finding(what, ABSENT, f"lacks {', '.join(lacking)}", f"pip install 'etcc-edge[{extra}]'")
        else:
            yield Finding(what, OK, ", ".join(packages))


def _packages_of_extras() -> dict[str, list[str]]:
    extras: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("etcc-edge") or []:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra and name and extra[1] not in _FOR_DEVELOPERS and name[0] != "etcc-edge":
            extras.setdefault(extra[1], []).append(name[0])
    return extras


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _cache() -> Iterator[Finding]:
    folder = cache_root()
    there: Path = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        yield Finding("cache", OK, str(folder))
    else:
        detail = f"{folder} cannot be written"
        yield Finding("cache", ABSENT, detail, "name another folder with ETCC_EDGE_CACHE; only engines need it")
