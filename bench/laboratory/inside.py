"""One scenario from its start to its captures, inside the namespaces that `world.confined` made."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

from . import link, record
from .applications import APPLICATIONS, Session
from .scenario import NETWORKS, Scenario
from .tunnels import TUNNELS
from .world import RUN, LaboratoryError, World

SUMMARY = "scenario.json"  # written last: a scenario that has it is done


def run(scenario: Scenario, folder: Path, content: Path) -> None:
    """Raises LaboratoryError where a server or a tunnel does not start. The folder then has its captures and table."""
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    world = World(logs, content, NETWORKS[scenario.network], scenario.mtu, scenario.seed)
    world.build(len(scenario.hosts))
    pairs = json.dumps([(left, right, asdict(conditions)) for left, right, conditions in world.pairs()])
    joined = subprocess.Popen([sys.executable, "-m", link.__name__, pairs, str(scenario.seed), str(RUN / "link.json")])
    _name_servers(world)
    uses = {name: APPLICATIONS[name] for host in scenario.hosts for name in host}
    for application in uses.values():
        application.serve(world)
    tunnel = TUNNELS[scenario.tunnel]
    tunnel.gateway(world)
    # The tunnel's handshake is part of its flows: recording starts before it where it can.
    recorders = record.outside(world, folder)
    _together([partial(tunnel.host, host) for host in world.hosts])
    recorders += record.inside(world, folder)
    time.sleep(0.5)
    sessions = [
        (name, Session(host, Random(f"{scenario.name}/{host.number}/{name}"), scenario.seconds))
        for host, names in zip(world.hosts, scenario.hosts, strict=True)
        for name in names
    ]
    _together([partial(uses[name].use, session) for name, session in sessions])
    time.sleep(1)
    for process in reversed(world.processes):
        process.send_signal(signal.SIGTERM)
    joined.terminate()
    joined.wait()
    for recorder in recorders:
        recorder.wait()
    rows = record.sort(folder, scenario)
    if not any(row["view"] == "outside" and row["tunnel"] == scenario.tunnel for row in rows):
        raise LaboratoryError(f"{scenario.name}: no packet of the tunnel was seen")
    summary = {"scenario": asdict(scenario), "link": json.loads((RUN / "link.json").read_text()), "captures": len(rows)}
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")


def _name_servers(world: World) -> None:
    names = {"lab": 1, "files.lab": 4, "video.lab": 6, "audio.lab": 7}
    addresses = [f"--address=/{name}/198.18.{net}.1" for name, net in names.items()]
    command = ("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root")
    world.server.start(*command, "--pid-file=", "--listen-address=198.18.0.2", "--bind-interfaces", *addresses)


def _together(actions: list[Callable[[], None]]) -> None:
    """Runs all at once; raises the first problem among them."""
    with ThreadPoolExecutor(len(actions)) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()


def main() -> None:
    """Arguments: the scenario as JSON, its folder, the content's folder."""
    settings = json.loads(sys.argv[1])
    settings["hosts"] = tuple(map(tuple, settings["hosts"]))
    try:
        run(Scenario(**settings), Path(sys.argv[2]), Path(sys.argv[3]))
    except LaboratoryError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
