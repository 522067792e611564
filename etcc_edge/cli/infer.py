"""``etcc-edge infer``"""

from __future__ import annotations

import glob
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from etcc_edge.bundle.model import VIEWS
from etcc_edge.bundle.precision import PRECISIONS
from etcc_edge.bundle.store import find_bundle
from etcc_edge.cli.preview import print_preview
from etcc_edge.cli.terminal import (
    FILE,
    NumberRange,
    byte_progress,
    check_form,
    complete_bundles,
    counted,
    is_among,
    note,
    packets_met,
    parse_after,
    print_table,
    printed,
    silence,
)
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.binaries import ARROW_FORMS
from etcc_edge.flows.names import one_line
from etcc_edge.flows.stream import STDIN
from etcc_edge.flows.unlabelled import REASONS
from etcc_edge.infer.file import Summary, label_file
from etcc_edge.infer.windows import SIDES, SOURCE, SumBy
from etcc_edge.meter import PROFILES
from etcc_edge.meter.source import After

_PREVIEW_ROWS = "10"


class _Command(click.Command):
    """``--preview`` may stand without its number, whatever follows it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        for i, word in enumerate(args):
            words.append(word)
            following = args[i + 1] if i + 1 < len(args) else ""
            if word == "--preview" and "--" not in words and not following.lstrip("-").isdigit():
                words.append(_PREVIEW_ROWS)
        return super().parse_args(ctx, words)


@click.command(cls=_Command)
@click.argument("flows", nargs=-1, required=True, type=FILE)
@click.option(
    "-o", "--output", metavar="OUT", type=FILE, help="Labelled file, folder for several, or - for standard output."
)
@click.option(
    "--bundle",
    default="auto",
    show_default=True,
    metavar="auto|NAME|PATH",
    help="Shipped name or a path.",
    shell_complete=complete_bundles,
)
@click.option(
    "--view",
    type=click.Choice(list(VIEWS)),
    help="Where the flows were captured, which auto cannot tell: inside a tunnel, on its interface, or on the wire. "
    "Default: inside is assumed.",
)
@click.option("--backend", default="auto", show_default=True, type=click.Choice(["auto", *BACKENDS]))
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", *PRECISIONS]))
@click.option(
    "--batch-size", default=1024, show_default=True, type=click.IntRange(1, 1 << 20), help="Flows a network call."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: the CPUs that this process may use.")
@click.option(
    "--min-confidence",
    metavar="P",
    type=NumberRange(0, 1),
    help="Leave the application empty where both confidences multiplied are below P and no rule names it; 0 gives "
    "every guess. Default: what the bundle asks for.",
)
@click.option(
    "--columns",
    metavar="all|labels|key|NAME,…",
    help="What to write before the labels: all of the input, nothing, what identifies a flow, or these columns. "
    "Default: all, of a capture key.",
)
@click.option(
    "--profile", type=click.Choice(PROFILES), help="How a capture is cut into flows. Default: as the bundle's flows."
)
@click.option(
    "--timeout",
    type=NumberRange(0.001, 1e9),
    metavar="S",
    help="Seconds of a capture's flow at most. Default: as of the bundle's flows.",
)
@click.option(
    "--after",
    callback=parse_after,
    metavar="N|Ts",
    help="An early row of each open flow of a capture, after N packets or T seconds; the column verdict says which.",
)
@click.option(
    "--sum-by",
    metavar="KEY,SPAN",
    help="Also sum the evidence of many flows, by host, subnet or capture: host,5min or subnet,1h or capture.",
)
@click.option(
    "--sum-hosts",
    type=click.Choice(SIDES),
    help="The host that a flow counts for; src, the default, sent its first packet.",
)
@click.option(
    "--windows", metavar="FILE", type=FILE, help="Where the sums go. Default: NAME.windows.csv beside the labels."
)
@click.option(
    "--preview",
    metavar="[N]",
    type=click.IntRange(1, 1000),
    shell_complete=FILE.shell_complete,  # N may be left out
    help=f"Show the labels of the first N flows ({_PREVIEW_ROWS}) in a table, and write nothing.",
)
@click.option("--known", is_flag=True, help="Add etcc_known: 0 where no trained protocol looks like the flow.")
@click.option("--strict", is_flag=True, help="Stop at the first row that cannot be labelled.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def command(
    flows: tuple[str, ...],
    output: str | None,
    bundle: str,
    view: str | None,
    backend: str,
    precision: str,
    batch_size: int,
    threads: int | None,
    min_confidence: float | None,
    columns: str | None,
    profile: str | None,
    timeout: float | None,
    after: After | None,
    sum_by: str | None,
    sum_hosts: str | None,
    windows: str | None,
    preview: int | None,
    known: bool,
    strict: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Label every flow of FLOWS, in order: CSV, ARFF or captures (pcap, pcapng), plain, .gz, .zst or a .zip of one
    file; Parquet and Arrow files or a folder of them (extra: pip install 'etcc-edge[arrow]'); - is standard input.

    Without -o, NAME.labels.csv is written beside NAME.csv or NAME.pcap, NAME.labels.parquet beside NAME.parquet, and
    standard input goes to standard output. With -o, the name says which of these forms is written. An existing file is
    replaced only with --force.

    \b
    Examples:
      etcc-edge infer flows.csv --preview
      etcc-edge infer flows.csv
      etcc-edge infer capture.pcap
      etcc-edge infer capture.pcap --view wire
      etcc-edge infer flows.csv --sum-by host,5min
      etcc-edge infer flows.parquet -o labelled.parquet
      etcc-edge infer flows.csv.gz -o labelled.csv --columns key
      zcat flows.csv.gz | etcc-edge infer - -o - | head
    """
    if bundle != "auto":
        find_bundle(bundle)  # a wrong name is not each file's fault
    of_sums = {"--windows": windows, "--sum-hosts": sum_hosts}
    if not sum_by and (unused := [option for option, given in of_sums.items() if given]):
        raise click.UsageError(f"nothing is summed without --sum-by; leave out {', '.join(unused)}")
    choices = {
        "bundle": bundle,
        "view": view,
        "backend": backend,
        "precision": precision,
        "min_confidence": min_confidence,
        "profile": profile,
        "timeout": timeout,
    }
    inputs = [pair for name in flows for pair in _expanded(name)]
    if preview is not None:
        others = {
            "-o": output,
            "--columns": columns,
            "--after": after,
            "--sum-by": sum_by,
            "--known": known,
            "--strict": strict,
            "--json": as_json,
        }
        if unused := [option for option, given in others.items() if given]:
            raise click.UsageError(f"--preview writes no file; leave out {', '.join(unused)}")
        _preview([name for name, _ in inputs], preview, choices)
        return
    try:
        by = SumBy.of(sum_by, sum_hosts or SOURCE) if sum_by else None
    except FlowsError as error:
        raise click.UsageError(str(error)) from error
    several = len(inputs) > 1 or len(flows) > 1
    jobs = [_Job.of(name, place, output, windows, sums=by is not None, several=several) for name, place in inputs]
    if as_json and any(job.labels == STDIN for job in jobs):
        raise click.UsageError("--json and the labels would share standard output; name a file with -o")
    _check_nothing_is_lost(jobs, force=force)
    options = {
        **choices,
        "batch_size": batch_size,
        "threads": threads,
        "known": known,
        "columns": columns,
        "after": after,
        "sum_by": by,
        "strict": strict,
    }
    if not _label(jobs, options, as_json=as_json, one_of_several=several):
        raise SystemExit(1)


@dataclass(frozen=True)
class _Job:
    """One input, and where its labels and its sums go; ``sums`` is empty where nothing is summed."""

    input: str
    labels: str
    sums: str

    @classmethod
    def of(cls, name: str, place: str, output: str | None, windows: str | None, *, sums: bool, several: bool) -> _Job:
        labels = _target(name, place, output, several=several)
        return cls(name, labels, _windows_target(labels, windows, several=several) if sums else "")


def _label(jobs: Sequence[_Job], options: dict[str, Any], *, as_json: bool, one_of_several: bool) -> bool:
    """Labels each input and says what became of it; whether all went well. One that cannot be labelled does not keep
    the others from it."""
    outcomes: list[dict[str, Any]] = []
    failed = False
    labelled, start = 0, time.perf_counter()
    for job in jobs:
        said: list[str] = []
        started = partial(_say_choices, said=said)
        try:
            with byte_progress(job.input, hidden=job.labels == STDIN) as progress:
                summary = label_file(
                    job.input, job.labels, windows=job.sums, started=started, progress=progress, **options
                )
        except EtccError as error:
            failed = True
            note(f"Error: {error}")
            outcomes.append({"input": one_line(job.input), "error": one_line(str(error))})
            continue
        except BrokenPipeError:
            if not one_of_several:
                raise
            failed = True
            silence(sys.stdout)
            continue
        labelled += summary.flows
        _say_findings(summary, said)
        failed = failed or bool(summary.contradiction or summary.unlabelled or summary.damage)
        if not as_json and job.labels != STDIN:
            with printed():
                _print_counts(summary, one_of_several=one_of_several)
            note(f"{counted(summary.flows, 'flow')}{_early_rows(summary)} written to {summary.output}")
        outcomes.append(asdict(summary))
    seconds = time.perf_counter() - start
    if as_json:
        with printed():
            click.echo(json.dumps(outcomes, indent=1))
    if labelled:
        note(f"{counted(labelled, 'flow')} in {seconds:.2f} s: {labelled / seconds:.0f} flows/s")
    return not failed


def _preview(flows: Sequence[str], rows: int, options: dict[str, Any]) -> None:
    failed = False
    for name in flows:
        try:
            print_preview(name, rows, one_of_several=len(flows) > 1, **options)
        except EtccError as error:
            failed = True
            note(f"Error: {error}")
    if failed:
        raise SystemExit(1)


def _expanded(name: str) -> list[tuple[str, str]]:
    """The files that a name stands for: a folder for the Parquet and Arrow files in it, a pattern for what it matches.
    Those of a folder come with their place in it, which their labelled files have in the output folder. Raises
    UsageError."""
    folder = Path(name)
    if name != STDIN and folder.is_dir():
        found = (path for path in folder.rglob("*") if path.suffix.lower() in ARROW_FORMS and path.is_file())
        places = (path.relative_to(folder) for path in found)
        # What is still being written, or is no data, begins so.
        files = sorted(place for place in places if not any(part.startswith(("_", ".")) for part in place.parts))
        if not files:
            raise EtccError(f"{name}: is a folder without Parquet or Arrow files; name the files")
        return [(str(folder / place), str(place)) for place in files]
    if any(mark in name for mark in "*?[") and not folder.exists():
        if matches := sorted(glob.glob(name)):
            return [(match, "") for match in matches]
        raise click.UsageError(f"no file matches {name}")
    return [(name, "")]


def _target(name: str, place: str, output: str | None, *, several: bool) -> str:
    """Where one input's labels go; ``place``: its own in a folder."""
    if place:
        folder = Path(name.removesuffix(place))
        if output is None or not Path(output).is_dir() or Path(output).samefile(folder):
            raise click.UsageError(f"{folder} is a folder; name another existing folder with -o")
        target = Path(output) / place
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(target)
    if output is None and "://" in name:
        raise click.UsageError(f"{name}: name a file or folder for the labels with -o")
    if (output == STDIN and not several) or (output is None and name == STDIN):
        return STDIN
    if output is not None and output.endswith("/") and not Path(output).is_dir():
        raise click.UsageError(f"-o {output} is no existing folder")
    if output is not None and not Path(output).is_dir():
        if several:
            raise click.UsageError(f"-o {output} is one file for several inputs; name an existing folder")
        check_form(output, arrow=True)
        return output
    source = Path("stdin.csv" if name == STDIN else name)
    beside = source.parent if output is None else Path(output)
    plain = Path(re.sub(r"\.(gz|zip|zst)$", "", source.name))
    form = plain.suffix if plain.suffix.lower() in ARROW_FORMS else ".csv"
    return str(beside / f"{plain.stem}.labels{form}")


def _windows_target(labels: str, windows: str | None, *, several: bool) -> str:
    """Where one input's sums go."""
    if windows and several:
        raise click.UsageError("--windows is one file for several inputs; leave it out, or sum them one by one")
    if windows:
        check_form(windows)
    elif labels == STDIN:
        raise click.UsageError("the labels go to standard output; name the file of the sums with --windows")
    plain = Path(labels.removesuffix(".gz"))
    return windows or f"{plain.with_suffix('')}".removesuffix(".labels") + ".windows.csv"


def _check_nothing_is_lost(jobs: Sequence[_Job], *, force: bool) -> None:
    """Raises UsageError where an output would replace an input, another output or, unless ``force``, a file that holds
    anything; and where its folder is absent."""
    outputs = [Path(target) for job in jobs for target in (job.labels, job.sums) if target not in ("", STDIN)]
    inputs = [job.input for job in jobs]
    for file in outputs:
        if is_among(file, inputs):
            raise click.UsageError(f"{file} is an input; write to another file")
        if not file.parent.is_dir():
            raise click.UsageError(f"{file}: there is no folder {file.parent}")
        if file.is_file() and file.stat().st_size and not force:
            raise click.UsageError(f"{file} exists already; use --force to write over it, or name another file")
    places = [os.path.realpath(file) for file in outputs]
    if twice := sorted({place for place in places if places.count(place) > 1}):
        raise click.UsageError(f"{twice[0]} would be written twice; label the inputs one by one, each to its own files")


def _say_choices(summary: Summary, said: list[str]) -> None:
    """Also the notes, which are then in ``said``: a live input may have no end."""
    times = "" if summary.capture else f", times in {summary.time_unit}"
    note(
        f"{summary.input}: {summary.dialect} flows{times}; bundle {summary.bundle} "
        f"({summary.bundle_reason}; trained on flows of a {summary.timeout_s:g} s timeout); "
        f"{summary.backend} at {summary.precision} ({summary.backend_reason})"
        + (f"; {summary.view}" if summary.view else "")
        + (f"; no application below a confidence of {summary.min_confidence:g}" if summary.min_confidence else "")
    )
    said += summary.notes
    for text in said:
        note(f"{summary.input}: warning: {text}")


_ROW_NOTES = {
    **{reason: ("row", f"{text}: not labelled") for reason, text in REASONS.items()},
    "short": ("row", f"{REASONS['short']}: padded, not labelled"),
    "long": ("row", f"{REASONS['long']}: cut to the header's width, not labelled"),
    "with_missing_values": ("row", "had an empty, NaN or infinite cell: taken for the feature's median"),
    "blank_lines": ("blank or comment line", "skipped"),
    "repeated_headers": ("repeated header line", "skipped"),
}


def _say_findings(summary: Summary, said: Sequence[str]) -> None:
    for kind, (noun, what) in _ROW_NOTES.items():
        if count := summary.rows[kind]:
            note(f"{summary.input}: {counted(count, noun)} {what}")
    if summary.capture:
        met = summary.capture
        note(f"{summary.input}: {packets_met(met['packets'], met['skipped'], met['flows_of_one_packet'])}")
    if summary.windows:
        sums = summary.windows
        note(f"{summary.input}: {counted(sums.windows, 'window')} written to {sums.output}")
        if sums.late_flows:
            note(f"{summary.input}: warning: {counted(sums.late_flows, 'flow')} came after the window was written")
        if sums.without_time:
            note(f"{summary.input}: warning: {counted(sums.without_time, 'flow')} in no window: the time is unreadable")
    if summary.unknown:
        note(
            f"{summary.input}: {counted(summary.unknown, 'flow')} unlike the trained protocols (etcc_known is 0): the "
            "label is the nearest one, not the right one"
        )
    for text in summary.notes[len(said) :]:
        note(f"{summary.input}: warning: {text}")
    if summary.contradiction:
        note(f"Error: {summary.input}: {summary.contradiction}")
    elif summary.unlabelled:
        note(f"Error: {summary.input}: {summary.unlabelled}")
    if summary.damage:
        note(f"Error: {summary.input}: {summary.damage}; its flows up to there were labelled")


def _early_rows(summary: Summary) -> str:
    early = summary.capture["early_looks"] if summary.capture else 0
    return f" and {early} early rows" if early else ""


def _print_counts(summary: Summary, *, one_of_several: bool) -> None:
    rows = [
        [protocol or "(none)", application or "(none)", str(count), f"{100 * count / summary.flows:.1f} %"]
        for protocol, applications in summary.counts.items()
        for application, count in applications.items()
    ]
    title = f"{summary.input} → {summary.output}"
    print_table(["protocol", "application", "flows", "share"], rows, title=title, one_of_several=one_of_several)
