"""A table of text, whatever shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """``columns``: group (or "") and name of each. ``shade``: 0 to 1 of each cell, where cells are shaded."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[list[str]]
    shade: list[list[float]] | None = None

    @property
    def head(self) -> list[str]:
        """Column names in one line."""
        return [f"{group} {name}".strip() for group, name in self.columns]
