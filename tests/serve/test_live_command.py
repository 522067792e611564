"""`etcc-edge live` as a service: signals, faults of the interface, whole records whatever ends it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from etcc_edge.bundle import load_bundle
from etcc_edge.bundle.store import save_bundle
from etcc_edge.cli import main
from etcc_edge.cli.live import command
from service import LONG, MAIN, Command
from wire import Wire, connection, traffic

Run = Callable[..., Command]


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_term_signal_labels_what_is_open_and_exits_with_0_in_ten_seconds(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near)
    sent = wire.send(traffic(100))
    live.wait_for(lambda: len(live.lines) >= 60)  # those that a FIN ended
    begin = time.monotonic()
    assert live.end() == 0
    assert time.monotonic() - begin < 10
    flows = [json.loads(line) for line in live.lines]
    assert len(flows) > 100
    assert all(flow["etcc_protocol"] for flow in flows)
    assert f"{sent} packets received, 0 dropped" in live.log[-2]
    assert f"{len(flows)} flows written, 0 of them without labels; 0 others lost" in live.log[-1]


def test_no_thread_keeps_a_capability(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near)
    status = [path.read_text() for path in Path(f"/proc/{live.process.pid}/task").glob("*/status")]
    assert len(status) >= 3
    for text in status:
        held = dict(line.split(":\t") for line in text.splitlines() if line.startswith(("Cap", "NoNewPrivs")))
        assert {held[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert held["NoNewPrivs"] == "1"
    wire.send(traffic(10))
    live.wait_for(lambda: len(live.lines) > 0)


def test_a_hang_up_loads_the_bundle_again_and_a_broken_one_leaves_the_old_one(
    wire: Wire, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    save_bundle(load_bundle("default"), path)
    live = run("live", "-i", wire.near, "--bundle", path)
    wire.send(traffic(20, seed=1))
    live.wait_for(lambda: len(live.lines) >= 10)
    shutil.rmtree(path)
    save_bundle(load_bundle("no-ports"), path)
    live.send(signal.SIGHUP)
    live.wait_for(lambda: f"{wire.near}: bundle no-ports serves from now on" in live.log[-1])
    (path / "weights.safetensors").write_bytes(b"broken")
    live.send(signal.SIGHUP)
    live.wait_for(lambda: "bundle no-ports goes on serving" in live.log[-1])
    assert live.log[-1].startswith(f"Error: {wire.near}: ")
    wire.send(traffic(20, seed=2))
    assert live.end() == 0
    bundles = [json.loads(line)["bundle"] for line in live.lines]
    assert set(bundles) == {"default", "no-ports"}
    assert f"{len(bundles)} flows written, 0 of them without labels; 0 others lost" in live.log[-1]


def test_an_interface_that_is_down_is_waited_for(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near)
    wire.ip("link", "set", wire.near, "down")
    live.wait_for(lambda: live.log[-1] == f"{wire.near}: is down; waiting")
    wire.up()
    live.wait_for(lambda: live.log[-1] == f"{wire.near}: is up again")
    wire.send(traffic(10))
    assert live.end() == 0
    assert len(live.lines) >= 10


def test_an_interface_that_is_removed_ends_it_with_all_labels_and_an_error(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near)
    sent = wire.send(traffic(30))
    wire.ip("link", "del", wire.near)
    assert live.wait() == 1
    assert live.log[-1] == f"Error: {wire.near}: the interface is gone; what came until then is labelled"
    assert f"{sent} packets received, 0 dropped" in live.log[-3]
    assert len(live.lines) > 30


def test_an_interface_that_is_renamed_goes_on(wire: Wire, run: Run) -> None:
    live = run("live", "-i", wire.near)
    wire.send(traffic(10))
    wire.ip("link", "set", wire.near, "down")
    wire.ip("link", "set", wire.near, "name", f"{wire.near}x")
    live.wait_for(lambda: any(f"{wire.near}: is called {wire.near}x now" in line for line in live.log))
    wire.ip("link", "set", f"{wire.near}x", "name", wire.near)
    live.wait_for(lambda: any(f"{wire.near}x: is called {wire.near} now" in line for line in live.log))
    assert live.end() == 0
    assert live.lines


def test_a_killed_run_leaves_whole_records_and_the_next_one_goes_on(wire: Wire, run: Run, tmp_path: Path) -> None:
    dice = random.Random(5)
    folder = tmp_path / "out"
    folder.mkdir()
    for seed in range(3):
        live = run("live", "-i", wire.near, "-o", folder / "flows.jsonl", "--rotate-mb", "0.02")
        wire.send(traffic(150, seed), pause=0.001)
        time.sleep(dice.random() * 0.2)
        live.process.kill()
        live.wait()
    live = run("live", "-i", wire.near, "-o", folder / "flows.jsonl")
    assert live.end() == 0
    files = sorted(folder.iterdir())
    assert len(files) > 3
    assert sum(len(records(path)) for path in files) > 300


def test_two_runs_on_one_interface_both_get_all(wire: Wire, run: Run) -> None:
    first, second = run("live", "-i", wire.near), run("live", "-i", wire.near, "--workers", "2")
    wire.send(traffic(50))
    assert (first.end(), second.end()) == (0, 0)
    # Times differ by microseconds, since each socket reads the clock, and so may labels.
    names = ("community_id", "src_port", "fwd_packets", "bwd_packets", "fwd_bytes", "bwd_bytes")
    first_flows, second_flows = (
        sorted(tuple(str(json.loads(line)[name]) for name in names) for line in live.lines) for live in (first, second)
    )
    assert len(first_flows) > 30
    assert first_flows == second_flows


def test_a_reader_that_leaves_ends_it_with_how_many_flows_were_lost(wire: Wire, run: Run) -> None:
    reading, writing = os.pipe()
    live = run("live", "-i", wire.near, output=writing)
    os.close(writing)
    wire.send(connection(1, np.random.default_rng(1)))
    assert os.read(reading, 1 << 16).count(b"\n") == 1
    os.close(reading)
    wire.send([frame for i in range(2, 7) for frame in connection(i, np.random.default_rng(i))])
    assert live.wait() == 1
    written, lost = map(int, re.findall(r"(\d+) (?:flows written|others lost)", live.log[-2]))
    assert written == 1
    assert lost >= 1  # packets may still have come when it ended
    assert live.log[-1] == (
        f"Error: standard output was closed; {'1 flow was' if lost == 1 else f'{lost} flows were'} lost"
    )


def test_a_reader_that_leaves_when_nothing_comes_loses_nothing(wire: Wire, run: Run) -> None:
    reading, writing = os.pipe()
    live = run("live", "-i", wire.near, output=writing)
    os.close(writing)
    os.close(reading)
    assert live.end() == 0
    assert "0 others lost" in live.log[-1]


def test_what_cannot_be_done_is_one_line(wire: Wire) -> None:
    reasons = {
        ("-i", "nothing9"): (1, "nothing9: there is no such interface"),
        ("-i", "lo", "--filter", "1 2 3"): (2, "--filter: these numbers are not"),
        ("-i", "lo", "--filter", "tcp prt 443"): (2, "--filter"),
        ("-i", "lo", "-o", "/no/such/folder/flows.jsonl"): (1, "there is no folder /no/such/folder"),
    }
    runs = {
        words: subprocess.Popen([sys.executable, "-c", MAIN, "live", *words], stderr=subprocess.PIPE, cwd="/")
        for words in reasons
    }
    for words, process in runs.items():
        _, errors = process.communicate(timeout=LONG)
        *_, line = errors.decode().splitlines()  # a warning of merged packets may come first
        status, reason = reasons[words]
        assert process.returncode == status
        assert line.startswith("Error: ")
        assert reason in line


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--metrics", "abc"), "'abc' is no [ADDRESS:]PORT"),
        (("--metrics", "127.0.0.1:99999"), "a port is below 65536"),
    ],
)
def test_wrong_usage_is_told_before_anything_starts(words: tuple[str, ...], reason: str) -> None:
    done = CliRunner().invoke(main, ["live", "-i", "lo", *words])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("live", "-i", "lo"), ("watch", "flows.csv")])
def test_a_key_that_hides_nothing_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"fifteen bytes !")
    short = CliRunner().invoke(main, [*words, "--addresses", "hashed", "--address-key", str(key)])
    key.write_bytes(bytes(range(16)))
    unused = CliRunner().invoke(main, [*words, "--address-key", str(key)])
    assert (short.exit_code, unused.exit_code) == (2, 2)
    assert f"has 15 bytes, and 16 are the least for a key; make one: head -c 32 /dev/urandom > {key}" in short.stderr
    assert "add --addresses hashed" in unused.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [("9477", ("127.0.0.1", 9477)), ("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:9477", ("::1", 9477))],
)
def test_the_default_address_is_this_machine_alone(text: str, address: tuple[str, int]) -> None:
    assert command.make_context("live", ["-i", "lo", "--metrics", text]).params["address"] == address


def test_a_port_that_is_in_use_leaves_no_output_behind(wire: Wire, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["live", "-i", wire.near, "-o", str(tmp_path / "flows.jsonl")]
        words += ["--metrics", str(taken.getsockname()[1])]
        done = subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, cwd="/")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(": Address already in use")
    assert not list(tmp_path.iterdir())


def test_a_terminal_shows_a_table_while_records_go_to_a_file(wire: Wire, tmp_path: Path) -> None:
    terminal, its_end = os.openpty()
    words = ["live", "-i", wire.near, "-o", str(tmp_path / "flows.jsonl")]
    wide = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    live = subprocess.Popen([sys.executable, "-c", MAIN, *words], stderr=its_end, cwd="/", env=wide)
    os.close(its_end)
    shown = b""

    def read_until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            assert select.select([terminal], [], [], LONG)[0], shown
            shown += os.read(terminal, 1 << 16)

    try:
        read_until(b"capturing")
        wire.send(traffic(50))
        read_until(b"payload, MB")
        wire.ip("link", "set", wire.near, "down")
        read_until(f"{wire.near}: is down; waiting\r\n".encode())  # a line of its own above the table
    finally:
        live.terminate()
        with contextlib.suppress(OSError):  # at its end
            while chunk := os.read(terminal, 1 << 16):
                shown += chunk
    assert live.wait(LONG) == 0
    assert b"flows open" in shown
    *_, last = records(tmp_path / "flows.jsonl")
    assert str(last["etcc_protocol"]).encode() in shown
