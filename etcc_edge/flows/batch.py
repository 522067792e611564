"""Flows as columns, and what gives them: a source of any kind, such as a text file or a meter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np

from etcc_edge.arrays import F32, U8, Bools

OK, SHORT, LONG, NOT_A_NUMBER, STRAY_QUOTE, CONTRADICTION = range(6)
"""What became of a row, as native/rows/reader.hpp defines it; only `OK` ones are labelled."""


def has_enough_values(features: F32) -> Bools:
    """bool [n]: at least half of a flow's features [n, f], and one at least, have a value.

    With fewer, a label would rest on what stands in for the others, the training flows' medians.
    """
    missing = np.einsum("ij->i", np.isnan(features).astype(np.int32))  # faster than count_nonzero by row
    enough: Bools = (2 * missing <= features.shape[1]) & (missing < features.shape[1])
    return enough


@dataclass(frozen=True)
class Batch:
    """Consecutive flows, n of them. Row i of every array is flow i.

    ``names``: the f canonical features. ``features``: float32 [n, f] in canonical units; NaN for no value: an empty
    cell, NaN, an infinity, or what exceeds float32. ``status``: uint8 [n], `OK` or why the row could not be read.

    A source's own batch may hold more, such as the bytes that its rows had: that is for its own sink, and nothing else
    looks at it.
    """

    names: tuple[str, ...]
    features: F32
    status: U8 = field(repr=False)

    def __len__(self) -> int:
        return len(self.features)

    def text(self, column: int) -> list[str]:
        """The cells [n] of the given asked-for text column. Raises IndexError where none was asked for."""
        raise IndexError(f"the batch has no text column {column}")

    @property
    def early(self) -> Bools | None:
        """bool [n]: an early look at a flow that comes again when it has ended. None where there are no such looks."""
        return None

    @cached_property
    def readable(self) -> Bools:
        readable: Bools = self.status == OK
        return readable

    @cached_property
    def valued(self) -> Bools:
        """bool [n]: the row could be read and has enough values; the others get no label."""
        return self.readable & has_enough_values(self.features)

    @property
    def has_too_few_values(self) -> Bools:
        """bool [n]: the row could be read and is not labelled all the same."""
        return self.readable & ~self.valued


@dataclass
class ReadCounts:
    """What a source met so far; every data row is in ``rows``, whatever became of it."""

    rows: int = 0
    short: int = 0
    long: int = 0
    not_a_number: int = 0
    stray_quote: int = 0
    contradictory: int = 0
    with_missing_values: int = 0
    blank_lines: int = 0
    repeated_headers: int = 0

    @property
    def unlabelled(self) -> int:
        return self.short + self.long + self.not_a_number + self.stray_quote + self.contradictory


class Counts(Protocol):
    """What a source met so far; every flow is in ``rows``, whatever became of it."""

    @property
    def rows(self) -> int: ...

    @property
    def unlabelled(self) -> int:
        """Rows that could not be read."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)
BatchT_co = TypeVar("BatchT_co", bound=Batch, covariant=True)


class Source(Protocol[BatchT_co]):
    """Flows to be read once, in order. ``name`` is for messages; so is ``place``, which says where the columns are
    named. ``form`` names how they are written, ``meter`` the program that cut packets into flows."""

    name: str

    @property
    def place(self) -> str: ...

    @property
    def form(self) -> str: ...

    @property
    def meter(self) -> str: ...

    @property
    def counts(self) -> Counts: ...

    @property
    def size(self) -> int | None:
        """Bytes to read in all, or None where that is not known."""
        ...

    def position(self) -> int:
        """Bytes that were read so far."""
        ...

    def lack(self, names: Sequence[str]) -> str:
        """One clause that names the features that it cannot give, with reasons; empty where it has them all."""
        ...

    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], BatchT_co] | None]:
        """A call for each batch of these features and text columns, which may have no rows; None where the input
        pauses, so that what came before should go on its way. The calls may be made in any order, in several threads at
        once.

        They, or the iterator, raise FlowsError for what cannot be read, and with ``strict`` for the first row that
        would get no label.
        """
        ...
