"""How fast and how steady ``etcc-edge live`` is: `speed` over a wire, `memory` in simulated time, `soak` in real time.

Run as root, ``python -m etcc_edge.bench.studies.live speed [FOLDER]``. Traffic stays in a network namespace of its own.
Each figure is a line of JSON on standard output. Figures are of this machine, sender included.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
import numpy as np

from etcc_edge import _native
from etcc_edge.errors import EtccError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.meter.interface import RingCounts
from etcc_edge.serve.addresses import address_form
from etcc_edge.serve.live import Live
from etcc_edge.serve.metering import Metering
from etcc_edge.serve.records import RecordFormat
from etcc_edge.serve.sinks import RotatedFile, Rotation
from etcc_edge.serve.system import resident_bytes

from .meter import records_of

NEAR, FAR = "near0", "far0"
_MACS = bytes.fromhex("020000000001 020000000002")
_TCP, _UDP = 6, 17
_FIN_ACK, _SYN, _SYN_ACK, _PSH_ACK = 0x11, 0x02, 0x12, 0x18
_SAMPLE_SECONDS = 5.0
_GENERATED = 10_000  # flows, some 300 of them at once
_LARGEST_FRAME = 1514
_AT_ONCE = 64  # frames in a call of the kernel
_SOL_PACKET, _QDISC_BYPASS = 263, 20
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_LADDER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of what the sender reaches alone
_HALVINGS = 2  # between the last rate that was kept up with and the first that was not
_START = 1_700_000_000_000_000  # of simulated time, in microseconds since 1970
_ENDED = re.compile(
    r"(?P<received>\d+) packets received, (?P<dropped>\d+) dropped.*"
    r" (?P<flows>\d+) flows written, (?P<unlabelled>\d+) of them without labels; (?P<lost>\d+) others lost;"
    r" (?P<evicted>\d+) ended",
    re.DOTALL,
)


def _frame(protocol: int, source: bytes, target: bytes, ports: tuple[int, int], flags: int, payload: int) -> bytes:
    if protocol == _TCP:
        transport = struct.pack(">HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 1024, 0, 0)
    else:
        transport = struct.pack(">HHHH", *ports, 8 + payload, 0)
    size = 20 + len(transport) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0, 64, protocol, 0) + source + target
    return _MACS + b"\x08\x00" + header + transport + bytes(payload)


def flow(number: int, rng: np.random.Generator) -> list[bytes]:
    """The frames of the flow of a number: four in five are TCP and end by FIN, the others UDP and end by time."""
    client = struct.pack(">I", 0x0A000000 | number // 50_000 % (1 << 24))
    server = struct.pack(">I", 0xC0000201 + number % 200)
    ports = (1024 + number % 50_000, 443)
    back = (ports[1], ports[0])
    sizes = rng.integers(0, 1400, 2 * int(rng.integers(1, 6))).tolist()
    protocol = _UDP if number % 5 == 0 else _TCP
    frames = []
    if protocol == _TCP:
        frames = [_frame(_TCP, client, server, ports, _SYN, 0), _frame(_TCP, server, client, back, _SYN_ACK, 0)]
    for i, size in enumerate(sizes):
        ends = (client, server, ports) if i % 2 == 0 else (server, client, back)
        frames.append(_frame(protocol, *ends, _PSH_ACK, size))
    if protocol == _TCP:
        frames.append(_frame(_TCP, client, server, ports, _FIN_ACK, 0))
    return frames


def frames_of(folder: Path | None) -> list[bytes]:
    """The frames of the folder's captures that an interface takes, in the order of their times when all captures begin
    at once; generated ones without a folder. Raises EtccError where there are none."""
    captures = sorted(folder.rglob("*.pcap")) if folder else []
    rows: list[tuple[int, bytes]] = []
    for path in captures:
        with contextlib.suppress(EtccError):  # of another form or link
            records = list(records_of(path))
            begin = min((at for at, _ in records), default=0)
            rows += [(at - begin, frame) for at, frame in records]
    rng = np.random.default_rng(1)
    for number in range(_GENERATED if folder is None else 0):
        own = flow(number, rng)
        rows += [(100 * number + 30_000 * i // len(own), frame) for i, frame in enumerate(own)]
    frames = [frame for _, frame in sorted(rows, key=lambda row: row[0]) if 34 <= len(frame) <= _LARGEST_FRAME]
    if not frames:
        raise EtccError(f"{folder}: no *.pcap with frames of Ethernet")
    return frames


class Sender:
    """Sends frames over and over, between other addresses in each round."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        sizes = np.array([len(frame) for frame in frames], np.uint64)
        begins = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.uint64)
        self.frame_bytes = float(sizes.mean())
        self._data = np.frombuffer(bytearray(b"".join(frames)), np.uint8)
        vectors = np.zeros([len(frames), 2], np.uint64)  # struct iovec: address, size
        vectors[:, 0], vectors[:, 1] = begins + np.uint64(self._data.ctypes.data), sizes
        messages = np.zeros([len(frames), 8], np.uint64)  # struct mmsghdr: its third and fourth word name the vectors
        messages[:, 2] = np.arange(len(frames), dtype=np.uint64) * 16 + np.uint64(vectors.ctypes.data)
        messages[:, 3] = 1
        self._vectors, self._messages = vectors, messages
        is_ip4 = np.array([frame[12:14] == b"\x08\x00" for frame in frames])
        self._addresses = begins[is_ip4].astype(np.int64)[:, None] + np.array([26, 30])  # their first bytes
        self._round = 0
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        self._socket.bind((FAR, 0))

    def send(self, rate: float, seconds: float = float("inf"), packets: float = float("inf")) -> tuple[int, float]:
        """How many it sent, and in how many seconds. ``rate``: frames a second, at most."""
        begin, sent, place, count = time.monotonic(), 0, 0, len(self._messages)
        while (now := time.monotonic() - begin) < seconds and sent < packets:
            if (early := sent / rate - now) > 0:
                time.sleep(early if early > 1e-4 else 0)
                continue
            wanted = int(min(_AT_ONCE, count - place, packets - sent))
            done = self._send(self._socket.fileno(), ctypes.c_void_p(self._messages[place:].ctypes.data), wanted, 0)
            if done < 0:  # no buffer is free
                continue
            sent, place = sent + done, place + done
            if place == count:
                place = 0
                self._turn()
        return sent, time.monotonic() - begin

    def _turn(self) -> None:
        change = self._round ^ (self._round + 1)
        self._round += 1
        self._data[self._addresses] ^= np.uint8(change & 255)
        self._data[self._addresses + 1] ^= np.uint8(change >> 8 & 255)


def _enter_namespace() -> None:
    """Starts this program again in a network namespace of its own, with two interfaces joined by a wire."""
    if os.environ.get("ETCC_EDGE_STUDY_NAMESPACE") != "1":
        if not shutil.which("unshare"):
            raise click.ClickException("needs unshare (apt install util-linux)")
        again = ["unshare", "-n", sys.executable, "-m", "etcc_edge.bench.studies.live", *sys.argv[1:]]
        os.execvpe("unshare", again, {**os.environ, "ETCC_EDGE_STUDY_NAMESPACE": "1"})
    for name in ("all", "default"):  # no packets of the kernel's own
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    for words in (
        f"link add {NEAR} type veth peer name {FAR}",
        "link set lo up",
        f"link set {NEAR} up",
        f"link set {FAR} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    time.sleep(2)  # until the wire is up


class _Run:
    """A running ``etcc-edge live``, with its records in rotated files where no output is named."""

    def __init__(self, folder: Path, *words: str, output: str = "") -> None:
        command = [sys.executable, "-c", "from etcc_edge.cli import main; main()", "live", "-i", NEAR]
        command += ["-o", output or str(folder / "flows.jsonl"), "--rotate-mb", "4", "--keep-files", "5"]
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen([*command, *words], stderr=log, cwd="/")
        while "capturing" not in self._log.read_text():
            if self.process.poll() is not None:
                raise click.ClickException(self._log.read_text())
            time.sleep(0.1)

    def memory(self) -> int:
        """Bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> str:
        """What it says at its end."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        return f"{self._log.read_text()}exit status {status}"

    def counts(self) -> dict[str, int]:
        """Ends it. Raises ClickException where it does not say what it met."""
        text = self.end()
        if not (match := _ENDED.search(text)):
            raise click.ClickException(text)
        return {name: int(value) for name, value in match.groupdict().items()}


def _say(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}), flush=True)


@click.group()
def main() -> None:
    """Speed and steadiness of ``etcc-edge live``."""


@main.command()
@click.argument("captures", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=8.0, show_default=True, help="Of sending at each rate.")
def speed(captures: Path | None, seconds: float) -> None:
    """The highest rate without a drop, what the sender reaches alone, the latency at half that rate, and whether flows
    are those of the same packets in a file. CAPTURES: a folder of *.pcap that are replayed; else generated packets."""
    _enter_namespace()
    frames = frames_of(captures)
    sender = Sender(frames)
    sent, took = sender.send(float("inf"), seconds)
    alone = sent / took
    _say("sender alone", packets_per_s=round(alone), frames=len(frames), frame_bytes=round(sender.frame_bytes, 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good, bad = 0.0, 0.0
        for share in _LADDER:
            rate, is_whole = _trial(sender, share * alone, seconds, folder)
            if not is_whole:
                bad = rate
                break
            good = max(good, rate)
        for _ in range(_HALVINGS if bad and good else 0):
            rate, is_whole = _trial(sender, (good + bad) / 2, seconds, folder)
            good, bad = (max(good, rate), bad) if is_whole else (good, rate)
        _say("highest rate without a drop", packets_per_s=round(good), share_of_sender=round(good / alone, 3))
        _say_latency(sender, good / 2, 2 * seconds, folder)
        _say_same(frames, folder)


def _trial(sender: Sender, rate: float, seconds: float, folder: Path) -> tuple[float, bool]:
    """The rate that was reached, and whether every packet was captured and every flow labelled."""
    run = _Run(folder, "--max-flows", "1000000", "--queue", "1000000")
    sent, took = sender.send(rate, seconds)
    counts = run.counts()
    is_whole = counts["received"] >= sent and not (counts["dropped"] or counts["unlabelled"] or counts["lost"])
    _say("trial", packets_per_s=round(sent / took), sent=sent, **counts, whole=is_whole)
    return sent / took, is_whole


def _say_latency(sender: Sender, rate: float, seconds: float, folder: Path) -> None:
    """From a flow's last packet to when a reader has its record, of the flows that a FIN ended."""
    place = folder / "records.sock"
    pieces: list[tuple[float, bytes]] = []

    def read() -> None:
        connection, _ = listener.accept()
        with connection:
            while piece := connection.recv(1 << 18):
                pieces.append((time.time(), piece))

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place))
        listener.listen()
        reader = threading.Thread(target=read)
        reader.start()
        run = _Run(folder, "--max-flows", "1000000", output=f"unix:{place}")
        sent, took = sender.send(rate, seconds)
        stopped = time.time()
        counts = run.counts()
        reader.join()
    seconds_late = []
    rest = b""
    for at, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for record in map(json.loads, lines if at < stopped else ()):
            begin = datetime.fromisoformat(record["start"].replace("Z", "+00:00")).timestamp()
            seconds_late.append(at - begin - record["duration_s"])
    if not seconds_late:
        raise click.ClickException("no flow ended: take captures with flows that a FIN ends, or more --seconds")
    p50, p99 = np.percentile(seconds_late, [50, 99]) * 1e3
    _say(
        "latency",
        packets_per_s=round(sent / took),
        flows=len(seconds_late),
        p50_ms=round(p50, 2),
        p99_ms=round(p99, 2),
        max_ms=round(max(seconds_late) * 1e3, 2),
        dropped=counts["dropped"],
    )


def _say_same(frames: Sequence[bytes], folder: Path, rate: float = 20_000) -> None:
    """Flows live, and from a file of the same packets with the kernel's times."""
    output = folder / "same.jsonl"
    run = _Run(folder, "--max-flows", "1000000", "--rotate-mb", "10000", output=str(output))
    with _heard(folder / "heard.pcap") as heard:
        sent, _ = Sender(frames).send(rate, packets=len(frames))
        until = time.monotonic() + 5
        while heard[0] < sent and time.monotonic() < until:
            time.sleep(0.05)
    counts = run.counts()
    live = Counter(_flow_of(json.loads(line)) for line in output.read_bytes().splitlines())
    labelled = folder / "heard.csv"
    infer = [sys.executable, "-c", "from etcc_edge.cli import main; main()", "infer", str(folder / "heard.pcap")]
    subprocess.run([*infer, "-o", str(labelled), "--columns", "key"], check=True, capture_output=True, cwd="/")
    with labelled.open() as file:
        from_file = Counter(_flow_of(row) for row in csv.DictReader(file))
    _say(
        "same flows",
        packets=heard[0],
        dropped=counts["dropped"],
        flows_live=live.total(),
        flows_file=from_file.total(),
        equal=(live & from_file).total(),
    )


def _flow_of(row: dict[str, object]) -> tuple[str, ...]:
    """A record or a row of a labelled file as the same texts."""
    names = ("start", "src_ip", "src_port", "dst_ip", "dst_port", "ip_protocol", "duration_s")
    counts = ("fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes")
    texts = [str(row[name]) for name in (*names, *counts)]
    texts[6] = f"{float(texts[6]):.6f}"
    for level in ("protocol", "application"):
        sure = row[f"etcc_{level}_confidence"]
        texts += [str(row[f"etcc_{level}"] or ""), f"{float(str(sure)):.4f}" if sure else ""]
    return tuple(texts)


@contextlib.contextmanager
def _heard(path: Path) -> Iterator[list[int]]:
    """Writes what comes in meanwhile to a capture, with the kernel's times; how many packets so far."""
    count = [0]
    ends = threading.Event()

    def listen() -> None:
        with path.open("wb") as file, ears:
            file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1))
            while not ends.is_set():
                with contextlib.suppress(TimeoutError):
                    frame, extra, _, _ = ears.recvmsg(1 << 16, 64)
                    seconds, nanoseconds = struct.unpack("qq", extra[0][2])
                    file.write(struct.pack("<IIII", seconds, nanoseconds, len(frame), len(frame)) + frame)
                    count[0] += 1

    ears = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    ears.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
    ears.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    ears.bind((NEAR, 3))
    ears.settimeout(0.2)
    listener = threading.Thread(target=listen)
    listener.start()
    yield count
    ends.set()
    listener.join()


class _Simulated:
    """A worker's packets: for ``seconds``, new flows of two packets each, which end by time, by a clock that runs as
    fast as they are labelled. ``now`` in seconds."""

    def __init__(self, flows_per_s: int, seconds: int) -> None:
        self.clock_step = 0
        self.live: Live | None = None
        self.seconds, self.now = seconds, 0
        self._flows_per_s = flows_per_s
        self._packets = 0
        frame = _frame(_UDP, bytes(4), bytes([192, 0, 2, 1]), (1024, 53), 0, 40)
        record = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
        self._records = np.tile(np.frombuffer(record, np.uint8), [flows_per_s, 2, 1])

    def capture(self, meter: _native.Meter, milliseconds: int) -> int:
        if self.now == self.seconds or (self.live is not None and self.live.waiting > 20_000):
            time.sleep(0.001)
            return _START + self.now * 1_000_000
        if not self._packets:
            meter.feed(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
        first = np.uint32(self.now * self._flows_per_s % (1 << 32))
        numbers = np.arange(self._flows_per_s, dtype=np.uint32) + first
        records = self._records
        records[:, :, 42:46] = numbers.astype(">u4").view(np.uint8).reshape(-1, 1, 4)  # the source address
        at = np.array([_START // 1_000_000 + self.now], "<u4").view(np.uint8)
        micros = (np.arange(self._flows_per_s) * 1_000_000 // self._flows_per_s).astype("<u4")
        records[:, :, 0:4] = at
        records[:, :, 4:8] = micros.view(np.uint8).reshape(-1, 1, 4)
        meter.feed(records.tobytes())
        self._packets += 2 * self._flows_per_s
        self.now += 1
        return _START + self.now * 1_000_000

    def count(self) -> RingCounts:
        return RingCounts(self._packets)

    def stop(self) -> None:
        pass


@main.command()
@click.option("--flows", default=1000, show_default=True, help="New flows a second.")
@click.option("--minutes", default=30.0, show_default=True, help="Of simulated time.")
@click.option("--max-flows", default=2_000_000, show_default=True, help="Open at once.")
def memory(flows: int, minutes: float, max_flows: int) -> None:
    """Memory of a process that meters, labels and writes flows for a simulated time, without an interface."""
    classifier = Classifier("default", threads=1)
    source = _Simulated(flows, round(60 * minutes))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        sink = RotatedFile(Path(folder) / "flows.jsonl", Rotation(bytes=4 << 20, kept_files=5))
        records = RecordFormat("jsonl", classifier.bundle.levels, address_form("full", b""), community_id=True)
        metering = Metering.of(classifier.bundle, max_flows)
        live = Live([source], metering, classifier, records, sink, queue_limit=100_000)
        source.live = live
        live.start()
        samples: list[tuple[int, int]] = []
        while source.now < source.seconds or live.waiting:
            time.sleep(0.2)
            samples.append((source.now, resident_bytes()))
            if live.failed:
                raise live.failed
        time.sleep(1)  # until the worker has counted
        (worker,) = live.worker_counts()
        half = next(bytes_ for seconds, bytes_ in samples if 2 * seconds >= samples[-1][0])
        _say(
            "memory",
            new_flows_per_s=flows,
            max_flows=max_flows,
            simulated_s=source.now,
            open=worker.open,
            ended=live.counts.ended,
            unlabelled=live.counts.unlabelled,
            lost=live.counts.lost,
            evicted=worker.evicted,
            megabytes_at_half=round(half / 1e6, 1),
            megabytes=round(samples[-1][1] / 1e6, 1),
            most_megabytes=round(max(size for _, size in samples) / 1e6, 1),
        )
        sink.give_up = True  # what is open is of no interest
        live.stop(60)  # a thread in native code at the interpreter's end would abort it


@main.command()
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--flows", default=100, show_default=True, help="New flows a second.")
@click.option("-o", "--output", required=True, help="CSV of samples: seconds, packets sent, memory in bytes.")
def soak(minutes: float, flows: int, output: str) -> None:
    """Generated traffic at a low rate for so long."""
    _enter_namespace()
    with tempfile.TemporaryDirectory() as folder, open(output, "w", newline="") as file:
        run = _Run(Path(folder))
        samples = csv.writer(file)
        samples.writerow(["seconds", "packets_sent", "flows_sent", "memory"])
        sent = number = 0
        begin = time.monotonic()
        sampled = -_SAMPLE_SECONDS
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind((FAR, 0))
        rng = np.random.default_rng(1)
        while (now := time.monotonic() - begin) < 60 * minutes:
            while number < now * flows:
                for frame in flow(number, rng):
                    wire.send(frame)
                    sent += 1
                number += 1
            if now - sampled >= _SAMPLE_SECONDS:
                sampled = now
                samples.writerow([round(now, 1), sent, number, run.memory()])
                file.flush()
            time.sleep(0.05)
        time.sleep(1)
        print(f"{sent} packets of {number} flows sent\n{run.end()}")


if __name__ == "__main__":
    main()
