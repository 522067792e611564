"""Why rows have no labels, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etcc_edge.flows.batch import CONTRADICTION, LONG, NOT_A_NUMBER, SHORT, STRAY_QUOTE, Batch, ReadCounts

if TYPE_CHECKING:
    from etcc_edge.flows.columns import ColumnFlows

REASONS = {
    "short": "had too few cells",
    "long": "had too many cells",
    "not_a_number": "held text where a number is needed",
    "stray_quote": "had a quote that does not close, or text after it",
    "contradictory": "held numbers that contradict each other",
    "too_few_values": "had values in less than half of the needed columns",
}
_DOUBTFUL_SHARE = 0.5
_STATUSES = {
    SHORT: "short",
    LONG: "long",
    NOT_A_NUMBER: "not_a_number",
    STRAY_QUOTE: "stray_quote",
    CONTRADICTION: "contradictory",
}


def reasons_of(counts: ReadCounts, too_few_values: int) -> dict[str, int]:
    """Rows without labels by one of `REASONS`, of what a source met and how many of its rows had too few values."""
    met = {**vars(counts), "too_few_values": too_few_values}
    return {reason: met[reason] for reason in REASONS if met[reason]}


def reasons_in(batch: Batch, rows: int) -> dict[str, int]:
    """The same of the first rows of a batch."""
    status = batch.status[:rows]
    met = {name: int((status == number).sum()) for number, name in _STATUSES.items()}
    met["too_few_values"] = int(batch.has_too_few_values[:rows].sum())
    return {reason: n for reason, n in met.items() if n}


def in_words(rows: int, reasons: Mapping[str, int]) -> str:
    """How many of so many rows have no label and why, the most frequent reason first, in one clause."""
    often = sorted(reasons.items(), key=lambda pair: -pair[1])
    parts = ", ".join(f"{n} {REASONS[reason]}" for reason, n in often)
    return f"{sum(reasons.values())} of {rows} rows have no labels: {parts}"


def why_none(rows: int, reasons: Mapping[str, int]) -> str:
    """`in_words` where no row has a label; empty where one has, and where there are no rows."""
    return in_words(rows, reasons) if rows and sum(reasons.values()) >= rows else ""


def doubt(flows: ColumnFlows[Any], too_few_values: int) -> str:
    """What a source's user should be warned of when all is read, in words: its numbers contradict each other, or more
    than `_DOUBTFUL_SHARE` of its rows have no labels for other reasons. Empty elsewhere."""
    contradiction = flows.contradiction()
    reasons = reasons_of(flows.counts, too_few_values)
    others = sum(n for reason, n in reasons.items() if not (contradiction and reason == "contradictory"))
    parts = [f"{contradiction}; these rows have no labels"] if contradiction else []
    if others > _DOUBTFUL_SHARE * flows.counts.rows:
        parts.append(in_words(flows.counts.rows, reasons))
    return "; ".join(parts)
