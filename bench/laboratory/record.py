"""Captures inside and outside of the tunnel, cut into one capture for each label.

Addresses say what a packet is of: 198.18.<net>.x are the servers of one application, anything else is the tunnel.
"""

from __future__ import annotations

import csv
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from .applications import APPLICATIONS
from .scenario import NO_TUNNEL, Scenario
from .tunnels import TUNNELS
from .world import Host, World

COLUMNS = ("capture", "protocol", "application", "view", "tunnel", "product", "uses", "network", "host", "scenario")
TABLE = "captures.csv"
SNAPLEN = 128  # bytes kept of a packet: the headers
_SERVERS, _GATEWAY, _HOSTS, _RELAYS = b"\xc6\x12", b"\0\1", b"\x0a\x28", b"\x0a\x29"  # as `world` lays them out
_TUNNEL = -1
_SERVICES = {0: "DNS"}


def outside(world: World, folder: Path) -> list[subprocess.Popen[bytes]]:
    """Records what each host sends and receives on its link."""
    return [_tcpdump(host, "eth0", folder / f"outside-{host.number}.pcap") for host in world.hosts]


def inside(world: World, folder: Path) -> list[subprocess.Popen[bytes]]:
    """Records what tunnels carry: at their interface, or, for proxies, where the servers are."""
    recorders = [
        _tcpdump(host, host.tunnel, folder / f"inside-{host.number}.pcap") for host in world.hosts if host.tunnel
    ]
    if any(host.proxy for host in world.hosts):
        recorders.append(_tcpdump(world.server, "eth0", folder / "inside-0.pcap"))
    return recorders


def _tcpdump(host: Host, interface: str, path: Path) -> subprocess.Popen[bytes]:
    return host.start(
        *("tcpdump", "-i", interface, "-n", "-U", "-s", str(SNAPLEN), "-B", "8192", "-Z", "root", "-w", str(path)),
        "ip and (tcp or udp or proto 50) and not ip multicast and not udp port 137",
    )


def sort(folder: Path, scenario: Scenario) -> list[dict[str, str]]:
    """Cuts the captures of a scenario by label, and returns a row of `COLUMNS` for each part; the whole ones go.

    Without a tunnel, what goes to the gateway itself is left out."""
    tunnel = TUNNELS[scenario.tunnel]
    labels = {application.net: application.label for application in APPLICATIONS.values()} | _SERVICES
    rows = []
    for whole in sorted(folder.glob("*side-*.pcap")):
        view, number = whole.stem.split("-")
        uses = scenario.hosts[int(number) - 1] if int(number) else ()
        of_host = {APPLICATIONS[use].label for use in uses}
        for net in _cut(whole):
            direct = net != _TUNNEL
            if not direct and scenario.tunnel == NO_TUNNEL:
                _part(whole, net).unlink()
                continue
            label = labels[net] if direct else " + ".join(sorted(of_host))
            protocol = tunnel.protocol if view == "inside" or not direct else "Non-VPN"
            rows.append(
                {
                    "capture": _part(whole, net).name,
                    "protocol": protocol,
                    "application": label,
                    "view": view,
                    "tunnel": scenario.tunnel if protocol != "Non-VPN" else "none",
                    "product": tunnel.product if protocol != "Non-VPN" else "none",
                    "uses": "+".join(uses),
                    "network": scenario.network,
                    "host": number,
                    "scenario": scenario.name,
                }
            )
        whole.unlink()
    with (folder / TABLE).open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _part(whole: Path, net: int) -> Path:
    return whole.with_name(f"{whole.stem}.{'tunnel' if net == _TUNNEL else net}.pcap")


def _net(addresses: bytes) -> int | None:
    """What a packet is of, by its two addresses: the number of an application's network, `_TUNNEL`, or nothing."""
    for end in (addresses[:4], addresses[4:]):
        if end[:2] == _SERVERS and end[2:] != _GATEWAY:
            return end[2]
        if end[:2] == _RELAYS or (end[:2] == _HOSTS and end[3] == 1):
            return _TUNNEL
    return None


def _cut(whole: Path) -> list[int]:
    """Writes a capture for each application's servers and one for the tunnel; returns which there are."""
    parts: dict[int, BinaryIO] = {}
    with whole.open("rb") as source, ExitStack() as opened:
        header = source.read(24)
        link = struct.unpack("<I", header[20:24])[0] if len(header) == 24 else 1
        at = 16 + (14 if link == 1 else 0) + 12  # of the addresses: behind Ethernet, or at a tunnel's interface
        for record in _records(source):
            net = _net(record[at : at + 8])
            if net is None:
                continue
            if net not in parts:
                parts[net] = opened.enter_context(_part(whole, net).open("wb"))
                parts[net].write(header)
            parts[net].write(record)
    return sorted(parts)


def _records(source: BinaryIO) -> Iterator[bytes]:
    while len(header := source.read(16)) == 16:
        body = source.read(struct.unpack("<I", header[8:12])[0])
        yield header + body
