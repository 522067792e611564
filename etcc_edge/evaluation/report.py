"""Evaluations as files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from etcc_edge.evaluation.pages import html, markdown
from etcc_edge.evaluation.result import FileEvaluation, to_json
from etcc_edge.flows.text.writer import open_output

# What a report's suffix makes of evaluations.
FORMATS = {
    ".json": lambda evaluations: as_json(evaluations) + "\n",
    ".md": markdown,
    ".html": html,
}


def as_json(evaluations: Sequence[FileEvaluation]) -> str:
    """One evaluation as an object, several as a list; the keys are the fields of `evaluation.result`."""
    objects = [to_json(evaluation) for evaluation in evaluations]
    return json.dumps(objects[0] if len(objects) == 1 else objects, indent=1)


def write_report(path: str | os.PathLike[str], evaluations: Sequence[FileEvaluation]) -> None:
    """Writes evaluations of one file by different bundles, in the format of the suffix (one of `FORMATS`).

    Raises FlowsError where it cannot be written, KeyError for another suffix."""
    text = FORMATS[Path(path).suffix](evaluations)
    with open_output(path) as out:
        out.write(text.encode())
