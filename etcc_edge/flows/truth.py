"""Labelled flows as arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etcc_edge.arrays import F32, I64, U64, Bools, Text
from etcc_edge.errors import FlowsError
from etcc_edge.flows.features import FLOW_ID_KEYS, Dialect, header_key, preset
from etcc_edge.flows.identity import row_hashes
from etcc_edge.flows.labels import label_key, spell
from etcc_edge.flows.text.reader import OK, FlowFile


@dataclass(frozen=True)
class LabelledFlows:
    """n flows with their truth. ``features``: float32 [n, f], NaN for no value; the rest is [n].

    ``protocol`` and ``application`` hold label spellings; ``flow_id`` and ``group`` are empty where the file
    has none. ``hashes``: uint64 `row_hash`. ``ignored`` rows could not be read or had no label.
    """

    name: str
    dialect: Dialect
    feature_names: tuple[str, ...]
    features: F32
    protocol: Text
    application: Text
    flow_id: Text
    group: Text
    hashes: U64
    ignored: int

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: I64) -> LabelledFlows:
        """The flows of these row numbers; ``ignored`` stays that of the file."""
        arrays = ("features", "protocol", "application", "flow_id", "group", "hashes")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})


def conversation(flow_id: str) -> str:
    """A CICFlowMeter Flow ID (source, destination, both ports, IP protocol) without its direction, so that the
    two halves of one exchange are one group. Any other text is itself."""
    parts = flow_id.split("-")
    if len(parts) != 5:
        return flow_id
    ends = sorted([(parts[0], parts[2]), (parts[1], parts[3])])
    return "-".join([*ends[0], *ends[1], parts[4]])


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

    ``groups``: a text file with a group's name for each data row, line by line. ``to_split`` ignores flows without
    any value, and flows with text in any feature of the file: then the same flows are left whatever
    ``features``, and a split parts them alike. Raises FlowsError for missing columns or features, for a file without
    labels, and for a group file of another length.
    """
    with FlowFile(path) as file:
        dialect = file.reading.dialect
        names = preset(features, list(file.reading.columns)) if isinstance(features, str) else list(features)
        if not names:
            raise FlowsError(f"{file.name}: has none of the features of preset {features!r}")
        texts = [
            _label_column(file, "--protocol-column", protocol_column, dialect.protocol_label),
            _label_column(file, "--application-column", application_column, dialect.application_label),
        ]
        if texts[0] == texts[1]:
            raise FlowsError(f"{file.name}: both labels are said to be in one column; name two different ones")
        flow_id = [i for i, name in enumerate(file.columns) if header_key(name) in FLOW_ID_KEYS and i not in texts][:1]
        parts: list[F32] = []
        cells: list[list[str]] = [[], [], []]
        hashes: list[U64] = []
        readable: list[Bools] = []
        read = list(dict.fromkeys([*names, *file.reading.columns])) if to_split else names
        for batch in file.batches(read, texts + flow_id):
            parts.append(batch.features[:, : len(names)])
            readable.append(batch.status == OK)
            if to_split:
                readable[-1] &= ~np.isnan(batch.features).all(axis=1)
            hashes.append(row_hashes(batch.row_bytes()))
            for i, column in enumerate(cells):
                column += batch.text(i) if i < len(texts + flow_id) else [""] * len(batch)
    if not parts:
        raise FlowsError(f"{path}: holds a header but no flows")
    group = _read_groups(groups, sum(map(len, parts))) if groups is not None else [""] * len(cells[0])
    protocol, application = (_spelled(column) for column in cells[:2])
    keep = np.concatenate(readable) & (protocol != "") & (application != "")
    if not keep.any():
        raise FlowsError(f"{path}: no readable row has both labels")
    return LabelledFlows(
        name="/".join(Path(path).absolute().parts[-2:]),
        dialect=dialect,
        feature_names=tuple(names),
        features=np.concatenate(parts)[keep],
        protocol=protocol[keep],
        application=application[keep],
        flow_id=np.array(cells[2], np.str_)[keep],
        group=np.array(group, np.str_)[keep],
        hashes=np.concatenate(hashes)[keep],
        ignored=int((~keep).sum()),
    )


def _label_column(file: FlowFile, option: str, given: str | None, usual: str) -> int:
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
