"""What a scenario is, and the table of them. All of it is data: nothing here starts a program."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

from .link import Conditions

# One way; the other way has the same.
NETWORKS = {
    "fibre": Conditions(delay_ms=2.5, jitter_ms=0.2, rate_mbit=200),
    "cable": Conditions(delay_ms=12, jitter_ms=1.5, loss=0.0005, rate_mbit=50, queue_ms=150),
    "dsl": Conditions(delay_ms=22, jitter_ms=2, loss=0.001, rate_mbit=8, queue_ms=250),
    "mobile": Conditions(delay_ms=45, jitter_ms=10, loss=0.005, rate_mbit=15, queue_ms=400),
    "lossy": Conditions(delay_ms=30, jitter_ms=6, loss=0.03, rate_mbit=20),
    "bloated": Conditions(delay_ms=15, jitter_ms=2, rate_mbit=2, queue_ms=2000),
    "far": Conditions(delay_ms=150, jitter_ms=4, loss=0.002, rate_mbit=10, queue_ms=300),
    "slow": Conditions(delay_ms=80, jitter_ms=15, loss=0.01, rate_mbit=1, queue_ms=800),
}


@dataclass(frozen=True)
class Scenario:
    """One tunnel on one network, used by several hosts at once for ``seconds``.

    ``hosts`` holds, for each host, the names of the applications that it runs at the same time. Each host has its own
    link to the gateway. ``mtu``: of the hosts' links. ``seed`` decides what people do and what the link drops.
    """

    name: str
    tunnel: str
    network: str
    hosts: tuple[tuple[str, ...], ...]
    seconds: int = 40
    mtu: int = 1500
    seed: int = 0


# Hosts of a scenario, by what can pass: UDP passes tunnels of layer 3 alone.
_TCP_USES = (
    (("web-http1",), ("web-browser",), ("chat-irc",), ("mail",), ("files-https",), ("video-hls",)),
    (("files-ftp",), ("files-sftp",), ("files-rsync",), ("audio-hls",), ("web-http2",), ("chat-irc", "web-http1")),
    (("files-scp",), ("mail",), ("video-hls",), ("web-http1",), ("chat-irc",), ("mail", "files-https")),
)
_ALL_USES = (
    (("web-http1",), ("web-browser",), ("voip-opus",), ("mail",), ("files-https",), ("video-hls",)),
    (("files-ftp",), ("files-sftp",), ("chat-irc",), ("audio-hls",), ("video-rtp",), ("voip-opus", "web-http1")),
    (("files-rsync",), ("chat-irc",), ("p2p-bittorrent",), ("web-http2",), ("voip-opus",), ("mail", "files-scp")),
)
_MTUS = (1500, 1500, 1492, 1400)
NO_TUNNEL = "none"


def scenarios(tunnels: dict[str, bool], rounds: int = 1, seed: int = 0) -> list[Scenario]:
    """Every tunnel with three groups of hosts, each on three networks, and the same without a tunnel on all networks.
    Further ``rounds`` repeat them on other seeds and networks. ``tunnels``: name to whether UDP passes it."""
    table = []
    networks, mtus = cycle(NETWORKS), cycle(_MTUS)
    for number in range(rounds):
        for tunnel, udp in tunnels.items():
            for group, hosts in enumerate(_ALL_USES if udp else _TCP_USES):
                for network in islice(networks, len(NETWORKS) if tunnel == NO_TUNNEL else 3):
                    name = f"{tunnel}.{group}.{network}.{seed + number}"
                    table.append(Scenario(name, tunnel, network, hosts, mtu=next(mtus), seed=seed + number))
    return table
