"""systemd is told what it waits for, and its unit is one that it takes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from etcc_edge.cli.live import command
from service import Command
from wire import Wire

UNIT = Path(__file__).parents[2] / "packaging" / "etcc-edge-live@.service"
Run = Callable[..., Command]


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze (apt install systemd)")
    copy = tmp_path / "etcc-edge-live@eth0.service"
    copy.write_text(UNIT.read_text().replace("/opt/etcc/bin/etcc-edge", sys.executable))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True)
    assert verified.returncode == 0
    assert "etcc-edge" not in verified.stderr


def test_the_unit_serves_several_interfaces(tmp_path: Path) -> None:
    outputs = set()
    for name in ("eth0", "eth1"):
        unit = UNIT.read_text().replace("%i", name).replace("%I", name)
        settings = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#")
        assert settings["EnvironmentFile"] == f"-/etc/default/etcc-edge-live-{name}"
        _, _, *words, options = settings["ExecStart"].split()
        assert options == "$OPTIONS"
        context = command.make_context("live", [*words, "--addresses", "full", "--bundle", "mine"])
        assert context.params["name"] == name
        assert context.params["address"] is None  # a port would be in use
        assert (context.params["addresses"], context.params["bundle"]) == ("full", "mine")  # the last one counts
        outputs.add(context.params["output"])
        assert Path(context.params["output"]).parent == Path("/var/log", settings["LogsDirectory"])
    assert len(outputs) == 2


def test_systemd_hears_of_readiness_the_watchdog_a_reload_and_the_end(wire: Wire, run: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        live = run("live", "-i", wire.near, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        live.send(signal.SIGHUP)
        states = [systemd.recv(100)]
        while states[-1] != b"READY=1":
            states.append(systemd.recv(100))
        assert b"RELOADING=1" in states
        assert live.end() == 0
        while states[-1] != b"STOPPING=1":
            states.append(systemd.recv(100))
