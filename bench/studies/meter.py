"""The meter's speed and memory: ``python -m etcc_edge.bench.studies.meter [FOLDER]``.

Makes one large capture in memory, of the captures in a folder or of generated ones, by shifting times and addresses.
Then, in turn and on one core: reads it alone, meters it to features, to rows and to labels, and has NFStream meter it.
Needs g++ for reading alone, and nfstream (pip install nfstream==6.6.0) for the last; what is absent is left out.
"""

from __future__ import annotations

import ctypes
import json
import resource
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np

from etcc_edge import _native
from etcc_edge.arrays import I64
from etcc_edge.errors import EtccError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.meter.capture import PROFILES, MeteredCapture
from etcc_edge.meter.source import CaptureSource

from ..report.plain import plain
from ..timing.paired import Paired, time_paired

READING, FEATURES, ROWS, LABELS, NFSTREAM = "reading alone", "to features", "to rows", "to labels", "NFStream"
_FILE_HEADER = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 01000000")
_ORDERS = {struct.pack(f"{order}I", magic): order for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D)}
_RECORD, _ETHERNET = 16, 14
_SOURCE, _TARGET = _RECORD + _ETHERNET + 12, _RECORD + _ETHERNET + 16


@dataclass(kw_only=True)
class Speed:
    """Packets a second of processor time, of all processes; the median of the turns, the lowest and the highest."""

    packets_per_s: float
    low: float
    high: float


@dataclass(kw_only=True)
class MeterFigures:
    """``bytes_per_packet``: on average, without the record's header. ``bytes_per_flow``: memory at ``open_flows``."""

    source: str
    packets: int
    bytes_per_packet: float
    flows: int
    turns: int
    speeds: dict[str, Speed]
    left_out: dict[str, str] = field(default_factory=dict)
    open_flows: int = 0
    bytes_per_flow: float = 0.0


@dataclass(frozen=True)
class Records:
    """Records of a pcap file in little-endian microseconds, one behind the other, and where each begins [n]."""

    data: np.ndarray
    at: I64


def records_of(capture: Path) -> Iterator[tuple[int, bytes]]:
    """Time in microseconds and frame, of a pcap file of Ethernet frames. Raises EtccError for another file."""
    data = capture.read_bytes()
    order = _ORDERS.get(data[:4])
    if order is None or struct.unpack(f"{order}I", data[20:24]) != (1,):
        raise EtccError(f"{capture}: not a pcap file of Ethernet frames")
    ticks = 1000 if struct.unpack(f"{order}I", data[:4]) == (0xA1B23C4D,) else 1  # of the clock, in a microsecond
    at = 24
    while at + _RECORD <= len(data):
        second, fraction, size = struct.unpack(f"{order}III", data[at : at + 12])
        frame = data[at + _RECORD : at + _RECORD + size]
        if len(frame) == size:
            yield second * 1_000_000 + fraction // ticks, frame
        at += _RECORD + size


def generated(flows: int = 2000, seed: int = 3) -> Iterator[tuple[int, bytes]]:
    """Exchanges of TCP and UDP over ten minutes, 280 bytes a packet on average: `records_of` without a capture."""
    rng = np.random.default_rng(seed)
    for flow in range(flows):
        time = int(rng.integers(0, 600_000_000))
        ends = bytes([10, 0, flow >> 8, flow & 255]), bytes([10, 200, int(rng.integers(256)), 1])
        ports = (
            int(rng.integers(1024, 65536)).to_bytes(2, "big"),
            int(rng.choice([53, 80, 443, 8443])).to_bytes(2, "big"),
        )
        is_tcp = rng.random() < 0.8
        for i in range(int(rng.geometric(0.05)) + 1):
            way = int(i % 2 if i < 3 else rng.random() < 0.6)
            size = 0 if i < 3 and is_tcp else int(rng.choice([0, 60, 300, 1000], p=[0.4, 0.2, 0.25, 0.15]))
            ports_there = ports[way] + ports[1 - way]
            flags = 2 if i == 0 else 16
            tcp = ports_there + bytes(8) + bytes([0x50, flags, 32, 0]) + bytes(4)
            body = (tcp if is_tcp else ports_there + (8 + size).to_bytes(2, "big") + bytes(2)) + bytes(size)
            head = bytes([0x45, 0]) + (20 + len(body)).to_bytes(2, "big") + bytes(4)
            protocol = bytes([64, 6 if is_tcp else 17, 0, 0])
            yield time, bytes(12) + b"\x08\x00" + head + protocol + ends[way] + ends[1 - way] + body
            time += int(rng.exponential(200_000))


def joined(captures: list[Iterator[tuple[int, bytes]]]) -> Records:
    """All begin at once, an hour after 1970."""
    rows: list[tuple[int, bytes]] = []
    for capture in captures:
        frames = list(capture)
        begin = min((time for time, _ in frames), default=0)
        rows += [(time - begin + 3_600_000_000, frame) for time, frame in frames]
    rows.sort(key=lambda row: row[0])
    pieces, at, size = [], [], 0
    for time, frame in rows:
        numbers = time // 1_000_000, time % 1_000_000, len(frame), len(frame)
        pieces.append(b"".join(number.to_bytes(4, "little") for number in numbers) + frame)
        at.append(size)
        size += len(pieces[-1])
    return Records(np.frombuffer(b"".join(pieces), np.uint8), np.array(at, np.int64))


def write_capture(records: Records, packets: int, path: Path) -> int:
    """The records over and over, each time later and between other addresses, until there are at least ``packets``,
    which it gives."""
    data, at = records.data, records.at
    seconds = data[at[:, None] + np.arange(4)].copy().view("<u4")[:, 0]
    span = int(seconds.max() - seconds.min()) + 1
    sizes = np.diff(at, append=len(data))
    in_ethernet = at[sizes >= _TARGET + 4]
    of_ip4 = in_ethernet[(data[in_ethernet + _RECORD + 12] == 8) & (data[in_ethernet + _RECORD + 13] == 0)]
    copies = -(-packets // len(at))
    with path.open("wb") as out:
        out.write(_FILE_HEADER)
        for copy in range(copies):
            shifted = data.copy()
            later = (seconds.astype(np.int64) + copy * span).astype("<u4")
            shifted[at[:, None] + np.arange(4)] = later[:, None].view(np.uint8)
            for place in (_SOURCE, _TARGET):
                shifted[of_ip4 + place] ^= copy & 255
                shifted[of_ip4 + place + 1] ^= copy >> 8
            out.write(shifted.tobytes())
    return copies * len(at)


def _reading(path: Path, folder: Path) -> Callable[[], object]:
    """Raises EtccError where it cannot be built."""
    library = folder / "read_alone.so"
    source = Path(__file__).with_name("read_alone.cpp")
    if not shutil.which("g++"):
        raise EtccError("needs g++")
    subprocess.run(["g++", "-std=c++20", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    read = ctypes.CDLL(str(library)).read_alone
    read.restype = ctypes.c_uint64
    return lambda: read(str(path).encode(), ctypes.byref(ctypes.c_uint64()))


def _to_features(path: Path, names: Sequence[str]) -> int:
    with CaptureSource(path) as source:
        return sum(1 for _ in source.batches(names))


def _to_rows(path: Path, out: Path) -> None:
    with out.open("wb") as stream:
        for flows in MeteredCapture(path).flows():
            stream.write(flows.text(0).tobytes())


def _nfstream(path: Path) -> int:
    from nfstream import NFStreamer

    return sum(1 for _ in NFStreamer(source=str(path), statistical_analysis=True, n_dissections=0, n_meters=1))


def contenders(path: Path, folder: Path) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """What is measured by name, and what is left out, and why."""
    classifier = Classifier("default", threads=1)
    calls: dict[str, Callable[[], object]] = {
        FEATURES: lambda: _to_features(path, classifier.features),
        ROWS: lambda: _to_rows(path, folder / "flows.csv"),
        LABELS: lambda: sum(1 for _ in classifier.classify(path)),
    }
    left_out = {}
    try:
        calls[READING] = _reading(path, folder)
    except (EtccError, subprocess.CalledProcessError) as error:
        left_out[READING] = str(error)
    if find_spec("nfstream"):
        calls[NFSTREAM] = lambda: _nfstream(path)
    else:
        left_out[NFSTREAM] = "nfstream is not installed"
    return calls, left_out


def _processor_time() -> float:
    """Of this process and of those that it waited for, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def speeds_of(paired: Paired, packets: int) -> dict[str, Speed]:
    return {
        name: Speed(
            packets_per_s=round(packets / spread.median),
            low=round(packets / spread.high),
            high=round(packets / spread.low),
        )
        for name, spread in paired.seconds.items()
    }


def resident_bytes_a_flow(flows: int) -> float:
    """How much this process grows by a flow, as it opens ``flows`` of them."""
    frame = bytes(12) + b"\x08\x00\x45\x00\x00\x1c" + bytes(5) + b"\x11" + bytes(10) + bytes(8)  # UDP
    records = np.tile(np.frombuffer(bytes(8) + 2 * len(frame).to_bytes(4, "little") + frame, np.uint8), (4096, 1))
    meter = _native.Meter(PROFILES[0], 120_000_000, False, flows, secrets.randbits(64))
    meter.feed(_FILE_HEADER)
    before = 0
    for begin in range(0, flows, len(records)):
        numbers = np.arange(begin, begin + len(records), dtype=">u4")
        records[:, _SOURCE : _SOURCE + 4] = numbers[:, None].view(np.uint8)
        meter.feed(records[: flows - begin].tobytes())
        before = before or _resident_bytes()
    return (_resident_bytes() - before) / (flows - len(records))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _bytes_a_flow(flows: int) -> float:
    program = f"import etcc_edge.bench.studies.meter as study; print(study.resident_bytes_a_flow({flows}))"
    command = [sys.executable, "-c", "import sys; del sys.path[0]; " + program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(folder: Path | None, packets: int, turns: int, open_flows: int, scratch: Path) -> MeterFigures:
    """Raises EtccError for a folder without captures."""
    paths = sorted(folder.glob("*.pcap")) if folder else []
    if folder and not paths:
        raise EtccError(f"{folder}: has no file *.pcap")
    records = joined([records_of(path) for path in paths] if folder else [generated()])
    capture = scratch / "capture.pcap"
    count = write_capture(records, packets, capture)
    calls, left_out = contenders(capture, scratch)
    return MeterFigures(
        source=f"{len(paths)} captures of {folder}" if folder else "generated",
        packets=count,
        bytes_per_packet=round((capture.stat().st_size - len(_FILE_HEADER)) / count - _RECORD, 1),
        flows=sum(len(flows) for flows in MeteredCapture(capture).flows()),
        turns=turns,
        speeds=speeds_of(time_paired(calls, turns, clock=_processor_time), count),
        left_out=left_out,
        open_flows=open_flows,
        bytes_per_flow=round(_bytes_a_flow(open_flows), 1),
    )


def table(figures: MeterFigures) -> str:
    """In Markdown."""
    lines = [
        f"{figures.packets:,} packets of {figures.bytes_per_packet:.0f} bytes, {figures.flows:,} flows "
        f"({figures.source}); medians of {figures.turns} turns, low and high",
        "",
        "| | packets a second and core |",
        "|---|---:|",
    ]
    ordered = sorted(figures.speeds.items(), key=lambda pair: -pair[1].packets_per_s)
    lines += [f"| {name} | {s.packets_per_s:,} ({s.low:,} to {s.high:,}) |" for name, s in ordered]
    lines += [f"| {name} | left out: {reason} |" for name, reason in figures.left_out.items()]
    return "\n".join([*lines, "", f"{figures.bytes_per_flow:.0f} bytes a flow at {figures.open_flows:,} open flows"])


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--packets", default=5_000_000, show_default=True, type=click.IntRange(1))
@click.option("--turns", default=5, show_default=True, type=click.IntRange(1))
@click.option("--open-flows", default=1_000_000, show_default=True, type=click.IntRange(8192))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(folder: Path | None, packets: int, turns: int, open_flows: int, as_json: bool) -> None:
    """Measure the meter on a capture made of those in FOLDER (*.pcap), or of generated ones.

    \b
    Example:
      python -m etcc_edge.bench.studies.meter captures --turns 7 --json
    """
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="etcc-edge-bench-", dir=memory if memory.is_dir() else None) as scratch:
        try:
            figures = measure(folder, packets, turns, open_flows, Path(scratch))
        except EtccError as error:
            raise click.ClickException(str(error)) from error
    click.echo(json.dumps(plain(figures), indent=1) if as_json else table(figures))


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.meter")
