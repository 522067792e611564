"""The hashes by which a bundle knows its flows. They are part of the format."""

from __future__ import annotations

import hashlib

import numpy as np

from etcc_edge.flows.identity import fingerprint, row_hash, row_hashes


def test_a_row_is_hashed_by_8_bytes_of_blake2b_little_endian() -> None:
    row = b"1,2.5,Tor"
    assert row_hash(row).to_bytes(8, "little") == hashlib.blake2b(row, digest_size=8).digest()
    assert row_hash(row) == 0x85E2C85B6B8F31E


def test_hashes_keep_the_order_of_the_rows() -> None:
    hashes = row_hashes([b"a", b"b", b"a"])
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [row_hash(b"a"), row_hash(b"b"), row_hash(b"a")]
    assert row_hashes([]).shape == (0,)


def test_a_fingerprint_is_of_the_set_of_rows_in_any_order() -> None:
    rows = row_hashes([b"a", b"b", b"c"])
    assert fingerprint(rows) == fingerprint(rows[::-1]) == fingerprint(rows.byteswap().view(">u8"))
    assert fingerprint(rows) != fingerprint(rows[:2])
    assert fingerprint(row_hashes([b"a", b"b"])).startswith("7df9b43c3496cb4d")
