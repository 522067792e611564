"""Labelled flows as lines: JSON or CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from etcc_edge.flows.text.header import csv_cell

if TYPE_CHECKING:  # `live` reads this module before numpy may be loaded
    from etcc_edge.bundle import Bundle
    from etcc_edge.engines.result import Result

IDENTITY = (
    *("start", "duration_s", "src_ip", "src_port", "dst_ip", "dst_port", "ip_protocol", "community_id"),
    *("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes", "verdict"),
)
"""What says which flow a record is of, in order. ``community_id`` stands only beside full addresses, since it can be
turned into them by trying."""
PLACE = ("file", "line")
"""What says where a flow was read that came in a file."""
_TEXT = {"start", "src_ip", "dst_ip", "community_id", "verdict", "file"}  # in JSON, the others are numbers
CSV, JSON = "csv", "jsonl"
FORMATS = (JSON, CSV)
_DIGEST_DIGITS = 16


class RecordFormat:
    """Lines of records in one form. ``levels`` of the labels; ``address``: what becomes of an address, and whether the
    Community ID stays. ``place``: with the columns of `PLACE`.

    ``header``: the first line of a file. ``begin``: that of every file in this form, whatever its columns are."""

    def __init__(
        self,
        name: str,
        levels: Sequence[str],
        address: Callable[[str], str],
        *,
        community_id: bool,
        place: bool = False,
    ) -> None:
        self._is_json = name == JSON
        self._address = address
        self._bundle: Bundle | None = None  # of the last records
        self._ending = ""
        self.identity = tuple(column for column in IDENTITY if community_id or column != "community_id")
        self._labels = [f"etcc_{level}{suffix}" for level in levels for suffix in ("", "_confidence")]
        self._ends = [self.identity.index(end) for end in ("src_ip", "dst_ip")]
        own = (*self.identity, *(PLACE if place else ()))
        columns = [*own, *self._labels, "bundle", "bundle_hash"]
        self.header = b"" if self._is_json else (",".join(columns) + "\n").encode()
        self.begin = b'{"start":' if self._is_json else b"start,duration_s,src_ip,"
        self._columns = own
        self._template = self._template_for(())

    def _template_for(self, empty: Sequence[int]) -> str:
        """Of a line, with null in JSON for the columns that are ``empty``."""
        if not self._is_json:
            return "%s," * len(self._columns) + "%s\n"
        pairs = []
        for i, name in enumerate(self._columns):
            pairs.append(f'"{name}":' + ("null%s" if i in empty else '"%s"' if name in _TEXT else "%s"))
        return "{" + ",".join(pairs) + ",%s}\n"

    def text(self, value: str) -> str:
        """A cell that may hold any text of one line, as `lines` takes it."""
        return json.dumps(value)[1:-1] if self._is_json else csv_cell(value)

    def lines(self, cells: Sequence[Sequence[str]], bundle: Bundle, result: Result | None) -> bytes:
        """One line for each of n flows. ``cells``: the texts [n, identity], then those of `PLACE`; empty for what
        nobody knows. ``result``: their labels by ``bundle``; None where they were not labelled."""
        template, address, (source, destination) = self._template, self._address, self._ends
        tails = self._tails(len(cells), bundle, result)
        lines = []
        for flow, tail in zip(cells, tails, strict=True):
            row = list(flow)
            for end in (source, destination):
                row[end] = row[end] and address(row[end])
            own = self._template_for([i for i, cell in enumerate(row) if not cell]) if "" in row else template
            row.append(tail)
            lines.append(own % tuple(row))
        return "".join(lines).encode()

    def _tails(self, n: int, bundle: Bundle, result: Result | None) -> list[str]:
        """What follows a flow's identity."""
        quote: Callable[[str], str] = json.dumps if self._is_json else csv_cell
        ending = self._bundle_cells(bundle)
        columns: list[list[str]] = []
        for level, names in enumerate(bundle.vocabulary()):
            if result is None:
                columns.append([self._pair(level, "", "")] * n)
                continue
            texts = [quote(name) for name in names]
            columns.append(
                [
                    self._pair(level, texts[code], f"{sure:.4f}") if code >= 0 else self._pair(level, "", "")
                    for code, sure in zip(result.codes[level].tolist(), result.confidence[level].tolist(), strict=True)
                ]
            )
        return [",".join((*parts, ending)) for parts in zip(*columns, strict=True)]

    def _bundle_cells(self, bundle: Bundle) -> str:
        if bundle is not self._bundle:
            self._bundle, name, digest = bundle, bundle.name, bundle.digest()[:_DIGEST_DIGITS]
            self._ending = (
                f'"bundle":{json.dumps(name)},"bundle_hash":"{digest}"'
                if self._is_json
                else f"{csv_cell(name)},{digest}"
            )
        return self._ending

    def _pair(self, level: int, label: str, confidence: str) -> str:
        if not self._is_json:
            return f"{label},{confidence}"
        name, sure = self._labels[2 * level : 2 * level + 2]
        return f'"{name}":{label or "null"},"{sure}":{confidence or "null"}'
