"""Flows in named columns: what the names of the columns say, whatever holds them, be it a text file or a table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import BatchT_co, ReadCounts
from etcc_edge.flows.contradictions import likely_cause
from etcc_edge.flows.dialect import Reading, ReadSample, recognise
from etcc_edge.flows.features import features, header_key
from etcc_edge.flows.identity import IDENTIFIERS
from etcc_edge.flows.relations import BROKEN_SHARE, Relation, relations_of

EXAMPLES = 100
"""Of rows that contradict themselves, to guess why."""
_LACK_NAMED = 4  # absent features that a message names
_CELLS_NAMED = 4  # first columns that a message names
_ENDS = ("src_port", "dst_port", "ip_protocol")

FlowsT = TypeVar("FlowsT", bound="ColumnFlows[Any]")


def occurrences(cells: Sequence[str]) -> tuple[str, ...]:
    """Names made unique the way pandas does it: a second ``Label`` is ``Label.1``."""
    seen: dict[str, int] = {}
    unique = []
    for cell in cells:
        cell = cell.strip()
        count = seen.get(cell, 0)
        seen[cell] = count + 1
        unique.append(f"{cell}.{count}" if count else cell)
    return tuple(unique)


class ColumnFlows(ABC, Generic[BatchT_co]):
    """A source of flows whose columns have names that are understood; `batches` reads its rows, once.

    ``cells``: the names of the columns as they are written. ``columns``: the same made unique (`occurrences`).
    ``reading``: which of them hold which features.
    """

    cells: tuple[str, ...]
    columns: tuple[str, ...]
    reading: Reading

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = ReadCounts()
        self._broken: Counter[Relation] = Counter()

    def _recognise(
        self, cells: Sequence[str], read_sample: ReadSample, *, hint: str = "", reading: Reading | None = None
    ) -> None:
        """Sets what the names and the sampled values say, or the ``reading`` that is known. Raises FlowsError for names
        that no dialect knows."""
        self.cells, self.columns = tuple(cells), occurrences(cells)
        reading = reading or recognise(self.cells, read_sample)
        if reading is None:
            first = ", ".join(repr(cell.strip()[:30]) for cell in self.cells[:_CELLS_NAMED]) or "with nothing"
            raise FlowsError(
                f"{self.place}: is not the header of a known meter (it starts {first}{hint}); {self._expected}"
            )
        self.reading = reading

    _expected = "the columns of CICFlowMeter, its Python port or ISCXFlowMeter are expected"

    def __enter__(self: FlowsT) -> FlowsT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the columns are named, for messages."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes to read in all, or None where that is not known."""

    @abstractmethod
    def position(self) -> int:
        """Bytes that were read so far."""

    @abstractmethod
    def unparsed_batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[Callable[[], BatchT_co] | None]:
        """What `batches` gives, a call for each batch, which may have no rows, and None where the input pauses. The
        calls may be made in any order, in several threads at once, and raise what `batches` raises."""

    @abstractmethod
    def _contradictory(self) -> list[Mapping[str, str]]:
        """Some rows that contradict themselves or hold text for numbers, as the cells of their features by name."""

    def batches(
        self, features: Sequence[str], texts: Sequence[int] = (), *, strict: bool = False
    ) -> Iterator[BatchT_co]:
        """The flows with these features, in this order, and these text columns.

        Raises FlowsError for a feature that is absent, what cannot be read, or, with ``strict``, the first row that
        will not be labelled.
        """
        for parse in self.unparsed_batches(features, texts, strict=strict):
            if parse is not None and len(batch := parse()):
                yield batch

    @property
    def form(self) -> str:
        """The dialect's name."""
        return self.reading.dialect.name

    @property
    def meter(self) -> str:
        return self.reading.dialect.meter

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Those that every row is checked for."""
        return relations_of(self.reading.columns.keys() - self.reading.repeated.keys())

    def contradiction(self) -> str:
        """Why the flows as a whole are not what they seem; empty where at most `BROKEN_SHARE` of the rows read so far
        break a relation."""
        counts = self.counts
        whole = counts.rows - counts.unlabelled + counts.contradictory
        if counts.contradictory <= BROKEN_SHARE * whole:
            return ""
        units = (self.reading.time_unit, self.reading.gap_unit)
        broken = ", ".join(f"{relation.text} in {count}" for relation, count in self._broken.most_common(3))
        return (
            f"{counts.contradictory} of {whole} rows contradict themselves (broken first: {broken}): probably "
            f"{likely_cause(self._contradictory(), counts.contradictory / whole, units)}"
        )

    @property
    def identifiers(self) -> dict[str, int]:
        """The column of each of `identity.IDENTIFIERS` that there is, the first of several."""
        keys = [header_key(column) for column in self.columns]
        places = {name: [i for i, key in enumerate(keys) if key in known] for name, known in IDENTIFIERS.items()}
        return {name: columns[0] for name, columns in places.items() if columns}

    def key_columns(self) -> tuple[int, ...]:
        """The columns that identify a flow, in order."""
        ends = [self.reading.columns[name] for name in _ENDS if name in self.reading.columns]
        return tuple(sorted({*self.identifiers.values(), *ends}))

    def missing_features(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self.reading.columns]

    def lack(self, names: Sequence[str]) -> str:
        """One clause that names the absent features, the first few with the nearest column or the reason.

        Raises FlowsError where two columns could be one of the features.
        """
        for name in names:
            if places := self.reading.repeated.get(name):
                columns = " and ".join(f"{self.cells[i].strip()!r} (column {i + 1})" for i in places)
                raise FlowsError(f"{self.place}: {columns} could both be {name}; remove or rename one of them")
        missing = self.missing_features(names)
        clauses = []
        for name in missing[:_LACK_NAMED]:
            reason = self.reading.dialect.unusable.get(features()[name].family) if name in features() else None
            near = self._nearest(self.reading.dialect.columns.get(name, (name,))[0])
            clauses.append(name + (f" ({reason})" if reason else f" (nearest column: {near!r})" if near else ""))
        if more := missing[_LACK_NAMED:]:
            clauses.append(f"and {len(more)} more of {len(names)} features")
        return ", ".join(clauses)

    def _check_has(self, names: Sequence[str]) -> None:
        """Raises FlowsError for features that are absent."""
        if lack := self.lack(names):
            raise FlowsError(f"{self.place}: lacks {lack}")

    def column_index(self, name: str) -> int:
        """Index of a column by name; the second of two equal names is NAME.1. Raises FlowsError."""
        keys = [header_key(column) for column in self.columns]
        if header_key(name) in keys:
            return keys.index(header_key(name))
        near = self._nearest(name)
        hint = f"; the nearest is {near!r}" if near else ""
        raise FlowsError(f"{self.place}: has no column {name!r}{hint}")

    def _nearest(self, name: str) -> str:
        import difflib

        keys = {header_key(column): column for column in self.columns}
        near = difflib.get_close_matches(header_key(name), keys, n=1)
        return keys[near[0]] if near else ""
