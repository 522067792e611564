"""``etcc-edge watch``"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from etcc_edge.cli.terminal import FILE, NumberRange, complete_bundles, is_among, key_for, note, silence
from etcc_edge.errors import FlowsError
from etcc_edge.flows.stream import STDIN
from etcc_edge.serve.addresses import ADDRESS_FORMS, address_form
from etcc_edge.serve.records import FORMATS, RecordFormat
from etcc_edge.serve.sinks import MEBIBYTE, SOCKET_PREFIX, STDOUT, Rotation, open_sink, output_place, why_not


@click.command()
@click.argument("path", type=FILE)
@click.option(
    "-o",
    "--output",
    default=STDIN,
    metavar="OUT",
    type=FILE,
    help="A file, unix:PATH for a socket that a log shipper listens on, or - for standard output, the default.",
)
@click.option("--format", "form", default=FORMATS[0], show_default=True, type=click.Choice(FORMATS))
@click.option(
    "--state",
    metavar="FILE",
    type=FILE,
    help="Keeps how far each file is done. Default: OUT.state; for standard output and sockets none.",
)
@click.option(
    "--bundle",
    default="auto",
    show_default=True,
    metavar="auto|NAME|PATH",
    help="auto: the first that fits a file. Or a shipped name, or a path.",
    shell_complete=complete_bundles,
)
@click.option("--max-flows", default=200_000, show_default=True, type=click.IntRange(1, 1 << 28), help="Open at once.")
@click.option(
    "--addresses",
    default=ADDRESS_FORMS[0],
    show_default=True,
    type=click.Choice(ADDRESS_FORMS),
    help="In records: whole, hashed with a key, or their network alone.",
)
@click.option(
    "--address-key",
    type=click.Path(exists=True, dir_okay=False),
    help="File whose bytes, 16 at least, are the key for hashing. Default: a key of this run.",
)
@click.option("--rotate-mb", default=64.0, show_default=True, type=NumberRange(0.001, 1e6), help="Size of a file.")
@click.option("--rotate-seconds", default=3600.0, show_default=True, type=NumberRange(1, 1e9), help="Age of a file.")
@click.option("--keep-files", default=48, show_default=True, type=click.IntRange(0), help="Full files.")
@click.option("--keep-mb", default=1024.0, show_default=True, type=NumberRange(0, 1e9), help="Of full files.")
def command(
    path: str,
    output: str,
    form: str,
    state: str | None,
    bundle: str,
    max_flows: int,
    addresses: str,
    address_key: str | None,
    rotate_mb: float,
    rotate_seconds: float,
    keep_files: int,
    keep_mb: float,
) -> None:
    """Label the flows that other programs write to PATH, until told to stop: a flows CSV or a capture that grows, or
    all that come to a folder.

    Each flow gets one record, also when this program was stopped or killed and starts again.

    \b
    Examples:
      etcc-edge watch flows.csv
      etcc-edge watch /var/spool/flows -o /var/log/etcc-edge/flows.jsonl
    """
    key = key_for(addresses, address_key)
    from etcc_edge.bundle import load_bundle
    from etcc_edge.serve.progress import Progress
    from etcc_edge.serve.watch import SUFFIXES, Watch

    is_folder = Path(path).is_dir()
    sink_place = output_place(output)
    is_file = sink_place != STDOUT and not sink_place.startswith(SOCKET_PREFIX)
    for place in (path, output) if is_file else (path,):
        if not Path(place).parent.is_dir():
            raise click.UsageError(f"{place}: there is no folder {Path(place).parent}")
    if is_folder and is_file and Path(sink_place).suffix.lower() in SUFFIXES and Path(sink_place).parent.samefile(path):
        raise click.UsageError(f"-o {output} would be read again; name a file in another folder")
    if is_file and not is_folder and is_among(output, [path]):
        raise click.UsageError(f"-o {output} is the file that is watched; name another")
    for option, place in (("-o", output if is_file else ""), ("the file that is watched", path)):
        if state and os.path.realpath(state) == os.path.realpath(place):
            raise click.UsageError(f"--state {state} is {option} too; name another file")
    levels = load_bundle("default" if bundle == "auto" else bundle).levels
    records = RecordFormat(form, levels, address_form(addresses, key), community_id=addresses == "full", place=True)
    if is_file and (reason := why_not(sink_place, records.begin)):
        raise FlowsError(f"{output}: cannot be written: {reason}")
    progress = Progress(f"{output}.state" if state is None and is_file else state or "")
    rotation = Rotation(round(rotate_mb * MEBIBYTE), rotate_seconds, keep_files, round(keep_mb * MEBIBYTE))
    sink = open_sink(output, rotation, records.header, note, progress.mark, records.begin)
    watch = Watch(path, progress, records, sink, wanted=bundle, max_flows=max_flows, told=note)

    def stop(*_: object) -> None:
        watch.stop.set()
        sink.give_up = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    note(f"{path}: watching")
    try:
        watch.run()
    except BrokenPipeError:
        silence(sys.stdout)  # whoever reads the records has enough
    watch.end()
    sink.close()
    progress.close()
    note(f"{path}: {watch.flows} flows written")
