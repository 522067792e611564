"""Relations between a flow's numbers, which hold whatever meter counted them.

Within 1 % they hold in every flow of every real file that this package was tried on. A flow that breaks one by more
than 5 %, and by more than rates rounded to two decimals explain, was not written by a meter: its numbers are mixed up,
in another unit, or transformed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """``kind``: what holds between the canonical features ``columns``, as native/rows/relations.hpp defines it."""

    text: str
    kind: str
    columns: tuple[str, ...]


def _order(name: str) -> Relation:
    return Relation(f"min ≤ mean ≤ max of {name}", "order", (f"{name}_min", f"{name}_mean", f"{name}_max"))


RELATIONS = (
    Relation(
        "packets = packet rate × duration",
        "sum",
        ("fwd_packets", "bwd_packets", "flow_packets_per_s", "flow_duration"),
    ),
    Relation(
        "bytes = byte rate × duration",
        "sum",
        ("fwd_packet_length_total", "bwd_packet_length_total", "flow_bytes_per_s", "flow_duration"),
    ),
    # Packets by rate and duration, as not every meter counts them. Another unit shows, and nothing less.
    Relation(
        "a packet at least, and mean gap × (packets - 1) near the duration",
        "gaps",
        ("flow_iat_mean", "flow_packets_per_s", "flow_duration"),
    ),
    *map(_order, ("fwd_packet_length", "bwd_packet_length", "packet_length", "flow_iat", "fwd_iat", "bwd_iat")),
    *map(_order, ("active", "idle")),
)

BROKEN_SHARE = 0.01
"""Above this share of flows that break a relation, the file as a whole is not what it seems."""


def relations_of(features: Collection[str]) -> tuple[Relation, ...]:
    """Those between the given features."""
    return tuple(relation for relation in RELATIONS if all(name in features for name in relation.columns))
