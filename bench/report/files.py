"""A bench's report as files: JSON, CSV, Markdown and one HTML page, all of the same figures."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from etcc_edge.errors import EtccError
from etcc_edge.flows.text.writer import open_output
from etcc_edge.reports.pages import html_page, markdown_page

from ..figures import SCHEMA, Measurement, Report
from .page import page
from .plain import from_plain, plain


def as_json(report: Report) -> str:
    return json.dumps(plain(report), indent=1, allow_nan=False)


def as_csv(report: Report) -> str:
    """A line a measurement, with the accuracy of its contender; an interval is two columns."""
    rows = [{**_cells(row), **_contender_cells(report, row.key)} for row in report.measurements]
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cells(row: Measurement) -> dict[str, object]:
    cells: dict[str, object] = {}
    for name, value in plain(row).items():
        if isinstance(value, list):
            cells[f"{name}_low"], cells[f"{name}_high"] = value
        else:
            cells[name] = value
    return cells


def _contender_cells(report: Report, key: str) -> dict[str, object]:
    """Of a script, which is measured as a process alone, nothing."""
    contender = report.contenders.get(key)
    drift = contender.drift if contender else None
    return {
        "model_bytes": contender.model_bytes if contender else None,
        "accuracy": drift.accuracy if drift else None,
        "agreement": drift.agreement if drift else None,
        "change_points": drift.change_points if drift else None,
        "source": drift.source if drift else None,
    }


FORMATS: Mapping[str, Callable[[Report], str]] = {
    ".json": lambda report: as_json(report) + "\n",
    ".csv": as_csv,
    ".md": lambda report: markdown_page(page(report)),
    ".html": lambda report: html_page(page(report)),
}


def write(path: str | os.PathLike[str], report: Report) -> None:
    """In the format of the suffix, one of `FORMATS`. Raises FlowsError where it cannot be written."""
    with open_output(path) as out:
        out.write(FORMATS[Path(path).suffix](report).encode())


def read(path: str | os.PathLike[str]) -> Report:
    """A JSON report. Raises EtccError for another file or schema."""
    try:
        keys = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise EtccError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise EtccError(f"{path}: is no JSON report of etcc-edge bench ({error})") from error
    if not isinstance(keys, dict) or "measurements" not in keys:
        raise EtccError(f"{path}: is no JSON report of etcc-edge bench")
    if keys.get("schema") != SCHEMA:
        raise EtccError(f"{path}: has schema {keys.get('schema')!r}, and this etcc-edge compares schema {SCHEMA}")
    try:
        return from_plain(Report, keys)
    except ValueError as error:
        raise EtccError(f"{path}: is no whole report of etcc-edge bench: {error}") from error
