"""What the start of a flows file says: its header's cells, in CSV or ARFF form."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from etcc_edge.errors import FlowsError

_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_RELATION = re.compile(rb"^\s*@(relation|attribute)\b", re.IGNORECASE | re.MULTILINE)
_ATTRIBUTE = re.compile(rb"""@attribute\s+(?:'([^']*)'|"([^"]*)"|(\S+))""", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    cells: tuple[str, ...]
    line: bytes  # as a CSV line without its end: what the labelled output starts with
    line_end: bytes
    end: int  # bytes of the file up to the first data row
    lines: int  # lines of the file up to there
    comment: str  # the character that starts a comment line among the rows, or none


def read_header(start: bytes, name: str, *, whole: bool = True) -> Header:
    """The header at the ``start`` of the file called ``name``, which is the ``whole`` of it or not.

    Raises FlowsError for an empty file, another encoding, an ARFF file without ``@data``, and a header that does not
    end within the start.
    """
    if start.startswith(_UTF16_BOMS):
        raise FlowsError(f"{name}: is UTF-16 text; save it as UTF-8")
    body = start.removeprefix(_BOM)
    if not body.strip():
        raise FlowsError(f"{name}: is empty; a flows file starts with a header line")
    at = len(start) - len(body)
    lines = 0
    arff = body.lstrip()[:1] in (b"@", b"%") and _RELATION.search(body) is not None
    names: list[str] = []
    while at < len(start):
        newline = start.find(b"\n", at)
        if newline < 0 and not whole:
            break
        end = len(start) if newline < 0 else newline
        raw = start[at:end]
        at = end + 1
        lines += 1
        line = raw.strip()
        line_end = b"\r\n" if raw.endswith(b"\r") else b"\n"
        if not line or (arff and line.startswith(b"%")):
            continue
        if not arff:
            bom = start[: len(start) - len(body)]
            return Header(
                _cells(line, f"{name}:{lines}"), bom + raw.rstrip(b"\r"), line_end, min(at, len(start)), lines, ""
            )
        if attribute := _ATTRIBUTE.match(line):
            names.append(next(group for group in attribute.groups() if group is not None).decode("utf-8", "replace"))
        elif line.lower().startswith(b"@data"):
            csv_line = ",".join(csv_cell(cell) for cell in names).encode()
            return Header(tuple(names), csv_line, line_end, min(at, len(start)), lines, "%")
        elif not line.lower().startswith(b"@relation"):
            raise FlowsError(f"{name}:{lines}: is no ARFF declaration; @relation, @attribute or @data is expected")
    if not whole:
        raise FlowsError(f"{name}:{lines + 1}: the header does not end within {len(start) >> 20} MiB")
    raise FlowsError(f"{name}: is an ARFF file without @data")


def _cells(line: bytes, where: str) -> tuple[str, ...]:
    if b"\0" in line:
        raise FlowsError(f"{where}: holds NUL bytes, so it is no text; unpack an archive such as tar first")
    try:
        return tuple(next(csv.reader([line.decode("utf-8", "replace")])))
    except csv.Error as error:
        raise FlowsError(f"{where}: is no line of text; a flows file starts with its header") from error


def csv_cell(text: str) -> str:
    """``text`` as one CSV cell, quoted where it must be."""
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def cell_number(cell: str) -> float:
    """The number in a cell; NaN where there is none."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")
