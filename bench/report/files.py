"""A bench's report as files: JSON, CSV, Markdown and one HTML page, all of the same figures."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from etcc_edge.errors import EtccError
from etcc_edge.flows.text.writer import open_output
from etcc_edge.reports.pages import html_page, markdown_page

from ..run import SCHEMA
from .tables import columns_of, page

Report = dict[str, Any]


def as_json(report: Report) -> str:
    return json.dumps(report, indent=1, allow_nan=False)


def as_csv(report: Report) -> str:
    """A line a measurement, with the accuracy of its contender; an interval is two columns."""
    rows = []
    for row in report["measurements"]:
        entry = report["contenders"].get(f"{row['contender']} {row['precision']}", {})
        drift = entry.get("drift") or {}
        flat = {
            name: part
            for key, value in row.items()
            for name, part in (
                [(f"{key}_low", value[0]), (f"{key}_high", value[1])] if isinstance(value, list) else [(key, value)]
            )
        }
        more = {"model_bytes": entry.get("model_bytes")}
        more |= {key: drift.get(key) for key in ("accuracy", "agreement", "change_points", "source")}
        rows.append({**flat, **more})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise EtccError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise EtccError(f"{path}: is no JSON report of etcc-edge bench ({error})") from error
    if not isinstance(report, dict) or "measurements" not in report:
        raise EtccError(f"{path}: is no JSON report of etcc-edge bench")
    if report.get("schema") != SCHEMA:
        raise EtccError(f"{path}: has schema {report.get('schema')!r}, and this etcc-edge compares schema {SCHEMA}")
    return report
