"""Generated flows in CICFlowMeter's form, for trying things out where no real flows are at hand.

They are drawn from a table of rough per-class sizes, not recorded, and every Flow ID says so. They show that
a pipeline works and how fast; never how accurate it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F64
from etcc_edge.flows.features import dialect_named

_BATCH = 8192
# The header of CICDarknet2020's Darknet.CSV.
_COLUMNS = (
    "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,"
    "Total Bwd packets,Total Length of Fwd Packet,Total Length of Bwd Packet,Fwd Packet Length Max,"
    "Fwd Packet Length Min,Fwd Packet Length Mean,Fwd Packet Length Std,Bwd Packet Length Max,"
    "Bwd Packet Length Min,Bwd Packet Length Mean,Bwd Packet Length Std,Flow Bytes/s,Flow Packets/s,"
    "Flow IAT Mean,Flow IAT Std,Flow IAT Max,Flow IAT Min,Fwd IAT Total,Fwd IAT Mean,Fwd IAT Std,"
    "Fwd IAT Max,Fwd IAT Min,Bwd IAT Total,Bwd IAT Mean,Bwd IAT Std,Bwd IAT Max,Bwd IAT Min,"
    "Fwd PSH Flags,Bwd PSH Flags,Fwd URG Flags,Bwd URG Flags,Fwd Header Length,Bwd Header Length,"
    "Fwd Packets/s,Bwd Packets/s,Packet Length Min,Packet Length Max,Packet Length Mean,"
    "Packet Length Std,Packet Length Variance,FIN Flag Count,SYN Flag Count,RST Flag Count,"
    "PSH Flag Count,ACK Flag Count,URG Flag Count,CWE Flag Count,ECE Flag Count,Down/Up Ratio,"
    "Average Packet Size,Fwd Segment Size Avg,Bwd Segment Size Avg,Fwd Bytes/Bulk Avg,"
    "Fwd Packet/Bulk Avg,Fwd Bulk Rate Avg,Bwd Bytes/Bulk Avg,Bwd Packet/Bulk Avg,Bwd Bulk Rate Avg,"
    "Subflow Fwd Packets,Subflow Fwd Bytes,Subflow Bwd Packets,Subflow Bwd Bytes,FWD Init Win Bytes,"
    "Bwd Init Win Bytes,Fwd Act Data Pkts,Fwd Seg Size Min,Active Mean,Active Std,Active Max,Active Min,"
    "Idle Mean,Idle Std,Idle Max,Idle Min,Label,Label"
).split(",")
_TCP, _UDP = 6, 17


@dataclass(frozen=True)
class _Profile:
    """Rough sizes of one class: log-normal around these medians."""

    protocol: str
    application: str
    share: float
    tcp: float  # share of TCP flows
    ports: tuple[int, ...]  # of the server
    packets: float  # forward
    answers: float  # backward packets a forward packet
    seconds: float
    payload: tuple[float, float]  # mean bytes a packet, forward and backward
    spread: float  # of packets and duration, in natural logarithms


_PROFILES = (
    _Profile("Non-VPN", "Audio-Streaming", 0.08, 0.3, (53, 443, 80), 2, 1.0, 0.05, (33, 185), 1.4),
    _Profile("Non-VPN", "Chat", 0.14, 0.1, (5355, 443, 5222), 2, 0.4, 0.4, (22, 60), 0.9),
    _Profile("Non-VPN", "Email", 0.10, 0.2, (5355, 465, 993), 3, 0.6, 0.6, (40, 90), 0.9),
    _Profile("Non-VPN", "File-Transfer", 0.06, 0.4, (22, 990, 443), 8, 1.2, 2.0, (101, 400), 1.9),
    _Profile("Non-VPN", "Video-Streaming", 0.10, 0.5, (443, 80, 53), 4, 1.6, 0.3, (60, 700), 1.5),
    _Profile("VPN", "Audio-Streaming", 0.24, 0.2, (53, 443, 80), 2, 1.0, 0.02, (34, 228), 1.2),
    _Profile("VPN", "Chat", 0.10, 0.1, (53, 443), 2, 1.0, 0.13, (37, 209), 0.8),
    _Profile("VPN", "Email", 0.03, 0.7, (465, 53, 993), 3, 0.8, 0.3, (60, 80), 1.1),
    _Profile("VPN", "File-Transfer", 0.06, 0.5, (80, 53, 443), 6, 0.8, 0.7, (120, 300), 1.9),
    _Profile("VPN", "Video-Streaming", 0.05, 0.9, (443, 80), 6, 1.5, 16.0, (50, 500), 1.9),
    _Profile("Tor", "Video-Streaming", 0.04, 0.9, (9001, 443), 12, 1.5, 30.0, (540, 900), 1.4),
)


def sample_rows(flows: int, seed: int) -> Iterator[str]:
    """CSV text, the header first, then ``flows`` rows in blocks; the same for the same arguments."""
    yield ",".join(_COLUMNS) + "\n"
    rng = np.random.default_rng(seed)
    for start in range(0, flows, _BATCH):
        table = _draw(rng, min(_BATCH, flows - start))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*table, strict=True))
        yield text.getvalue()


def _draw(rng: np.random.Generator, n: int) -> list[list[object]]:
    """The columns of n flows, in the header's order."""
    shares = np.array([profile.share for profile in _PROFILES])
    which = rng.choice(len(_PROFILES), n, p=shares / shares.sum())

    def of(name: str) -> F64:
        return np.array([getattr(profile, name) for profile in _PROFILES], np.float64)[which]

    spread = of("spread")
    scale = np.exp(rng.normal(0, 1, n) * spread)
    fwd_n = np.maximum(1, np.round(of("packets") * scale))
    bwd_n = np.round(fwd_n * of("answers") * np.exp(rng.normal(0, 0.3, n)))
    packets = fwd_n + bwd_n
    seconds = of("seconds") * np.sqrt(scale) * np.exp(rng.normal(0, 1, n) * spread * 0.7)
    duration = np.where(packets > 1, np.clip(np.round(seconds * 1e6), 1, 1.2e8), 0.0)
    tcp = rng.random(n) < of("tcp")
    payload = np.array([profile.payload for profile in _PROFILES])[which]

    values: dict[str, F64] = {
        "src_port": rng.integers(32768, 65536, n).astype(np.float64),
        "dst_port": np.array([rng.choice(_PROFILES[i].ports) for i in which.tolist()], np.float64),
        "ip_protocol": np.where(tcp, _TCP, _UDP).astype(np.float64),
        "flow_duration": duration,
        "fwd_packets": fwd_n,
        "bwd_packets": bwd_n,
    }
    for i, (way, count) in enumerate((("fwd", fwd_n), ("bwd", bwd_n))):
        values |= _lengths(rng, way, count, payload[:, i])
    lengths = {part: (values[f"fwd_packet_length_{part}"], values[f"bwd_packet_length_{part}"]) for part in _PARTS}
    total = lengths["total"][0] + lengths["total"][1]
    mean = total / packets
    # Variance within each direction plus that between their means.
    variance = sum(
        count * (values[f"{way}_packet_length_std"] ** 2 + (values[f"{way}_packet_length_mean"] - mean) ** 2)
        for way, count in (("fwd", fwd_n), ("bwd", bwd_n))
    )
    variance = np.asarray(variance) / packets
    values |= {
        "packet_length_min": np.where(bwd_n > 0, np.minimum(*lengths["min"]), lengths["min"][0]),
        "packet_length_max": np.maximum(*lengths["max"]),
        "packet_length_mean": mean,
        "packet_length_std": np.sqrt(variance),
        "packet_length_variance": variance,
        "packet_size_mean": mean,
        "fwd_segment_size_mean": values["fwd_packet_length_mean"],
        "bwd_segment_size_mean": values["bwd_packet_length_mean"],
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        per_second = 1e6 / duration
        # CICFlowMeter writes what its division gives: NaN and Infinity in flows of no duration.
        values["flow_bytes_per_s"] = total * per_second
        values["flow_packets_per_s"] = packets * per_second
        values["fwd_packets_per_s"] = np.where(duration > 0, fwd_n * per_second, 0)
        values["bwd_packets_per_s"] = np.where(duration > 0, bwd_n * per_second, 0)
    values |= _gaps(rng, "flow", packets, duration)
    for way, count in (("fwd", fwd_n), ("bwd", bwd_n)):
        share = rng.uniform(0.7, 1.0, n)
        values |= _gaps(rng, way, count, np.round(duration * share))
        values[f"{way}_header_length"] = count * np.where(tcp, 20, 8)
    handshake = tcp & (packets > 4)
    values |= {
        "fin_flag_count": np.where(handshake, rng.integers(0, 3, n), 0).astype(np.float64),
        "syn_flag_count": np.where(handshake, 2, 0).astype(np.float64),
        "rst_flag_count": np.where(tcp, rng.integers(0, 2, n), 0).astype(np.float64),
        "psh_flag_count": np.where(tcp, np.round(packets * 0.4), 0),
        "ack_flag_count": np.where(tcp, packets, 0),
        "down_up_ratio": np.floor(bwd_n / fwd_n),
    }
    zeros = np.zeros(n)
    names = {keys[0]: name for name, keys in dialect_named("cicdarknet2020").columns.items()}
    truth = [[_PROFILES[i].protocol for i in which], [_PROFILES[i].application for i in which]]
    source = [f"192.0.2.{octet}" for octet in rng.integers(1, 255, n).tolist()]  # addresses of RFC 5737
    destination = [f"198.51.100.{octet}" for octet in rng.integers(1, 255, n).tolist()]
    columns: list[list[object]] = []
    for column in _COLUMNS:
        key = column.casefold()
        if key == "flow id":
            ports = zip(source, destination, values["src_port"], values["dst_port"], values["ip_protocol"], strict=True)
            columns.append([f"generated-{s}-{d}-{sp:.0f}-{dp:.0f}-{p:.0f}" for s, d, sp, dp, p in ports])
        elif key in ("src ip", "dst ip"):
            columns.append(list(source if key == "src ip" else destination))
        elif key == "timestamp":
            columns.append(["01/01/2020 12:00:00 PM"] * n)
        elif key == "label":
            columns.append(list(truth.pop(0)))
        else:
            columns.append(_numbers(values.get(names.get(key, ""), zeros)))
    return columns


_PARTS = ("total", "max", "min", "mean", "std")


def _lengths(rng: np.random.Generator, way: str, count: F64, typical: F64) -> dict[str, F64]:
    some = count > 0
    mean = np.where(some, np.round(typical * np.exp(rng.normal(0, 0.4, len(count)))), 0)
    std = np.where(count > 1, mean * rng.uniform(0, 0.8, len(count)), 0)
    values = {
        "total": mean * count,
        "max": np.ceil(mean + std),
        "min": np.maximum(0, np.floor(mean - std)),
        "mean": mean,
        "std": std,
    }
    return {f"{way}_packet_length_{part}": values[part] for part in _PARTS}


def _gaps(rng: np.random.Generator, way: str, packets: F64, duration: F64) -> dict[str, F64]:
    gaps = np.maximum(packets - 1, 0)
    total = np.where(gaps > 0, duration, 0)
    mean = np.divide(total, gaps, out=np.zeros(len(gaps)), where=gaps > 0)
    ragged = np.where(gaps > 1, rng.uniform(0, 1, len(gaps)), 0)
    values = {
        f"{way}_iat_mean": mean,
        f"{way}_iat_std": mean * ragged,
        f"{way}_iat_max": np.ceil(np.minimum(mean * (1 + ragged * np.sqrt(gaps)), total)),
        f"{way}_iat_min": np.floor(mean * (1 - ragged)),
    }
    return values if way == "flow" else {**values, f"{way}_iat_total": total}


def _numbers(values: F64) -> list[object]:
    """As CICFlowMeter writes them: whole numbers without a point, NaN and Infinity by name."""
    if np.isfinite(values).all() and (values == np.floor(values)).all():
        return list(values.astype(np.int64).tolist())
    text = {"nan": "NaN", "inf": "Infinity"}
    return [text.get(repr(value), repr(value)) for value in values.round(6).tolist()]
