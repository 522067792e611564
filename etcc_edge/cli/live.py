"""``etcc-edge live``"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from etcc_edge.cli.live_table import live_table
from etcc_edge.cli.terminal import FILE, NumberRange, bundle_option, key_for, note, parse_after, silence
from etcc_edge.errors import EtccError, FlowsError
from etcc_edge.flows.stream import STDIN
from etcc_edge.serve.addresses import ADDRESS_FORMS, address_form
from etcc_edge.serve.records import FORMATS, RecordFormat
from etcc_edge.serve.sinks import MEBIBYTE, Rotation, open_sink
from etcc_edge.serve.system import drop_capabilities, notify, watchdog_seconds

if TYPE_CHECKING:
    from etcc_edge.meter.interface import Interface
    from etcc_edge.meter.source import After
    from etcc_edge.serve.live import Live

# Threads that numpy starts when it is imported would keep their capabilities, so it is imported later, and starts none.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOOK_SECONDS = 0.25
_DRAIN_SECONDS = 8.0


def _parse_address(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """``[ADDRESS:]PORT``; without ADDRESS, that of this machine alone. Raises BadParameter."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdecimal()):
        raise click.BadParameter(f"{value!r} is no [ADDRESS:]PORT, such as 9477 or 127.0.0.1:9477")
    if int(port) >= 1 << 16:
        raise click.BadParameter(f"{value!r}: a port is below 65536")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command()
@click.option("-i", "--interface", "name", required=True, metavar="IFACE", help="Whose packets are captured.")
@click.option(
    "-o",
    "--output",
    default=STDIN,
    metavar="OUT",
    type=FILE,
    help="A file, unix:PATH for a socket that a log shipper listens on, or - for standard output, the default.",
)
@click.option("--format", "form", default=FORMATS[0], show_default=True, type=click.Choice(FORMATS))
@bundle_option
@click.option("--filter", "expression", default="", help="Packets that are captured: as for tcpdump, or its -ddd.")
@click.option("--promiscuous", is_flag=True, help="Packets for other machines as well.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Threads that capture.")
@click.option(
    "--ring",
    default=32,
    show_default=True,
    type=click.IntRange(1, 4096),
    metavar="MB",
    help="Memory of each worker for packets that wait.",
)
@click.option("--max-flows", default=200_000, show_default=True, type=click.IntRange(1, 1 << 28), help="Open at once.")
@click.option(
    "--after",
    callback=parse_after,
    metavar="N|Ts",
    help="An early record of each open flow, after N packets or T seconds.",
)
@click.option(
    "--queue",
    default=100_000,
    show_default=True,
    type=click.IntRange(1, 1 << 28),
    metavar="N",
    help="Flows that may wait for labels; beyond that they are written without.",
)
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
@click.option(
    "--metrics",
    "address",
    callback=_parse_address,
    metavar="[ADDRESS:]PORT",
    help="Serve Prometheus's metrics, /health and a page there. Without ADDRESS, on this machine alone.",
)
@click.option("--rotate-mb", default=64.0, show_default=True, type=NumberRange(0.001, 1e6), help="Size of a file.")
@click.option("--rotate-seconds", default=3600.0, show_default=True, type=NumberRange(1, 1e9), help="Age of a file.")
@click.option("--keep-files", default=48, show_default=True, type=click.IntRange(0), help="Full files.")
@click.option("--keep-mb", default=1024.0, show_default=True, type=NumberRange(0, 1e9), help="Of full files.")
def command(
    name: str,
    output: str,
    form: str,
    bundle: str,
    expression: str,
    promiscuous: bool,
    workers: int,
    ring: int,
    max_flows: int,
    after: After | None,
    queue: int,
    addresses: str,
    address_key: str | None,
    address: tuple[str, int] | None,
    rotate_mb: float,
    rotate_seconds: float,
    keep_files: int,
    keep_mb: float,
) -> None:
    """Capture packets, cut them into flows and label them, until told to stop.

    SIGTERM: label and write what is open, and end. SIGHUP: load the bundle again.

    \b
    Examples:
      etcc-edge live -i eth0
      etcc-edge live -i eth0 -o /var/log/etcc-edge/flows.jsonl --addresses prefix
      etcc-edge live -i eth0 --filter 'tcp port 443' -o unix:/run/shipper.sock
    """
    key = key_for(addresses, address_key)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they are waited for below; threads inherit it
    from etcc_edge.meter.filters import packet_filter
    from etcc_edge.meter.interface import Interface, open_rings
    from etcc_edge.meter.source import After

    interface = Interface(name)
    try:
        instructions = packet_filter(expression, interface.link)
    except FlowsError as error:
        raise click.UsageError(str(error)) from error
    rings = open_rings(
        interface,
        workers=workers,
        ring_bytes=ring * MEBIBYTE,
        promiscuous=promiscuous,
        instructions=instructions,
    )
    drop_capabilities()
    if merging := interface.merging():
        verb, it = ("is", "it") if len(merging) == 1 else ("are", "them")
        note(
            f"{name}: warning: {', '.join(merging)} {verb} on: the kernel merges packets before they are captured, so "
            f"that flows differ from those on the wire; switch {it} off: ethtool -K {name} "
            + " ".join(f"{feature.lower()} off" for feature in merging)
        )
    from etcc_edge.bundle.model import VIEWS
    from etcc_edge.infer.classifier import Classifier
    from etcc_edge.serve.live import Live, check_answers
    from etcc_edge.serve.metering import Metering
    from etcc_edge.serve.metrics import History, Server

    classifier = Classifier(bundle, threads=1)
    check_answers(classifier)
    records = RecordFormat(
        form, classifier.bundle.levels, address_form(addresses, key), community_id=addresses == "full"
    )
    server = Server(*address) if address else None  # takes the port before the output is touched
    rotation = Rotation(round(rotate_mb * MEBIBYTE), rotate_seconds, keep_files, round(keep_mb * MEBIBYTE))
    live = Live(
        rings,
        Metering.of(classifier.bundle, max_flows, after or After()),
        classifier,
        records,
        open_sink(output, rotation, records.header, note, begin=records.begin),
        queue_limit=queue,
    )
    history = History(live, name)
    live.start()
    if server:
        server.start(live, history)
    choice = classifier.choice
    note(
        f"{name}: capturing; bundle {classifier.bundle.name}, {choice.backend} at {choice.precision}, flows as "
        f"{live.metering.profile} cuts them, up to {live.metering.timeout:g} s"
        + (f"; {meaning}" if (meaning := VIEWS.get(classifier.bundle.flow_definition.view)) else "")
    )
    if server:
        note(f"{name}: http://{server.address}/ has a page, and /metrics")
    notify("READY=1")
    try:
        with live_table(live, name) as draw:
            reason = _serve(live, interface, bundle, (history.tick, draw))
    finally:  # whatever ends it, what came is written
        notify("STOPPING=1")
        whole = live.stop(_DRAIN_SECONDS)
        _say_counts(live, name)
        if server:
            server.close()
        for one in rings:
            one.close()
    if isinstance(live.failed, BrokenPipeError):
        silence(sys.stdout)
        raise EtccError(f"standard output was closed; {_lost(live)}")
    if live.failed is not None:
        raise live.failed
    if reason:
        raise FlowsError(reason)
    if not whole:
        raise EtccError(f"{live.sink.place}: {live.sink.stalled or 'too slow'}; {_lost(live)}")


def _serve(live: Live, interface: Interface, bundle: str, ticks: Sequence[Callable[[], None]]) -> str:
    """Until told to stop, or something ends; what, in a clause. ``ticks`` are called often."""
    period = watchdog_seconds() / 3
    told = time.monotonic()
    was_up = True
    while True:
        received = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
        if received is not None and received.si_signo == signal.SIGHUP:
            _reload(live, interface.name, bundle)
        elif received is not None:
            return ""
        if live.failed is not None:
            return ""
        for tick in ticks:
            tick()
        name, is_up = interface.name, interface.is_up()
        if is_up is None:
            return f"{name}: the interface is gone; what came until then is labelled"
        if interface.name != name:
            note(f"{name}: is called {interface.name} now")
        if is_up != was_up:
            note(f"{interface.name}: " + ("is up again" if is_up else "is down; waiting"))
            was_up = is_up
        if period and time.monotonic() - told >= period and live.is_at_work():
            notify("WATCHDOG=1")
            told = time.monotonic()


def _reload(live: Live, name: str, bundle: str) -> None:
    from etcc_edge.infer.classifier import Classifier

    notify("RELOADING=1")
    try:
        live.replace_classifier(Classifier(bundle, threads=1))
    except EtccError as error:
        note(f"Error: {name}: {error}; bundle {live.classifier.bundle.name} goes on serving")
    else:
        loaded = live.classifier.bundle
        note(f"{name}: bundle {loaded.name} serves from now on ({loaded.digest()[:16]})")
    notify("READY=1")


def _say_counts(live: Live, name: str) -> None:
    counts = sum(live.worker_counts()[1:], live.worker_counts()[0])
    flows = live.counts
    skipped = sum(counts.skipped.values())
    note(
        f"{name}: {counts.ring.received} packets received, {counts.ring.dropped} dropped (the ring was full "
        f"{counts.ring.ring_full} times), {skipped} of no flow"
    )
    note(
        f"{name}: {flows.ended} flows written, {flows.unlabelled} of them without labels; {flows.lost} others lost; "
        f"{counts.evicted} ended early since too many were open; single packets, which are no flow: {counts.lone}"
    )


def _lost(live: Live) -> str:
    lost = live.counts.lost
    return "1 flow was lost" if lost == 1 else f"{lost} flows were lost"
