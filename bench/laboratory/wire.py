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
from etcc_edge.meter.capture import PROFILES, MeteredCapture

from .record import TABLE

# Early looks at a flow beside the whole of it: a tunnel is open for days, and is to be named while it is.
LOOKS = (10, 30, 100, 255)
MOST = 300  # flows of a public capture, so that none owns a class
BACKGROUND = "Background"
SERVICE_PORTS = frozenset("53 67 68 123 137 138 546 547 1900 3702 5353 5355 17500".split())

# None of them grows with the length of a flow, none is a port.
FEATURES = """
ip_protocol fwd_packet_length_max fwd_packet_length_min fwd_packet_length_mean fwd_packet_length_std
bwd_packet_length_max bwd_packet_length_min bwd_packet_length_mean bwd_packet_length_std packet_length_min
packet_length_max packet_length_mean packet_length_std flow_bytes_per_s flow_packets_per_s fwd_packets_per_s
bwd_packets_per_s flow_iat_mean flow_iat_std flow_iat_min fwd_iat_mean fwd_iat_std fwd_iat_min bwd_iat_mean
bwd_iat_std bwd_iat_min
""".split()

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
    "Streaming": "Video-Streaming", "Music": "Audio-Streaming", "Network": BACKGROUND, "System": BACKGROUND,
}  # fmt: skip

Row = list[str]


def metered(path: Path) -> Iterator[Row]:
    """The cells of each flow of a capture, its label left out: the whole flow, and early looks at it."""
    for packets in (0, *LOOKS):
        for flows in MeteredCapture(path, after_packets=packets).flows():
            lines = flows.text(0).tobytes().decode().splitlines()
            for line, early in zip(lines, flows.early, strict=True):
                if bool(early) == bool(packets):
                    yield line.split(",")[:-1]


def is_background(row: Row) -> bool:
    return row[2] in SERVICE_PORTS or row[4] in SERVICE_PORTS  # its ports


def of_laboratory(corpus: Path) -> Iterator[tuple[Row, str]]:
    """A row with both labels, and the group that it must not be parted from: its scenario."""
    with (corpus / TABLE).open(newline="") as table:
        for known in csv.DictReader(table):
            if known["view"] != "outside":
                continue
            application = "Mixed" if "+" in known["application"] else known["application"]
            for row in metered(corpus / known["capture"]):
                label = BACKGROUND if known["application"] == "DNS" else application
                yield [*row, known["protocol"], label], known["scenario"]


def of_captures(meter: Path) -> Iterator[tuple[Row, str]]:
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
        for row in metered(meter / "pcap" / f"{capture}.pcap"):
            product, category = known.get((capture, *row[1:6]), ("", ""))
            if category in ("", "?"):
                continue
            protocol = next((to for name, to in _TUNNELS.items() if name in product.split(".")), "Non-VPN")
            application = "P2P" if "BitTorrent" in product else _APPLICATIONS.get(category, "Other")
            yield [*row, protocol, BACKGROUND if is_background(row) else application], capture


def of_file(folder: Path, protocols: dict[str, str], random: Random) -> Iterator[tuple[Row, str]]:
    """The flows of a public file with these protocols, at most `MOST` a capture."""
    captures = (folder / "flows.captures.txt").read_text().splitlines()
    rows: dict[str, list[Row]] = {}
    with (folder / "flows.csv").open(newline="") as source:
        for row, capture in zip(list(csv.reader(source))[1:], captures, strict=True):
            if protocol := protocols.get(row[-2]):
                label = BACKGROUND if is_background(row) else row[-1]
                rows.setdefault(capture, []).append([*row[:-2], protocol, label])
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
        "laboratory": of_laboratory(corpus),
        "captures": of_captures(data / "meter"),
        "vnat": of_file(data / "vnat-part", {**outside, "VPN": "VPN"}, random),
        "iscx": of_file(data / "cicdarknet2020-part", outside, random),
        "iscx-more": of_file(data / "cicdarknet2020-more", outside, random),
    }
    for name, rows in parts.items():
        click.echo(f"{name}: {write(out / name, header, rows)} flows")
    with (data / "cicdarknet2020-tor" / "flows.csv").open(newline="") as source:
        tor = list(csv.reader(source))
    # They have no captures; twenty arbitrary groups at least spread them over both sides.
    grouped = ((row, f"tor-{number % 20}") for number, row in enumerate(tor[1:]))
    click.echo(f"tor: {write(out / 'tor', tor[0], grouped)} flows")
    (out / "features.txt").write_text("\n".join(FEATURES) + "\n")


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.laboratory.wire")
