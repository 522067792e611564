"""What a person types and sees: numbers, progress, tables and notes. In a pipe, no progress."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class NumberRange(click.FloatRange):
    """A float option within bounds; NaN, which click lets through, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


def note(text: str) -> None:
    """One line on standard error."""
    click.echo(text, err=True)


@contextlib.contextmanager
def byte_progress(label: str, *, hidden: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal, from the first call of the yielded function with the position and the size, if that
    is known."""
    progress = _bar(hidden)
    task = progress.add_task(label, total=None)

    def show(position: int, size: int | None) -> None:
        progress.start()
        progress.update(task, completed=position, total=size)

    try:
        yield show
    finally:
        progress.stop()


@contextlib.contextmanager
def step_progress() -> Iterator[Callable[[str, float, float], None]]:
    """A bar on a terminal; the yielded function takes what is done from now on, and how much of how much is done."""
    progress = _bar(False)
    task = progress.add_task("", total=None)
    with progress:
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


def _bar(hidden: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal)


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line that changes, on a terminal; the yielded function takes its text."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as line:
        yield lambda text: line.update(Text(text))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table on standard output: lines on a terminal, plain aligned columns in a pipe."""
    console = Console()
    if not console.is_terminal:
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            cells = [
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            click.echo("  ".join(cells).rstrip())
        return
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
