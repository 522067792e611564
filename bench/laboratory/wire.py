"""The training files of the bundle `wire`: ``python -m etcc_edge.bench.laboratory.wire CORPUS DATA OUT``.

CORPUS is what the laboratory made. DATA holds the public flows: ``vnat-part``, ``cicdarknet2020-part``, ``-more`` and
``-tor``, and ``meter`` (captures, and what is known of them). Only flows seen outside of a tunnel are taken.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import click

from etcc_edge import _native
from etcc_edge.meter.capture import PROFILES, TIMEOUT, MeteredCapture

from .record import TABLE

# Beside whole flows, early looks at them after so many packets, and what a meter makes of them that cuts after so many
# seconds: a tunnel is open for days, so most of its flows begin in its midst, and it is to be named while it is open.
LOOKS = (5, 10, 30, 100, 255)
CUTS = (5.0,)
FILES = ("laboratory", "captures", "vnat", "iscx", "iscx-more", "tor")
PARTS = "-parts"  # behind the name of a file of early looks and pieces
MOST = 300  # flows of a public capture, so that none owns a class

# None of them grows with the length of a flow, none is a port. The recipe `wire` reads no others.
FEATURES = """
ip_protocol fwd_packet_length_max fwd_packet_length_min fwd_packet_length_mean fwd_packet_length_std
bwd_packet_length_max bwd_packet_length_min bwd_packet_length_mean bwd_packet_length_std packet_length_min
packet_length_max packet_length_mean packet_length_std flow_bytes_per_s flow_packets_per_s fwd_packets_per_s
bwd_packets_per_s flow_iat_mean flow_iat_std flow_iat_min fwd_iat_mean fwd_iat_std fwd_iat_min bwd_iat_mean
bwd_iat_std bwd_iat_min
""".split()
PORTS = ("src_port", "dst_port")  # they name background services, by rule; no network reads them

_TUNNELS = {
    "OpenVPN": "VPN",
    "WireGuard": "VPN",
    "FortiClient": "VPN",
    "PPTP": "VPN",
    "Tor": "Tor",
    "UltraSurf": "Proxy",
}
_APPLICATIONS = {
    "VoIP": "VOIP", "Chat": "Chat", "Web": "Browsing", "Email": "Email", "Media": "Video-Streaming",
    "Streaming": "Video-Streaming", "Music": "Audio-Streaming",
}  # fmt: skip

Row = list[str]


def metered(path: Path, *, parts: bool) -> Iterator[Row]:
    """The cells of each flow of a capture, its label left out; or of its early looks and pieces, where they differ."""
    ways = [(packets, TIMEOUT) for packets in LOOKS] + [(0, cut) for cut in CUTS]
    whole = dict.fromkeys(_lines(path, 0, TIMEOUT))
    others = dict.fromkeys(line for packets, timeout in ways if parts for line in _lines(path, packets, timeout))
    for line in others if parts else whole:
        if not parts or line not in whole:
            yield line.split(",")[:-1]


def _lines(path: Path, packets: int, timeout: float) -> Iterator[str]:
    """The flows of a capture; with ``packets`` the early looks at them alone."""
    for flows in MeteredCapture(path, timeout=timeout, after_packets=packets).flows():
        lines = flows.text(0).tobytes().decode().splitlines()
        yield from (line for line, early in zip(lines, flows.early, strict=True) if bool(early) == bool(packets))


def of_laboratory(corpus: Path, *, parts: bool) -> Iterator[tuple[Row, str]]:
    """A row with both labels, and the group that it must not be parted from: its scenario."""
    with (corpus / TABLE).open(newline="") as table:
        for known in csv.DictReader(table):
            if known["view"] != "outside":
                continue
            application = "Mixed" if "+" in known["application"] else known["application"]
            for row in metered(corpus / known["capture"], parts=parts):
                yield [*row, known["protocol"], application], known["scenario"]


def of_captures(meter: Path, *, parts: bool) -> Iterator[tuple[Row, str]]:
    """The flows of public captures whose product is known."""
    known: dict[tuple[str, ...], tuple[str, str]] = {}
    with (meter / "products.csv").open(newline="") as table:
        for r in csv.DictReader(table):
            ends = (r["src_ip"], r["src_port"], r["dst_ip"], r["dst_port"])
            named = (r["ndpi_protocol"], r["ndpi_category"])
            forward = (r["capture"], *ends, r["ip_protocol"])
            known[forward] = named
            known.setdefault((r["capture"], *ends[2:], *ends[:2], r["ip_protocol"]), named)
    for capture in sorted({key[0] for key in known}):
        for row in metered(meter / "pcap" / f"{capture}.pcap", parts=parts):
            product, category = known.get((capture, *row[1:6]), ("", ""))
            if category in ("", "?"):
                continue
            protocol = next((to for name, to in _TUNNELS.items() if name in product.split(".")), "Non-VPN")
            application = "P2P" if "BitTorrent" in product else _APPLICATIONS.get(category, "Other")
            yield [*row, protocol, application], capture


def of_file(folder: Path, protocols: dict[str, str], random: Random) -> Iterator[tuple[Row, str]]:
    """The flows of a public file with these protocols, at most `MOST` a capture."""
    captures = (folder / "flows.captures.txt").read_text().splitlines()
    rows: dict[str, list[Row]] = {}
    with (folder / "flows.csv").open(newline="") as source:
        for row, capture in zip(list(csv.reader(source))[1:], captures, strict=True):
            if protocol := protocols.get(row[-2]):
                rows.setdefault(capture, []).append([*row[:-2], protocol, row[-1]])
    for capture, its in sorted(rows.items()):
        yield from ((row, capture) for row in random.sample(its, min(len(its), MOST)))


def write(out: Path, header: Row, rows: Iterable[tuple[Row, str]]) -> int:
    with out.with_suffix(".csv").open("w", newline="") as flows, out.with_suffix(".txt").open("w") as groups:
        writer = csv.writer(flows, lineterminator="\n")
        writer.writerow(header)
        count = 0
        for row, group in rows:
            writer.writerow(row)
            groups.write(group + "\n")
            count += 1
    return count


@click.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(corpus: Path, data: Path, out: Path, seed: int) -> None:
    """Writes the flows and groups that `wire` is trained with, and its features, into OUT."""
    out.mkdir(parents=True, exist_ok=True)
    random = Random(seed)
    header = [*_native.meter_header(PROFILES[0]).strip().split(","), "Label"]
    outside = {"NonVPN": "Non-VPN", "Non-VPN": "Non-VPN", "Non-Tor": "Non-VPN", "NonTor": "Non-VPN", "Tor": "Tor"}
    parts: dict[str, Iterable[tuple[Row, str]]] = {
        "laboratory": of_laboratory(corpus, parts=False),
        f"laboratory{PARTS}": of_laboratory(corpus, parts=True),
        "captures": of_captures(data / "meter", parts=False),
        f"captures{PARTS}": of_captures(data / "meter", parts=True),
        "vnat": of_file(data / "vnat-part", {**outside, "VPN": "VPN"}, random),
        "iscx": of_file(data / "cicdarknet2020-part", outside, random),
        "iscx-more": of_file(data / "cicdarknet2020-more", outside, random),
    }
    for name, rows in parts.items():
        click.echo(f"{name}: {write(out / name, header, rows)} flows")
    with (data / "cicdarknet2020-tor" / "flows.csv").open(newline="") as source:
        tor = list(csv.reader(source))
    # They have neither captures nor ports; twenty arbitrary groups at least spread them over both sides.
    grouped = (([*row, "", ""], f"tor-{number % 20}") for number, row in enumerate(tor[1:]))
    click.echo(f"tor: {write(out / 'tor', [*tor[0], 'Src Port', 'Dst Port'], grouped)} flows")
    (out / "features.txt").write_text("\n".join([*FEATURES, *PORTS]) + "\n")


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.laboratory.wire")
