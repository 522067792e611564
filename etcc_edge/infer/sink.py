"""Where labelled flows go: the sink for a file, by how its name ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from etcc_edge.bundle.model import Bundle
from etcc_edge.errors import EtccError
from etcc_edge.flows.binaries import ARROW_FORMS
from etcc_edge.flows.labels import check_label_columns, label_columns
from etcc_edge.flows.table import TableFlows
from etcc_edge.flows.text.writer import LabelWriter, open_output
from etcc_edge.infer.pipeline import Sink
from etcc_edge.infer.source import Opened


@contextmanager
def open_sink(
    output: str | os.PathLike[str], source: Opened, kept: Sequence[int] | None, bundle: Bundle, *, known: bool
) -> Iterator[tuple[Sink[Any], Sequence[int]]]:
    """A sink for the labels of ``source``, and the text columns that it wants. ``kept``: the source's own columns that
    come before the labels; None: all, as they are. What was written appears under its name when all is.

    Raises FlowsError, and EtccError where pyarrow is needed and not installed.
    """
    own = [source.columns[i] for i in (range(len(source.columns)) if kept is None else kept)]
    added = label_columns(bundle.levels, known=known)
    check_label_columns(added, own, source.name, "use --columns labels, or the original file")
    form = Path(output).suffix.lower()
    vocabulary = bundle.vocabulary()
    if form not in ARROW_FORMS and not isinstance(source, TableFlows):
        with open_output(output) as out:
            yield LabelWriter(out, source.header, bundle.levels, vocabulary, known=known, columns=kept), kept or ()
        return
    try:
        from etcc_edge.flows.arrow.labels import LabelColumns
        from etcc_edge.flows.arrow.sinks import arrow_sink
    except ImportError as error:
        raise EtccError(
            f"{os.fspath(output)}: Parquet and Arrow files need {error.name}: pip install 'etcc-edge[arrow]'"
        ) from error
    labels = LabelColumns(bundle.levels, vocabulary, known=known)
    with open_output(output) as out:
        sink = arrow_sink(out, form, source, kept, labels)
        yield sink, sink.texts
        sink.close()
