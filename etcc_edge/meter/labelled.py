"""Captures with their labels: a table of one row a capture."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etcc_edge.errors import FlowsError
from etcc_edge.flows.features import header_key
from etcc_edge.flows.labels import label_key
from etcc_edge.flows.names import short_name
from etcc_edge.flows.truth import LabelledFlows, joined, read_labelled_as
from etcc_edge.meter.source import CaptureSource

_COLUMNS = ("capture", "protocol", "application")


@dataclass(frozen=True)
class _Row:
    name: str  # as in the table
    path: Path
    protocol: str
    application: str


class CaptureTable:
    """A CSV file with the columns capture, protocol and application. Captures are named relative to its folder; all
    flows of one have its labels.

    Raises FlowsError for a table that cannot be read or has other columns, a row without a label, and a capture that is
    missing or named twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.rows: list[_Row] = []
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                self._read(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FlowsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if not self.rows:
            raise FlowsError(f"{path}: names no capture")

    def _read(self, lines: Any) -> None:
        header = [header_key(cell) for cell in next(lines, [])]
        if sorted(header) != sorted(_COLUMNS):
            raise FlowsError(
                f"{self.path}:1: has the columns {', '.join(header) or 'of an empty file'}; a table of captures has "
                f"{', '.join(_COLUMNS)}"
            )
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            place = f"{self.path}:{lines.line_num}"
            if len(cells) != len(header):
                raise FlowsError(f"{place}: has {len(cells)} cells where the header has {len(header)}")
            row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            for level in ("protocol", "application"):
                if not label_key(row[level]):
                    raise FlowsError(
                        f"{place}: {row['capture']} has no {level}; every capture needs one. Where it is not known, "
                        "write a name of your own, such as Other"
                    )
            capture = self.path.parent / row["capture"]
            if not capture.is_file():
                raise FlowsError(f"{place}: there is no capture {capture}")
            if any(capture.samefile(other.path) for other in self.rows):
                raise FlowsError(f"{place}: {row['capture']} is named twice")
            self.rows.append(_Row(row["capture"], capture, row["protocol"], row["application"]))

    def open(self, profile: str | None = None, timeout: float | None = None) -> CaptureSource:
        """The first capture, to see what flows there are. Raises FlowsError."""
        return CaptureSource(self.rows[0].path, profile, timeout=timeout)

    def read(
        self,
        profile: str,
        timeout: float,
        features: str | Sequence[str] = "paper",
        *,
        to_split: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> tuple[LabelledFlows, list[str]]:
        """The flows of all captures, cut by this profile and timeout in seconds, as `read_labelled` gives those of a
        file; and a line on each damaged capture, whose flows count up to there. ``tell`` gets what is being read.

        Raises FlowsError for features that there are not, and for a capture that cannot be read or holds no flow."""
        parts, notes = [], []
        for row in self.rows:
            tell(f"reading {row.path}")
            with CaptureSource(row.path, profile, timeout=timeout) as source:
                parts.append(
                    read_labelled_as(
                        source, row.protocol, row.application, row.name, features, profile=profile, to_split=to_split
                    )
                )
                if source.problem:
                    notes.append(f"{row.path}: {source.problem}; its flows up to there count")
        return replace(joined(parts), name=short_name(self.path)), notes

    def sha256(self) -> str:
        """Over the table's bytes and those of its captures, in order."""
        digest = hashlib.sha256()
        for path in (self.path, *(row.path for row in self.rows)):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()
