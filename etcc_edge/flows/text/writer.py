"""Labelled flows out: the input's bytes, or the chosen columns of it, then the label columns."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

import etcc_edge._native as _native
from etcc_edge.arrays import F32, I8, I32, U8
from etcc_edge.errors import FlowsError
from etcc_edge.flows.labels import label_columns
from etcc_edge.flows.stream import STDIN
from etcc_edge.flows.text.header import Header, csv_cell
from etcc_edge.flows.text.reader import TextBatch

STDOUT = STDIN


class LabelWriter:
    """Writes a header and then labelled batches. Each row is the input's bytes and the label cells; with ``columns``,
    the cells of these columns instead, which the batches then hold as text columns. With ``known`` each batch says
    which of its flows are known.

    Raises FlowsError where the input has a label column already.
    """

    def __init__(
        self,
        out: BinaryIO,
        header: Header,
        levels: tuple[str, ...],
        vocabulary: tuple[tuple[str, ...], ...],
        *,
        known: bool = False,
        columns: Sequence[int] | None = None,
    ) -> None:
        added = label_columns(levels, known=known)
        own = header.cells if columns is None else [header.cells[i] for i in columns]
        self._out = out
        self._names = [[csv_cell(name) for name in names] for names in vocabulary]
        self._width = len(header.cells)
        self._chosen = None if columns is None else len(columns)
        self._known = known
        self._line_end = header.line_end
        own_cells = [header.line] if columns is None else [csv_cell(cell).encode() for cell in own]
        out.write(b",".join([*own_cells, *(name.encode() for name in added)]) + self._line_end)

    def format(self, batch: TextBatch, codes: I32, confidence: F32, known: I8 | None = None) -> U8:
        """The bytes of a batch's lines, with its label codes and confidences, both [levels, n], and whether its flows
        are known, [n]: 1 or 0; -1: empty cells. Several threads may call it at once. Of a batch
        with more text columns than the header the first are written. Raises ValueError where ``known`` is missing or
        too much for the header, or the batch has fewer text columns."""
        if (known is not None) != self._known:
            raise ValueError("whether flows are known is written for all batches or for none")
        if self._chosen is not None and batch.texts.shape[1] < self._chosen:
            raise ValueError("the batch was read with fewer text columns than those to be written")
        return _native.format_rows(
            batch.block,
            batch.spans,
            batch.cells,
            np.ascontiguousarray(codes),
            np.ascontiguousarray(confidence),
            np.zeros(0, np.int8) if known is None else np.ascontiguousarray(known),
            batch.texts if self._chosen is None else np.ascontiguousarray(batch.texts[:, : self._chosen]),
            self._names,
            self._width,
            self._chosen is None,
            self._line_end.decode(),
        )

    def write(self, lines: U8) -> None:
        """Lines from `format`, in the order of the flows."""
        self._out.write(lines.data)

    def flush(self) -> None:
        """Sends on what was written."""
        self._out.flush()


@contextlib.contextmanager
def open_output(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream to ``path`` (``-``: standard output; ``.gz``: compressed).

    A regular file appears under its name only when everything was written; on failure nothing of it stays.
    Raises FlowsError where it cannot be written; BrokenPipeError passes.
    """
    target = Path(path)
    try:
        if os.fspath(path) == STDOUT:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if not _may_be_replaced(target):
            with target.open("wb") as stream:
                yield stream
            return
        target = Path(os.path.realpath(target))
        handle, partial = _open_partial(target)
        try:
            with os.fdopen(handle, "wb") as raw:
                if target.suffix == ".gz":
                    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6) as packed:
                        yield cast(BinaryIO, packed)
                else:
                    yield raw
                raw.flush()
                if not partial.exists():
                    # Only with a folder's descriptor does Python follow the link in /proc to the file itself.
                    os.link(f"/proc/self/fd/{raw.fileno()}", partial, src_dir_fd=raw.fileno(), follow_symlinks=True)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        place = "standard output" if os.fspath(path) == STDOUT else f"{path}"
        raise FlowsError(f"{place}: cannot be written: {error.strerror or error}") from error


def _may_be_replaced(target: Path) -> bool:
    """False for a device, a pipe or a folder. Raises OSError for links in a circle."""
    try:
        return stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return True


def _open_partial(target: Path) -> tuple[int, Path]:
    """A file to write, and the name that it has or can be given, beside the target.

    Where the file system can, it has no name while it is written: whatever ends the process, nothing stays.
    """
    partial = target.with_name(f".{target.name}.{os.urandom(8).hex()}.partial")
    with contextlib.suppress(OSError, AttributeError):
        return os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), partial
    return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), partial
