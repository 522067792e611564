"""Evaluations as files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from etcc_edge.evaluation.pages import html, markdown
from etcc_edge.flows.text.writer import open_output

# What a report's suffix makes of evaluations.
FORMATS = {
    ".json": lambda evaluations: as_json(evaluations) + "\n",
    ".md": markdown,
    ".html": html,
}


def as_json(evaluations: list[dict[str, Any]]) -> str:
    """One evaluation as an object, several as a list; keys as in `evaluation.evaluate_file`."""
    return json.dumps(evaluations[0] if len(evaluations) == 1 else evaluations, indent=1)


def write_report(path: str | os.PathLike[str], evaluations: list[dict[str, Any]]) -> None:
    """Writes evaluations of one file by different bundles, in the format of the suffix (one of `FORMATS`).

    Raises FlowsError where it cannot be written, KeyError for another suffix."""
    text = FORMATS[Path(path).suffix](evaluations)
    with open_output(path) as out:
        out.write(text.encode())
