"""A table of text, whatever shows it."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_NUMBER = 40  # characters, interval included


@dataclass(frozen=True)
class Table:
    """``columns``: group (or "") and name of each. ``shade``: 0 to 1 of each cell, where cells are shaded."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[list[str]]
    shade: list[list[float]] | None = None

    def is_prose(self, column: int) -> bool:
        """Whether some cell of a column holds words, not a number with its unit or interval."""
        return any(cell[:1].isalpha() or len(cell) > _LONGEST_NUMBER for cell in (row[column] for row in self.rows))

    @property
    def head(self) -> list[str]:
        """Column names in one line."""
        return [f"{group} {name}".strip() for group, name in self.columns]
