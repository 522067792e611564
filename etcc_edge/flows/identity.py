"""Which flow is which, whatever file it comes in: the hashes by which a bundle knows the flows that it was trained on.

A flow's identity is its ends (addresses, ports, IP protocol), its Flow ID where that says more, the time it started as
an instant, and five features that count: `IDENTITY_FEATURES`. No text form is part of it: the same flow has the same
hash in a CSV of another column order or number form, in a data frame and in a Parquet file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat

import numpy as np

from etcc_edge.arrays import F32, U64

VERSION = 1
"""Of `flow_hashes`. Bundles record it; their hashes of another version are not compared."""

IDENTIFIERS: Mapping[str, frozenset[str]] = {
    "flow_id": frozenset(["flow id", "flow_id"]),
    "source": frozenset(["src ip", "src_ip", "source ip", "source_ip"]),
    "destination": frozenset(["dst ip", "dst_ip", "destination ip", "destination_ip"]),
    "time": frozenset(["timestamp"]),
}
"""What identifies a flow and is no feature, by the `header_key` of its column."""

_ENDS = ("src_port", "dst_port", "ip_protocol")
# Whole numbers in every meter: no rounding of a number's text changes them, and few files lack one.
_COUNTS = ("flow_duration", "fwd_packets", "bwd_packets", "fwd_packet_length_total", "bwd_packet_length_total")
IDENTITY_FEATURES = (*_ENDS, *_COUNTS)
"""The canonical features that are part of a flow's identity, in order."""


def flow_hashes(identifiers: Mapping[str, Sequence[str]], features: F32) -> U64 | None:
    """uint64 [n], a flow's identity each; None where the flows have neither addresses nor Flow IDs.

    ``identifiers``: the texts [n] of the columns named in `IDENTIFIERS` that the flows have. ``features``: float32
    [n, 8], `IDENTITY_FEATURES` in canonical units, NaN for no value. The bytes that are hashed are stated in
    bundle/FORMAT.md.
    """
    if "flow_id" not in identifiers and not {"source", "destination"} <= identifiers.keys():
        return None
    ends = features[:, : len(_ENDS)].tolist()
    counts = _plain(features[:, len(_ENDS) :])
    columns = [identifiers.get(name, repeat("")) for name in ("flow_id", "source", "destination", "time")]
    width, data = counts.itemsize * counts.shape[1], counts.tobytes()

    def identities() -> Iterable[bytes]:
        for row, (flow_id, source, destination, time, numbers) in enumerate(zip(*columns, ends, strict=False)):
            texts = (*_ends(flow_id, source, destination, numbers), instant(time))
            yield "\x1f".join(texts).encode() + b"\x00" + data[row * width : (row + 1) * width]

    return _hashes(identities())


def flow_ids(identifiers: Mapping[str, Sequence[str]], features: F32) -> list[str]:
    """The Flow IDs [n] that CICFlowMeter would write of these addresses, ports and protocols; empty where one is not
    known. ``identifiers`` and ``features`` as in `flow_hashes`."""
    pairs = zip(*(identifiers.get(name, repeat("")) for name in ("source", "destination")), strict=False)
    ends = features[:, : len(_ENDS)]
    known = np.isfinite(ends.sum(axis=1)).tolist()
    texts = []
    for (source, destination), numbers, whole in zip(pairs, ends.tolist(), known, strict=False):
        if whole and source and destination:
            texts.append("-".join([source, destination, *(f"{number:.0f}" for number in numbers)]))
        else:
            texts.append("")
    return texts


def conversation(flow_id: str) -> str:
    """A CICFlowMeter Flow ID (source, destination, both ports, IP protocol) without its direction, so that the
    two halves of one exchange are one group. Any other text is itself."""
    parts = flow_id.split("-")
    if len(parts) != 5:
        return flow_id
    ends = sorted([(parts[0], parts[2]), (parts[1], parts[3])])
    return "-".join([*ends[0], *ends[1], parts[4]])


def feature_hashes(values: F32) -> U64:
    """uint64 [n], equal for rows of ``values`` [n, f] with equal values; NaN equals NaN, and -0 equals 0."""
    plain = _plain(values)
    width, data = plain.itemsize * plain.shape[1], plain.tobytes()
    return _hashes(data[i * width : (i + 1) * width] for i in range(len(plain)))


def row_hashes(rows: Iterable[bytes]) -> U64:
    """uint64 [n], of the bytes of rows: equal for repeats within one file alone."""
    return _hashes(rows)


def fingerprint(hashes: U64) -> str:
    """SHA-256 over the sorted hashes: equal for equal sets of flows, in any order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def _plain(values: F32) -> F32:
    """One NaN, which infinities are too, and one zero; little-endian."""
    plain: F32 = np.where(np.isfinite(values), values + np.float32(0), np.float32(np.nan)).astype("<f4")
    return plain


def _hashes(texts: Iterable[bytes]) -> U64:
    """8-byte BLAKE2b digests, little-endian."""
    blake = hashlib.blake2b
    return np.fromiter((int.from_bytes(blake(text, digest_size=8).digest(), "little") for text in texts), np.uint64)


def _ends(flow_id: str, source: str, destination: str, numbers: Sequence[float]) -> tuple[str, ...]:
    """Addresses, ports and IP protocol, from the Flow ID where there are no addresses; then the Flow ID, if it says
    anything else."""
    parts = flow_id.strip().split("-")
    named = len(parts) == 5
    of_flow_id = (_address(parts[0]), _address(parts[1]), *parts[2:]) if named else ()
    if named and not (source and destination):
        return (*of_flow_id, "")
    ports = ["" if number != number else f"{number:.0f}" for number in numbers]
    ends = (_address(source), _address(destination), *ports)
    backward = (ends[1], ends[0], ports[1], ports[0], ports[2])
    return (*ends, "" if of_flow_id in (ends, backward) else flow_id.strip())


@lru_cache(maxsize=1 << 16)
def _address(text: str) -> str:
    plain = text.strip()
    if ":" not in plain:
        return plain
    import ipaddress  # labelling flows needs none of it, and starts sooner

    try:
        return ipaddress.ip_address(plain).compressed
    except ValueError:
        return plain


# Day, month and year as CICFlowMeter writes them, or year, month and day; then the time of day, and what follows it.
_TIME = (
    r"(?P<a>\d{1,4})[-/.](?P<b>\d{1,2})[-/.](?P<c>\d{1,4})"
    r"(?:[ T]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"\s*(?P<half>[ap]\.?\s?m\.?)?\s*(?P<zone>z|utc|[+-]\d{2}:?\d{2})?"
)
_MONTH_FIRST = r"\s*(0?[1-9]|1[0-2])[-/.](1[3-9]|2\d|3[01])[-/.]\d{4}"
# Digits of a time since 1970, as of 2001 to 2286: in s, ms, µs and ns.
_SINCE_1970 = (10, 13, 16, 19)
_LAST = 253_402_300_799_999_999  # µs from 1970 to the end of the year 9999


@lru_cache(maxsize=1 << 16)
def instant(text: str) -> str:
    """A timestamp as microseconds since 1970 in UTC; without a zone it counts as UTC. Empty stays empty, and what is
    no timestamp stays as it is.

    The day comes before the month, as in CICFlowMeter, unless the year comes first or the month would exceed 12.
    """
    from datetime import datetime, timedelta, timezone

    plain = text.strip()
    whole, _, rest = plain.partition(".")
    if whole.isascii() and whole.isdigit() and len(whole) in _SINCE_1970 and (rest.isdigit() or not rest):
        fraction = int(rest[:6].ljust(6, "0")) if len(whole) == 10 and rest else 0
        return str(int(whole) * 1_000_000 // 10 ** (len(whole) - 10) + fraction)
    match = re.fullmatch(_TIME, plain, re.IGNORECASE)
    if match is None:
        return plain
    first, second, third = (int(match[name]) for name in "abc")
    year, month, day = (first, second, third) if len(match["a"]) == 4 else (third, second, first)
    if month > 12 and len(match["a"]) != 4:
        month, day = day, month
    hour = int(match["hour"] or 0)
    if match["half"]:
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    microseconds = int((match["fraction"] or "")[:6].ljust(6, "0"))
    zone = match["zone"] or ""
    try:
        moment = datetime(
            year, month, day, hour, int(match["minute"] or 0), int(match["second"] or 0), microseconds, timezone.utc
        )
        if zone[:1] in ("+", "-"):
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            moment -= offset if zone[0] == "+" else -offset
    except (ValueError, OverflowError):
        return plain
    return str((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1))


def microseconds(text: str) -> int | None:
    """A timestamp's microseconds since 1970 in UTC; None for what is no time of the years 1970 to 9999. A number is
    one where its digits are those of a time since 1970."""
    number = instant(text)
    if not (number.isascii() and number.isdecimal()) or len(number) > len(str(_LAST)):
        return None
    whole = text.strip().partition(".")[0]
    if whole.isdecimal() and len(whole) not in _SINCE_1970:
        return None
    return value if (value := int(number)) <= _LAST else None


def puts_month_first(text: str) -> bool:
    """Whether a date can only be read with the month before the day, as in 7/13/2017."""
    return re.match(_MONTH_FIRST, text) is not None
