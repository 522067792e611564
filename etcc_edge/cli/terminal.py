"""What a person types and sees: numbers, names, progress, tables and notes. In a pipe, no progress, and no import of
rich."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from etcc_edge.flows.binaries import ARROW_FORMS
from etcc_edge.flows.names import one_line
from etcc_edge.flows.stream import STDIN

if TYPE_CHECKING:
    from rich.progress import Progress

    from etcc_edge.meter.source import After


class NumberRange(click.FloatRange):
    """A float option within bounds; NaN, which click lets through, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


FILE = click.Path(readable=False)
"""The type of what names files: a path, a pattern, a URI or ``-``. A shell completes paths; nothing is checked."""


def complete_bundles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ``shell_complete`` of what names a bundle: the shipped ones, and paths."""
    from etcc_edge.bundle import shipped_bundles

    names = [CompletionItem(name) for name in shipped_bundles() if name.startswith(incomplete)]
    # In bash only what comes after the paths counts: they are completed where no name is.
    return [CompletionItem(incomplete, type="file"), *names]


bundle_option = click.option(
    "--bundle",
    default="default",
    show_default=True,
    metavar="NAME|PATH",
    help="A shipped bundle's name, or a path.",
    shell_complete=complete_bundles,
)
"""The same for every command that takes no bundle by the file."""


test_share_option = click.option(
    "--test-share",
    default=0.2,
    show_default=True,
    type=NumberRange(min=0.01, max=0.9),
    help="Of the flows: they only measure. The default is the paper's 4 : 1.",
)
"""The same for every command that splits flows as `train` does."""


def parse_after(ctx: click.Context, param: click.Parameter, value: str | None) -> After | None:
    """An option's callback: so many packets, or so many seconds with an s behind. Raises BadParameter."""
    if value is None:
        return None
    from etcc_edge.meter.source import After

    with contextlib.suppress(ValueError):
        if value.endswith("s") and 0.001 <= float(value[:-1]) <= 1e9:
            return After(seconds=float(value[:-1]))
        if not value.endswith("s") and 2 <= int(value) < 1 << 32:
            return After(packets=int(value))
    raise click.BadParameter(f"{value!r} is neither a number of packets from 2 on nor of seconds, such as 10 or 5s")


_KEY_BYTES, _MOST_KEY_BYTES = 16, 64


def key_for(addresses: str, path: str | None) -> bytes:
    """The bytes of ``--address-key``, or without it a key of this run. Raises UsageError for a key that is too short,
    and for one that ``--addresses`` does not use: what was to be hashed would be written."""
    if path is None:
        return secrets.token_bytes(32)
    if addresses != "hashed":
        raise click.UsageError(f"--address-key {path}: nothing is hashed with it; add --addresses hashed")
    with open(path, "rb") as file:
        key = file.read(_MOST_KEY_BYTES)
    if len(key) < _KEY_BYTES:
        raise click.UsageError(
            f"--address-key {path}: has {len(key)} bytes, and {_KEY_BYTES} are the least for a key; make one: "
            f"head -c 32 /dev/urandom > {path}"
        )
    return key


OUTPUT_LOST = "etcc_edge.output_lost"
"""In a context's ``meta`` where `printed` could not print; the command then fails in the end."""


def as_typed() -> str:
    """The command line with the last two parts of each path, for records: they name no folder of this machine."""

    def short(word: str) -> str:
        option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
        return option + equals + ("/".join(Path(value).parts[-2:]) if "/" in value else value)

    return one_line(shlex.join(["etcc-edge", *map(short, sys.argv[1:])]))


def counted(count: int, noun: str) -> str:
    """Such as 1 flow, 2 flows."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def packets_met(packets: int, skipped: Mapping[str, int], lone: int) -> str:
    """What a meter met in a capture: its packets, those of them that belong to no flow by reason, and the flows of one
    packet, which it leaves out."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
    text = counted(packets, "packet")
    text += f", of no flow: {reasons}" if reasons else ""
    return text + (f"; {counted(lone, 'flow')} of one packet left out" if lone else "")


def note(text: str) -> None:
    """One line on standard error; where that is closed or full, the work goes on without it."""
    try:
        click.echo(one_line(text), err=True)
    except OSError:
        silence(sys.stderr)


@contextlib.contextmanager
def printed() -> Iterator[None]:
    """Around what is printed when the work is done, or between two parts of it. Where standard output cannot take it,
    the rest goes on, and the exit status is 1."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        note(f"Error: standard output: cannot be written: {error.strerror or error}")
        click.get_current_context().meta[OUTPUT_LOST] = True


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Around what is printed before a command ends with a status of its own: a reader that leaves does not change
    it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)


def silence(stream: IO[str]) -> None:
    """Sends what waits in the buffer, and all that is still to come, nowhere: a flush at exit would fail."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_form(output: str, *, arrow: bool = False) -> None:
    """Raises UsageError for a file whose name promises another form than CSV or, with ``arrow``, Parquet or Arrow.
    Folders, devices and pipes have any name, and hold CSV."""
    path = Path(output)
    form = Path(path.name.removesuffix(".gz")).suffix.lower()
    if output == STDIN or (path.exists() and not path.is_file()):
        return
    if form in ("", ".csv") or (arrow and path.suffix.lower() in ARROW_FORMS):
        return
    forms, endings = (
        ("CSV, Parquet and Arrow", ".csv, .csv.gz, .parquet or .arrow") if arrow else ("CSV", ".csv or .csv.gz")
    )
    raise click.UsageError(
        f"-o {output}: only {forms} can be written; name a file that ends in {endings} or has no ending, or - for "
        "standard output"
    )


def check_is_new(output: str, *, force: bool) -> None:
    """Raises UsageError for a file that is there already, unless ``force``."""
    if output != STDIN and Path(output).is_file() and not force:
        raise click.UsageError(f"{output} exists already; use --force to write over it")


def is_among(path: str | os.PathLike[str], files: Iterable[str | os.PathLike[str] | None]) -> bool:
    """Whether a path leads to one of these files, by whatever names. `STDIN`, None and what is not there are none."""
    named = [Path(path), *(Path(file) for file in files if file and file != STDIN)]
    place, *others = (name if name.exists() else None for name in named)
    return place is not None and any(other is not None and place.samefile(other) for other in others)


def check_reports(reports: Sequence[str], forms: Iterable[str], inputs: Sequence[str | None], *, force: bool) -> None:
    """Raises UsageError for a report of no known form, without a folder, or whose file is there already: never an
    input, others with ``force``."""
    for report in reports:
        path = Path(report)
        if path.suffix not in forms:
            raise click.UsageError(f"--report {report}: name a file that ends in {', '.join(forms)}")
        if not path.parent.is_dir():
            raise click.UsageError(f"--report {report}: there is no folder {path.parent}")
        if is_among(path, inputs):
            raise click.UsageError(f"--report {report}: is an input; name another file")
        check_is_new(report, force=force)


@contextlib.contextmanager
def byte_progress(label: str, *, hidden: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal, from the first call of the yielded function with the position and the size, if that
    is known."""
    if hidden or not sys.stderr.isatty():
        yield lambda position, size: None
        return
    progress = _bar()
    task = progress.add_task(one_line(label), total=None)

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
    if not sys.stderr.isatty():
        yield lambda text, done, total: None
        return
    progress = _bar()
    task = progress.add_task("", total=None)
    with progress:
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """A line that changes, on a terminal; the yielded function takes its text."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as line:
        yield lambda text: line.update(Text(one_line(text)))


@contextlib.contextmanager
def line_progress(every_s: float = 30.0) -> Iterator[Callable[[str], None]]:
    """A line that changes, on a terminal; elsewhere, such as in a log, the newest line with the seconds so far, as
    often as that. The yielded function takes the line."""
    if sys.stderr.isatty():
        with status() as show:
            yield show
        return
    start, news, done = time.monotonic(), [""], Event()

    def repeat() -> None:
        while not done.wait(every_s):
            if news[0]:
                note(f"{news[0]}; {time.monotonic() - start:.0f} s so far")

    def tell(line: str) -> None:
        news[0] = line

    # A thread, since growing trees or reading a file takes minutes without a new line.
    reporter = Thread(target=repeat, daemon=True)
    reporter.start()
    try:
        yield tell
    finally:
        done.set()
        reporter.join()


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, *, one_of_several: bool = False
) -> None:
    """A table on standard output: lines on a terminal, plain aligned columns in a pipe, there with the title only where
    it tells the table from others."""
    if not sys.stdout.isatty():
        if title and one_of_several:
            click.echo(title)
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        for row in [head, *rows]:
            cells = [
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            click.echo("  ".join(cells).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
