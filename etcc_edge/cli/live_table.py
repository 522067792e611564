"""What ``etcc-edge live`` shows on a terminal while records go elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from etcc_edge.serve.system import resident_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType

    from etcc_edge.serve.counters import LabelCounts
    from etcc_edge.serve.live import Live

_SECONDS = 1.0
_ROWS = 12


@contextlib.contextmanager
def live_table(live: Live, name: str) -> Iterator[Callable[[], None]]:
    """A table of counters and labels on standard error, where that is a terminal to which no records go. Call the
    yielded function often: it draws anew once a second. ``name``: the interface's."""
    if not sys.stderr.isatty() or (live.sink.place == "standard output" and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.live import Live as Screen

    began = last = time.monotonic()
    received = _received(live)
    with Screen(console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False) as screen:

        def draw() -> None:
            nonlocal last, received
            now = time.monotonic()
            if now - last < _SECONDS:
                return
            newest = _received(live)
            screen.update(_drawn(live, name, now - began, (newest - received) / (now - last)), refresh=True)
            last, received = now, newest

        yield draw


def _received(live: Live) -> int:
    return reduce(add, live.worker_counts()).ring.received


def _drawn(live: Live, name: str, seconds: float, packets_per_second: float) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    workers, counts = reduce(add, live.worker_counts()), live.counts
    with counts.lock:
        by_label = sorted(counts.labels.items(), key=lambda item: -item[1].flows)
        rows = [_row(names, label) for names, label in by_label[:_ROWS]]
        sentences = [
            f"{name}: {seconds:,.0f} s; {packets_per_second:,.0f} packets/s, {workers.ring.dropped:,} dropped; "
            f"{workers.open:,} flows open, {counts.ended:,} ended, {live.waiting:,} waiting, {counts.lost:,} lost; "
            f"{resident_bytes() / 1e6:.0f} MB"
        ]
    if live.sink.stalled:
        sentences.append(f"{live.sink.place}: {live.sink.stalled}")
    if len(by_label) > _ROWS:
        sentences.append(f"The {_ROWS} most frequent labels of {len(by_label)}:")
    table = Table()
    for i, head in enumerate([*live.classifier.bundle.levels, "flows", "packets", "payload, MB"]):
        table.add_column(head, justify="left" if i < len(live.classifier.bundle.levels) else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return Group(*map(Text, sentences), *([table] if rows else []))


def _row(names: tuple[str, ...], label: LabelCounts) -> list[str]:
    return [*(name or "–" for name in names), f"{label.flows:,}", f"{label.packets:,}", f"{label.bytes / 1e6:,.1f}"]
