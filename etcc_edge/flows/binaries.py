"""What a file is that is no text, by its first bytes, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterable

_METER = "turn it into flows with etcc-edge meter"
_SAVE = "save it as CSV"
_TABLE = "name the file itself, unpacked"
_UNPACK = "unpack it first"

_BINARIES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd4\xc3\xb2\xa1", "a pcap capture", _METER),
    (b"\xa1\xb2\xc3\xd4", "a pcap capture", _METER),
    (b"\x4d\x3c\xb2\xa1", "a pcap capture", _METER),
    (b"\xa1\xb2\x3c\x4d", "a pcap capture", _METER),
    (b"\x0a\x0d\x0d\x0a", "a pcapng capture", _METER),
    (b"PAR1", "a Parquet file", _TABLE),
    (b"ARROW1", "an Arrow file", _TABLE),
    (b"FEA1", "a Feather file", _SAVE),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _SAVE),
    (b"\x93NUMPY", "a NumPy array", _SAVE),
    (b"SQLite format 3\0", "an SQLite database", _SAVE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", _SAVE),
    (b"\x28\xb5\x2f\xfd", "zstd data inside an archive", _UNPACK),
    (b"BZh", "bzip2 data", _UNPACK + ", with bunzip2"),
    (b"\xfd7zXZ\0", "xz data", _UNPACK + ", with unxz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x1f\x8b", "gzip data inside an archive", _UNPACK),
    (b"PK\x03\x04", "a zip archive inside an archive", _UNPACK),
    (b"%PDF-", "a PDF file", "flows are CSV, ARFF, Parquet or captures"),
    (b"\x7fELF", "a program (ELF)", "flows are CSV, ARFF, Parquet or captures"),
    (b"\x89PNG\r\n", "a PNG image", "flows are CSV, ARFF, Parquet or captures"),
)
SIGNATURE_BYTES = max(len(signature) for signature, _, _ in _BINARIES)


ARROW_FORMS = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
"""How the names of files with Arrow columns end; the first two are Parquet. All other names are CSV's."""


def name_binary(first: bytes) -> str:
    """What a file with these first bytes is, and what to do with it, as a clause; empty for text, and for what is not
    known. Its packing, gzip or zip, is taken off already."""
    return _clause(first, _BINARIES)


def is_capture(first: bytes) -> bool:
    """Whether a file with these first bytes is a pcap or pcapng capture."""
    return any(first.startswith(signature) for signature, _, remedy in _BINARIES if remedy == _METER)


def is_table(first: bytes) -> bool:
    """Whether a file with these first bytes is a Parquet or an Arrow IPC file."""
    return any(first.startswith(signature) for signature, _, remedy in _BINARIES if remedy == _TABLE)


def name_foreign(first: bytes) -> str:
    """The same as `name_binary`, where captures and tables are welcome too."""
    return "" if is_capture(first) or is_table(first) else name_binary(first)


def name_packed(first: bytes) -> str:
    """The same for packings alone: of what is to be a capture."""
    return _clause(first, [row for row in _BINARIES if row[2].startswith(_UNPACK)])


def _clause(first: bytes, binaries: Iterable[tuple[bytes, str, str]]) -> str:
    clauses = (f"is {kind}; {remedy}" for signature, kind, remedy in binaries if first.startswith(signature))
    return next(clauses, "")
