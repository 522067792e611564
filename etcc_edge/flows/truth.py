"""Labelled flows as arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I32, I64, U64, Bools, Text
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import Batch
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.dialect import scaled
from etcc_edge.flows.features import Dialect, preset
from etcc_edge.flows.identity import IDENTITY_FEATURES, feature_hashes, flow_hashes, flow_ids, microseconds
from etcc_edge.flows.labels import label_key, spell
from etcc_edge.flows.names import short_name
from etcc_edge.flows.open import open_flows
from etcc_edge.flows.services import ServiceRule, services_told_by
from etcc_edge.flows.sessions import sessions
from etcc_edge.flows.text.header import cell_number

_BY_FLOW = ("features", "protocol", "application", "flow_id", "capture", "start", "session", "service", "identity")


@dataclass(frozen=True)
class LabelledFlows:
    """n flows with their truth. ``features``: float32 [n, f], NaN for no value; the rest is [n].

    ``protocol`` and ``application`` hold label spellings; ``flow_id``, ``capture`` and ``session`` (`sessions`) are
    empty where nothing gives them, ``service`` where a flow is none of the table's or the file has not the `ENDS`.
    ``start``: int64 [n], µs since 1970, -1 where that is not known. ``identity``: uint64 [n], `flow_hashes`; None where
    the file has neither addresses nor Flow IDs. ``ignored`` rows could not be read or had no label.
    ``profile``: by which captures were cut into these flows, where this package's meter did.
    """

    name: str
    dialect: Dialect
    feature_names: tuple[str, ...]
    features: F32
    protocol: Text
    application: Text
    flow_id: Text
    capture: Text
    start: I64
    session: Text
    service: Text
    identity: U64 | None
    ignored: int
    profile: str = ""

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: I64) -> LabelledFlows:
        """The flows of these row numbers; ``ignored`` stays that of the file."""
        return replace(self, **{name: array[rows] for name in _BY_FLOW if (array := getattr(self, name)) is not None})

    def hashes(self) -> U64:
        """uint64 [n]: each flow's identity, or, without identifiers, the hash of its features."""
        return feature_hashes(self.features) if self.identity is None else self.identity


def read_labelled(
    path: str | os.PathLike[str],
    features: str | Sequence[str] = "paper",
    *,
    protocol_column: str | None = None,
    application_column: str | None = None,
    groups: str | os.PathLike[str] | None = None,
    to_split: bool = False,
) -> LabelledFlows:
    """Reads a labelled flows file: a preset's or the named features, and both label columns.

    ``groups``: a text file with the name of the capture that each data row comes from, line by line; captures make
    `sessions`. ``to_split`` ignores flows without any value, and flows with text in any feature of the file: then
    the same flows are left whatever ``features``, and a split parts them alike. Raises FlowsError for missing columns
    or features, for a file without labels or whose numbers contradict each other, and for ``groups`` of another length.
    """
    with open_flows(path) as file:
        dialect = file.reading.dialect
        names = _feature_names(file, features)
        texts = [
            _label_column(file, "--protocol-column", protocol_column, dialect.protocol_label),
            _label_column(file, "--application-column", application_column, dialect.application_label),
        ]
        if texts[0] == texts[1]:
            raise FlowsError(f"{file.name}: both labels are said to be in one column; name two different ones")
        rows = _read_rows(file, names, texts, to_split=to_split)
    if not len(rows.features):
        raise FlowsError(f"{path}: holds a header but no flows")
    captures = _read_groups(groups, len(rows.features)) if groups is not None else [""] * len(rows.features)
    protocol, application = (_spelled(column) for column in rows.texts)
    keep = rows.readable & (protocol != "") & (application != "")
    if not keep.any():
        raise FlowsError(f"{path}: no readable row has both labels")
    capture = np.array(captures, np.str_)
    return LabelledFlows(
        name=short_name(path),
        dialect=dialect,
        feature_names=tuple(names),
        features=rows.features[keep],
        protocol=protocol[keep],
        application=application[keep],
        flow_id=rows.flow_id[keep],
        capture=capture[keep],
        start=rows.start[keep],
        session=sessions(capture[keep], rows.flow_id[keep], rows.start[keep]),
        service=rows.service[keep],
        identity=None if rows.hashes is None else rows.hashes[keep],
        ignored=int((~keep).sum()),
    )


def read_labelled_as(
    source: ColumnFlows[Any],
    protocol: str,
    application: str,
    capture: str,
    features: str | Sequence[str] = "paper",
    *,
    profile: str = "",
    to_split: bool = False,
) -> LabelledFlows:
    """Reads a source whose flows, all from one ``capture``, have one label of each level: a preset's or the named
    features, else as `read_labelled`. Raises FlowsError for missing features, and where no flow can be read."""
    names = _feature_names(source, features)
    rows = _read_rows(source, names, to_split=to_split)
    keep = rows.readable
    n = int(keep.sum())
    if not n:
        raise FlowsError(f"{source.name}: holds no flow of two packets or more")
    of_capture = np.full(n, capture)
    return LabelledFlows(
        name=capture,
        dialect=source.reading.dialect,
        feature_names=tuple(names),
        features=rows.features[keep],
        protocol=_spelled([protocol] * n),
        application=_spelled([application] * n),
        flow_id=rows.flow_id[keep],
        capture=of_capture,
        start=rows.start[keep],
        session=of_capture,
        service=rows.service[keep],
        identity=None if rows.hashes is None else rows.hashes[keep],
        ignored=int((~keep).sum()),
        profile=profile,
    )


def _feature_names(source: ColumnFlows[Any], features: str | Sequence[str]) -> list[str]:
    names = preset(features, list(source.reading.columns)) if isinstance(features, str) else list(features)
    if not names:
        raise FlowsError(f"{source.name}: has none of the features of preset {features!r}")
    return names


@dataclass(frozen=True)
class _Rows:
    """All n rows of a source. ``features``: float32 [n, f]. ``texts``: of each asked-for column its cells [n]. The rest
    is [n]."""

    features: F32
    readable: Bools
    texts: list[list[str]]
    flow_id: Text
    start: I64
    service: Text
    hashes: U64 | None


def _read_rows(
    source: ColumnFlows[Any], names: Sequence[str], texts: Sequence[int] = (), *, to_split: bool = False
) -> _Rows:
    """Raises FlowsError, also where the source's numbers contradict each other."""
    read = list(dict.fromkeys([*names, *(source.reading.columns if to_split else ())]))
    identity = _Identity(source, read, texts)
    parts = [np.empty((0, len(names)), np.float32)]
    readable: list[Bools] = [np.empty(0, bool)]
    cells: list[list[str]] = [[] for _ in texts]
    for batch in source.batches(read, [*texts, *identity.texts]):
        parts.append(batch.features[:, : len(names)])
        readable.append(batch.valued if to_split else batch.readable)
        for i, column in enumerate(cells):
            column += batch.text(i)
        identity.add(batch)
    if contradiction := source.contradiction():
        raise FlowsError(f"{source.name}: {contradiction}")
    return _Rows(
        features=np.concatenate(parts),
        readable=np.concatenate(readable),
        texts=cells,
        flow_id=np.array(identity.flow_id, np.str_),
        start=identity.start(),
        service=identity.service(),
        hashes=identity.hashes(),
    )


def read_labelled_files(
    paths: Sequence[str | os.PathLike[str]],
    features: str | Sequence[str] = "paper",
    *,
    protocol_column: str | None = None,
    application_column: str | None = None,
    groups: Sequence[str | os.PathLike[str]] = (),
    to_split: bool = False,
) -> LabelledFlows:
    """`read_labelled` of each file, joined. Of a preset, the features that all files have; the n-th of ``groups``
    belongs to the n-th file. Raises FlowsError as `read_labelled` does, and for files of different meters."""
    names: str | Sequence[str] = features
    if len(paths) > 1 and isinstance(features, str):
        available = []
        for path in paths:
            with open_flows(path) as file:
                available.append(file.reading.columns)
        names = [name for name in preset(features, list(available[0])) if all(name in columns for columns in available)]
    return joined(
        [
            read_labelled(
                path,
                names,
                protocol_column=protocol_column,
                application_column=application_column,
                groups=own,
                to_split=to_split,
            )
            for path, own in zip_longest(paths, groups)
        ]
    )


def joined(parts: Sequence[LabelledFlows]) -> LabelledFlows:
    """The flows of several files with the same features, as one. Their sessions are found among all of them: captures
    of one name are one. Where some files have captures, each of the others counts as one; where some have identities,
    feature hashes stand for those of the others. Raises FlowsError for files of different meters."""
    first, *others = parts
    for other in others:
        if other.dialect.meter != first.dialect.meter:
            raise FlowsError(
                f"{first.name} holds {first.dialect.meter} flows and {other.name} {other.dialect.meter}'s; "
                "train on each apart"
            )
    if not others:
        return first
    some = any((part.capture != "").any() for part in parts)
    columns = {name: [getattr(part, name) for part in parts] for name in _BY_FLOW}
    if some:
        columns["capture"] = [np.where(part.capture == "", part.name, part.capture) for part in parts]
    if any(part.identity is not None for part in parts):
        columns["identity"] = [part.hashes() for part in parts]
    else:
        del columns["identity"]
    whole: dict[str, Any] = {name: np.concatenate(arrays) for name, arrays in columns.items()}
    whole |= {name: _spelled(whole[name].tolist()) for name in ("protocol", "application")}
    whole["session"] = sessions(whole["capture"], whole["flow_id"], whole["start"])
    name = " + ".join(part.name for part in parts)
    return replace(first, name=name, ignored=sum(part.ignored for part in parts), **whole)


def read_features(source: str | os.PathLike[str] | ColumnFlows[Any], features: Sequence[str]) -> tuple[F32, U64 | None]:
    """The readable flows of a file, or of an open source: float32 [n, f] of the named features, and `flow_hashes` [n].
    Raises FlowsError."""
    if not isinstance(source, ColumnFlows):
        with open_flows(source) as file:
            return read_features(file, features)
    rows = _read_rows(source, features)
    return rows.features[rows.readable], None if rows.hashes is None else rows.hashes[rows.readable]


class _Identity:
    """The identities of a source's flows, batch by batch. ``texts``: the text columns that `add` needs, to be asked for
    after those in ``before``.

    Features that are not read anyway are read as text, since a cell that is no number must not cost a row its place
    where the feature serves as a part of its identity alone.
    """

    def __init__(self, source: ColumnFlows[Any], read: Sequence[str], before: Sequence[int]) -> None:
        columns = source.reading.columns
        self._first = len(before)
        self._identifiers = {name: i for name, i in source.identifiers.items() if i not in before}
        self._numbers = {name: list(read).index(name) for name in IDENTITY_FEATURES if name in read}
        as_text = [name for name in IDENTITY_FEATURES if name in columns and name not in read]
        self._factors = {name: source.reading.factors[name] for name in as_text}
        self.texts = [*self._identifiers.values(), *(columns[name] for name in as_text)]
        self._hashes: list[U64] | None = []
        self.flow_id: list[str] = []  # empty texts where the file has none, nor addresses and ports
        self._time: list[str] = []
        self._rule = ServiceRule(services_told_by(columns), IDENTITY_FEATURES)
        self._service: list[I32] = []

    def add(self, batch: Batch) -> None:
        """Takes a batch."""
        texts = [batch.text(self._first + i) for i in range(len(self.texts))]
        identifiers = dict(zip(self._identifiers, texts, strict=False))
        values = np.full((len(batch), len(IDENTITY_FEATURES)), np.nan, np.float32)
        for i, name in enumerate(IDENTITY_FEATURES):
            if name in self._numbers:
                values[:, i] = batch.features[:, self._numbers[name]]
        with np.errstate(over="ignore"):
            for (name, factor), cells in zip(self._factors.items(), texts[len(identifiers) :], strict=True):
                numbers = np.array([cell_number(cell) for cell in cells])
                values[:, IDENTITY_FEATURES.index(name)] = scaled(numbers, factor)
        self._service.append(self._rule.codes(values))
        hashes = flow_hashes(identifiers, values)
        self._hashes = None if hashes is None or self._hashes is None else [*self._hashes, hashes]
        self.flow_id += identifiers.get("flow_id") or flow_ids(identifiers, values)
        self._time += identifiers.get("time", [""] * len(batch))

    def service(self) -> Text:
        """[n]: the names of the flows' services, empty for none."""
        names = np.array([*(service.name for service in self._rule.services), ""], np.str_)
        of_flow: Text = names[np.concatenate([np.empty(0, np.int32), *self._service])]
        return of_flow

    def start(self) -> I64:
        """int64 [n]: µs since 1970, -1 for a time that is not known."""
        times = (microseconds(text) for text in self._time)
        return np.array([-1 if time is None else time for time in times], np.int64)

    def hashes(self) -> U64 | None:
        """uint64 [n], of all batches; None where the flows have neither addresses nor Flow IDs."""
        return None if self._hashes is None else np.concatenate([np.empty(0, np.uint64), *self._hashes])


def _label_column(file: ColumnFlows[Any], option: str, given: str | None, usual: str) -> int:
    if not (given or usual):
        raise FlowsError(
            f"{file.name}: name the label column with {option}; a {file.reading.dialect.name} file has no usual one"
        )
    return file.column_index(given or usual)


def _spelled(labels: list[str]) -> Text:
    spelling = spell(labels)
    return np.array([spelling[label_key(label)] for label in labels], np.str_)


def _read_groups(path: str | os.PathLike[str], rows: int) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FlowsError(f"{path}: cannot be read: {error}") from error
    if len(lines) != rows:
        raise FlowsError(f"{path}: has {len(lines)} lines for {rows} flows; it needs one group's name a data row")
    return lines
