"""``etcc-edge meter``"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from etcc_edge import _native
from etcc_edge.cli.terminal import (
    FILE,
    NumberRange,
    byte_progress,
    check_form,
    check_is_new,
    counted,
    is_among,
    note,
    packets_met,
)
from etcc_edge.flows.stream import STDIN
from etcc_edge.flows.text.writer import open_output
from etcc_edge.infer.threads import in_order
from etcc_edge.meter.capture import MAX_FLOWS, PROFILES, MeteredCapture, unproven

_WEEK = 7 * 24 * 3600
_LAST_SECOND = 1 << 32  # since 1970, of a capture


@click.command()
@click.argument("captures", nargs=-1, required=True, type=FILE)
@click.option(
    "-o",
    "--output",
    default=STDIN,
    metavar="OUT",
    type=FILE,
    help="CSV (.gz compresses), or - for standard output, the default.",
)
@click.option("--profile", default=PROFILES[0], show_default=True, type=click.Choice(PROFILES))
@click.option(
    "--timeout",
    type=NumberRange(0.001, 1e9),
    metavar="S",
    help="Seconds of a flow at most. Default: the profile's.",
)
@click.option(
    "--time-zone", default="UTC", show_default=True, metavar="Z", help="Of the timestamps, such as Europe/Berlin."
)
@click.option(
    "--max-flows", default=MAX_FLOWS, show_default=True, type=click.IntRange(1, 1 << 30), help="Open at once."
)
@click.option("--lone", is_flag=True, help="Flows of one packet too.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64), metavar="N")
@click.option("--strict-profile", is_flag=True, help="With the quirks of the Java meter's decoder.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
@click.option("--json", "as_json", is_flag=True, help="A summary as JSON on standard error.")
def command(
    captures: tuple[str, ...],
    output: str,
    profile: str,
    timeout: float | None,
    time_zone: str,
    max_flows: int,
    lone: bool,
    threads: int,
    strict_profile: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Cut CAPTURES (pcap or pcapng, plain, .gz, .zst or a .zip of one; - is standard input) into flows in
    CICFlowMeter's form.

    \b
    Examples:
      etcc-edge meter capture.pcap -o flows.csv
      tcpdump -w - | etcc-edge meter - > flows.csv
    """
    check_form(output)
    check_is_new(output, force=force)
    if output != STDIN and is_among(output, captures):
        raise click.UsageError(f"-o {output}: is a capture to be read; name another file")
    zone, *changes = _seconds_east(time_zone)
    sources = [
        MeteredCapture(
            name,
            profile,
            timeout=timeout,
            strict=strict_profile,
            max_flows=max_flows,
            lone=lone,
            threads=threads,
        )
        for name in captures
    ]
    if warning := unproven(profile):
        note(f"warning: {warning}")
    header = _native.meter_header(profile).encode()

    def write_text(flows: _native.Flows) -> bytes:
        return flows.text(zone[1], changes).tobytes()

    with open_output(output) as out:
        for name, source in zip(captures, sources, strict=True):
            with byte_progress(name, hidden=output == STDIN) as progress:
                for text in in_order(write_text, source.flows(progress), threads):
                    if text:
                        out.write(header + text)
                        out.flush()  # a capture may be live
                        header = b""
        out.write(header)
    for name, source in zip(captures, sources, strict=True):
        if source.problem:
            note(f"Error: {name}: {source.problem}; its flows up to there were written")
        if evicted := source.meter.evicted:
            note(f"{name}: warning: {evicted} flows ended early, since {max_flows} were open")
    summary = _summary(profile, sources)
    if as_json:
        note(json.dumps(summary))
    else:
        met = packets_met(summary["packets"], summary["skipped"], 0 if lone else summary["flows_of_one_packet"])
        note(f"{met}; {counted(summary['flows'], 'flow')} written")
    if any(source.problem for source in sources):
        sys.exit(1)


def _summary(profile: str, sources: list[MeteredCapture]) -> dict[str, Any]:
    skipped: Counter[str] = Counter()
    for source in sources:
        skipped.update(source.meter.skipped)
    return {
        "profile": profile,
        "packets": sum(source.meter.packets for source in sources),
        "bytes": sum(source.bytes for source in sources),
        "skipped": dict(skipped),
        "flows": sum(source.rows for source in sources),
        "flows_of_one_packet": sum(source.meter.lone for source in sources),
        "evicted": sum(source.meter.evicted for source in sources),
    }


def _seconds_east(time_zone: str) -> list[tuple[int, int]]:
    """East of UTC, each from an instant on, µs since 1970. Raises UsageError for an unknown zone."""
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise click.UsageError(f"unknown time zone {time_zone!r}; name one such as UTC or Europe/Berlin") from error

    def east(second: int) -> int:
        offset = datetime.fromtimestamp(second, zone).utcoffset() or timedelta()
        return int(offset.total_seconds())

    offsets = [(0, east(0))]
    for week in range(0, _LAST_SECOND, _WEEK):
        before, after = week, week + _WEEK  # no zone changes twice in a week
        if east(before) == east(after):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if east(middle) == east(before) else (before, middle)
        offsets.append((after * 1_000_000, east(after)))
    return offsets
