"""A flow is the same flow whatever file it comes in. The hashes are part of the bundle format."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcc_edge.flows.features import features
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.identity import (
    IDENTITY_FEATURES,
    feature_hashes,
    fingerprint,
    flow_hashes,
    instant,
    microseconds,
    row_hashes,
)
from etcc_edge.flows.truth import read_features

ENDS = {"source": ["10.0.0.1"], "destination": ["10.0.0.2"]}
NUMBERS = np.array([[5353, 443, 6, 1_000_000, 3, 2, 300, 4000]], np.float32)


def identity(numbers: np.ndarray = NUMBERS, **texts: str) -> int:
    (value,) = flow_hashes({name: [text] for name, text in texts.items()}, numbers).tolist()
    return value


def test_the_bytes_that_are_hashed_are_those_of_the_format() -> None:
    text = b"10.0.0.1\x1f10.0.0.2\x1f5353\x1f443\x1f6\x1f\x1f1437754188000000\x00"
    expected = hashlib.blake2b(text + struct.pack("<5f", 1_000_000, 3, 2, 300, 4000), digest_size=8).digest()
    given = identity(source="10.0.0.1", destination="10.0.0.2", time="24/07/2015 04:09:48 PM")
    assert given.to_bytes(8, "little") == expected
    assert given == 5788336492425799937


def test_identity_features_are_canonical_and_exist() -> None:
    assert set(IDENTITY_FEATURES) <= features().keys()


@pytest.mark.parametrize(
    "texts",
    [
        {"source": " 10.0.0.1", "destination": "10.0.0.2 "},
        {"flow_id": "10.0.0.1-10.0.0.2-5353-443-6"},
        {"flow_id": "10.0.0.2-10.0.0.1-443-5353-6", "source": "10.0.0.1", "destination": "10.0.0.2"},
    ],
)
def test_the_ends_are_one_however_they_are_named(texts: dict[str, str]) -> None:
    assert identity(**texts) == identity(source="10.0.0.1", destination="10.0.0.2")


def test_addresses_of_ip_6_are_one_however_they_are_written() -> None:
    assert identity(source="2001:db8:0:0::1", destination="::") == identity(source="2001:DB8::1", destination="0::0")


@pytest.mark.parametrize(
    "texts",
    [
        {"source": "10.0.0.2", "destination": "10.0.0.1"},
        {"source": "10.0.0.1", "destination": "10.0.0.3"},
        {"source": "10.0.0.1", "destination": "10.0.0.2", "time": "24/07/2015 04:09:48 PM"},
        {"source": "10.0.0.1", "destination": "10.0.0.2", "flow_id": "another"},
    ],
)
def test_another_end_time_or_flow_id_is_another_flow(texts: dict[str, str]) -> None:
    assert identity(**texts) != identity(source="10.0.0.1", destination="10.0.0.2")


@pytest.mark.parametrize("column", range(len(IDENTITY_FEATURES)))
def test_another_port_protocol_or_count_is_another_flow(column: int) -> None:
    other = NUMBERS.copy()
    other[0, column] += 1
    assert identity(other, source="a", destination="b") != identity(source="a", destination="b")


@pytest.mark.parametrize("identifiers", [{}, {"time": ["1"]}, {"source": ["10.0.0.1"]}])
def test_flows_without_addresses_and_flow_ids_have_no_identity(identifiers: dict[str, list[str]]) -> None:
    assert flow_hashes(identifiers, NUMBERS) is None


@pytest.mark.parametrize("identifiers", [{"flow_id": []}, {"source": [], "destination": []}])
def test_no_flows_have_no_hashes(identifiers: dict[str, list[str]]) -> None:
    assert flow_hashes(identifiers, NUMBERS[:0]).shape == (0,)


@given(
    st.lists(st.floats(width=32), min_size=5, max_size=5),
    st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=20), st.text(max_size=30)),
)
def test_any_text_and_number_gives_a_hash_and_the_same_one_again(counts: list[float], texts: tuple[str, ...]) -> None:
    numbers = np.array([[1, 2, 3, *counts]], np.float32)
    named = dict(zip(("source", "destination", "flow_id", "time"), texts, strict=True))
    assert identity(numbers, **named) == identity(numbers.copy(), **named)


# --- times --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "24/07/2015 04:09:48 PM",
        "24/7/2015 4:09:48 p.m.",
        "24/07/2015 16:09:48",
        "07/24/2015 16:09:48",
        "2015-07-24 16:09:48",
        "2015-07-24T16:09:48Z",
        "2015-07-24T18:09:48+02:00",
        "2015-07-24 16:09:48.000000 ",
        "1437754188",
        "1437754188000",
        "1437754188000000",
        "1437754188000000999",
    ],
)
def test_one_instant_is_one_text(text: str) -> None:
    assert instant(text) == "1437754188000000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("05/06/2015 12:00:00 AM", "1433462400000000"),  # the fifth of June
        ("05/06/2015 12:00:00 PM", "1433505600000000"),
        ("2015-06-05", "1433462400000000"),
        ("1437754188.25", "1437754188250000"),
        ("2015-07-24 16:09:48.123456789", "1437754188123456"),
        ("", ""),
        (" yesterday ", "yesterday"),
        ("31/02/2015 00:00:00", "31/02/2015 00:00:00"),
        ("12345", "12345"),
        ("9999-12-31T23:59:59-10:00", "9999-12-31T23:59:59-10:00"),  # the year 10000
    ],
)
def test_halves_of_the_day_fractions_and_what_is_no_time(text: str, expected: str) -> None:
    assert instant(text) == expected


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-10:00", "9" * 30, "31/12/1969 23:00:00", "-5", "٣", ""])
def test_what_is_no_time_of_the_years_1970_to_9999_has_no_microseconds(text: str) -> None:
    assert microseconds(text) is None
    assert microseconds("24/07/2015 16:09:48") == 1_437_754_188_000_000


# --- across files -------------------------------------------------------------------------------------------


def rewritten(path: Path, text: str) -> list[int]:
    path.write_text(text)
    return read_features(path, ["flow_duration"])[1].tolist()


def test_a_flow_keeps_its_identity_through_other_forms_of_its_file(tmp_path: Path) -> None:
    lines = "".join(sample_rows(30, seed=5)).splitlines()
    header, *rows = (line.split(",") for line in lines)
    path = tmp_path / "flows.csv"
    before = rewritten(path, "\n".join(lines))
    order = np.random.default_rng(0).permutation(len(header)).tolist()
    swapped = "\n".join(",".join(row[i] for i in order) for row in (header, *rows))
    assert rewritten(path, swapped) == before
    floats = "\n".join([",".join(header), *(",".join(_as_float(cell) for cell in row) for row in rows)])
    assert floats != "\n".join(lines)
    assert rewritten(path, floats) == before
    iso = "\n".join(lines).replace("01/01/2020 12:00:00 PM", "2020-01-01 12:00:00")
    assert rewritten(path, iso) == before
    fewer = "\n".join(",".join(row[: header.index("Idle Mean")]) for row in (header, *rows))
    assert rewritten(path, fewer) == before
    assert len(set(before)) == 30


def _as_float(cell: str) -> str:
    return f"{cell}.0" if cell.isdigit() else cell


# --- features and rows --------------------------------------------------------------------------------------


def test_equal_features_have_one_hash_with_one_nan_and_one_zero() -> None:
    values = np.array([[0.0, np.nan], [-0.0, -np.nan], [0.0, np.inf], [0.0, 1.0]], np.float32)
    first, second, third, other = feature_hashes(values).tolist()
    assert first == second == third != other


def test_rows_are_hashed_by_8_bytes_of_blake2b_little_endian_in_their_order() -> None:
    hashes = row_hashes([b"1,2.5,Tor", b"b", b"1,2.5,Tor"])
    assert hashes.dtype == np.uint64
    assert int(hashes[0]).to_bytes(8, "little") == hashlib.blake2b(b"1,2.5,Tor", digest_size=8).digest()
    assert hashes[0] == hashes[2] == 0x85E2C85B6B8F31E
    assert row_hashes([]).shape == (0,)


def test_a_fingerprint_is_of_the_set_of_rows_in_any_order() -> None:
    rows = row_hashes([b"a", b"b", b"c"])
    assert fingerprint(rows) == fingerprint(rows[::-1]) == fingerprint(rows.byteswap().view(">u8"))
    assert fingerprint(rows) != fingerprint(rows[:2])
    assert fingerprint(row_hashes([b"a", b"b"])).startswith("7df9b43c3496cb4d")
