"""What goes wrong around a running command: floods, a full disk, a reader that stops."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service import LONG, Command
from wire import ACK, PSH, SYN, TCP, UDP, Wire, ip4, tcp, traffic, udp

HEADER, *ROWS = (Path(__file__).parents[1] / "data" / "generated-flows.csv").read_bytes().splitlines(keepends=True)
Run = Callable[..., Command]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def memory(command: Command) -> int:
    """Bytes."""
    return int(Path(f"/proc/{command.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_of_syns_and_single_packets_takes_no_memory_and_no_flow(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near, "--max-flows", "2000")
    real = [ip4(TCP, "10.9.9.9", "192.0.2.9", tcp(999, 443, flags, b"x" * 9)) for flags in (SYN, ACK, PSH | ACK)]

    def flood(first: int, count: int) -> int:
        frames = []
        for i in range(first, first + count):
            host = f"172.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
            frames.append(ip4(TCP, host, "192.0.2.1", tcp(80, 80, SYN)))
            frames.append(ip4(UDP, host, "192.0.2.1", udp(80, 53)))
        return wire.send(frames, pause=0.001)

    sent = wire.send(real[:2]) + flood(0, 2000)
    time.sleep(0.5)
    before = memory(live)
    sent += flood(2000, 8000) + wire.send(real[2:])
    time.sleep(0.5)
    assert memory(live) - before < 4 << 20
    assert live.end() == 0
    assert f"{sent} packets received, 0 dropped" in live.log[-2]
    # The oldest flow of two packets may be the one that is given up for a single one of UDP.
    assert all(json.loads(line)["src_ip"] == "10.9.9.9" for line in live.lines)
    assert "ended early since too many were open" in live.log[-1]


def test_a_reader_of_the_socket_that_stops_costs_no_packet_and_every_flow_is_counted(
    wire: Wire, run: Run, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "shipper"))
        listener.listen()
        live = run("live", "-i", wire.near, "-o", f"unix:{tmp_path}/shipper", "--queue", "100")
        sent = wire.send(traffic(800), pause=0.002)
        connection, _ = listener.accept()
        live.wait_for(lambda: "nobody reads it; records wait" in live.log[-1])
        sent += wire.send(traffic(800, seed=2), pause=0.002)
        time.sleep(0.5)
        live.send(15)
        with connection:
            connection.settimeout(LONG)
            data = b""
            while piece := connection.recv(1 << 20):
                data += piece
    live.wait()
    lines = data.splitlines()
    assert all(json.loads(line)["src_ip"] for line in lines)
    assert f"{sent} packets received, 0 dropped" in "".join(live.log)
    counts = next(line for line in live.log if " flows written, " in line).split(": ", 1)[1].split()
    assert int(counts[0]) == len(lines)
    assert int(counts[counts.index("others") - 1]) > 0


def test_on_a_full_disk_watch_waits_and_then_neither_repeats_nor_loses_a_row(run: Run, tmp_path: Path) -> None:
    """The disk is one of the command's own, of 8 MB, with the records and the state."""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (apt install util-linux)")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs a mount namespace of its own (run as root)")
    disk, path = tmp_path / "disk", tmp_path / "flows.csv"
    disk.mkdir()
    fill = f'mount -t tmpfs -o size=8m tmpfs {disk} && head -c 8150000 /dev/zero > {disk}/hog && exec "$@"'
    inside = ["unshare", "-m", "sh", "-c", fill, "sh"]
    watch = run("watch", path, "-o", disk / "flows.jsonl", ready="watching", inside=inside)
    within = Path(f"/proc/{watch.process.pid}/root/{disk}")
    path.write_bytes(HEADER + b"".join(ROWS * 5))
    watch.wait_for(lambda: any(line.endswith("records wait") for line in watch.log))
    part = (within / "flows.jsonl").read_bytes()
    assert all(json.loads(line) for line in part.splitlines())
    (within / "hog").unlink()
    append(path, ROWS[0])
    watch.wait_for(lambda: (within / "flows.jsonl").read_bytes().count(b"\n") == 5 * len(ROWS) + 1)
    records = [json.loads(line) for line in (within / "flows.jsonl").read_bytes().splitlines()]
    assert [record["line"] for record in records] == list(range(2, 5 * len(ROWS) + 3))
    assert watch.end() == 0
