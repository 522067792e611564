"""Which of a source's own columns its labelled file keeps."""

from __future__ import annotations

import csv
from typing import Any

from etcc_edge.errors import FlowsError
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.table import TableFlows
from etcc_edge.flows.text.reader import FlowFile

ALL, LABELS, KEY = "all", "labels", "key"


def kept_columns(file: ColumnFlows[Any], wanted: str) -> tuple[int, ...] | None:
    """The columns that ``wanted`` names, in order; None for `ALL` of a file, whose rows are kept as they are.

    `LABELS` keeps none, `KEY` those that identify a flow, in the file's order; anything else is a CSV line of header
    names. Raises FlowsError for a name that the file lacks, or that is given twice.
    """
    if wanted == ALL:
        return None if isinstance(file, (FlowFile, TableFlows)) else tuple(range(len(file.columns)))
    if wanted == LABELS:
        return ()
    if wanted == KEY:
        return file.key_columns()
    columns: list[int] = []
    for name in next(csv.reader([wanted], skipinitialspace=True), []):
        # Two names may differ in case alone, so the exact one comes first.
        exact = name.strip() in file.columns
        index = file.columns.index(name.strip()) if exact else file.column_index(name)
        if index in columns:
            raise FlowsError(f"{file.place}: column {file.columns[index]!r} is asked for twice")
        columns.append(index)
    if not columns:
        raise FlowsError(f"{file.place}: no column is named; take labels to keep none")
    return tuple(columns)
