"""How ``etcc-edge live`` holds up: `soak` for hours of real time, `day` for a day of simulated time, `speed`.

Run as root, ``python -m etcc_edge.bench.studies.live soak --minutes 60 -o soak.csv``. Traffic is generated, and stays
in a network namespace of its own. Figures are of this machine, sender included.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

NEAR, FAR = "near0", "far0"
_MACS = bytes.fromhex("020000000001 020000000002")
_TCP, _UDP = 6, 17
_FIN_ACK, _SYN, _SYN_ACK, _PSH_ACK = 0x11, 0x02, 0x12, 0x18
_SAMPLE_SECONDS = 5.0


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


def _enter_namespace() -> None:
    """Starts this program again in a network namespace of its own, with two interfaces joined by a wire."""
    if os.environ.get("ETCC_EDGE_STUDY_NAMESPACE") != "1":
        if not shutil.which("unshare"):
            raise click.ClickException("needs unshare (apt install util-linux)")
        again = ["unshare", "-n", sys.executable, "-m", "etcc_edge.bench.studies.live", *sys.argv[1:]]
        os.execvpe("unshare", again, {**os.environ, "ETCC_EDGE_STUDY_NAMESPACE": "1"})
    for words in (
        f"link add {NEAR} type veth peer name {FAR}",
        "link set lo up",
        f"link set {NEAR} up",
        f"link set {FAR} up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    time.sleep(2)  # until the wire is up


class _Run:
    """A running ``etcc-edge live`` with its records in rotated files."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        command = [sys.executable, "-c", "from etcc_edge.cli import main; main()", "live", "-i", NEAR]
        self.log = (folder / "log").open("w+")
        output = ["-o", str(folder / "flows.jsonl"), "--rotate-mb", "4", "--keep-files", "5"]
        self.process = subprocess.Popen([*command, *output, *words], stderr=self.log, cwd="/")
        while "capturing" not in (folder / "log").read_text():
            if self.process.poll() is not None:
                raise click.ClickException((folder / "log").read_text())
            time.sleep(0.1)

    def memory(self) -> int:
        """Bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> str:
        """What it says at its end."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        return f"{(self.folder / 'log').read_text()}exit status {status}"


@click.group()
def main() -> None:
    """Hold-up of ``etcc-edge live``."""


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
