"""Hashes by which a bundle knows the flows that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from etcc_edge.arrays import F32, U64


def row_hash(row: bytes) -> int:
    """64-bit BLAKE2b of a data row's bytes as they stand in the file, without the line end."""
    return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little")


def row_hashes(rows: Iterable[bytes]) -> U64:
    return np.fromiter((row_hash(row) for row in rows), np.uint64)


def feature_hashes(values: F32) -> U64:
    """uint64 [n], equal for rows of ``values`` [n, f] with equal values; NaN equals NaN."""
    plain = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))  # one NaN, one zero
    width, data = plain.itemsize * plain.shape[1], plain.tobytes()
    return row_hashes(data[i * width : (i + 1) * width] for i in range(len(plain)))


def fingerprint(hashes: U64) -> str:
    """SHA-256 over the sorted hashes: equal for equal sets of flows, in any order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()
