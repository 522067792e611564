"""A record says which flow it is of, its labels and the bundle, in JSON or CSV."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.engines.result import Result
from etcc_edge.serve.addresses import ADDRESS_FORMS, address_form
from etcc_edge.serve.records import FORMATS, RecordFormat

FLOW = [
    "2026-01-02T03:04:05.000006Z",
    "0.500000",
    "10.1.2.3",
    "4000",
    "2001:db8:1:2::3",
    "443",
    "6",
    "1:abc=",
    "3",
    "2",
    "90",
    "7",
    "final",
]


def result(bundle: Bundle) -> Result:
    """Of three flows: VPN and Chat, Tor without application, and none."""
    vocabulary = bundle.vocabulary()
    codes = np.array(
        [[vocabulary[0].index("VPN"), vocabulary[0].index("Tor"), -1], [vocabulary[1].index("Chat"), -1, -1]]
    )
    confidence = np.array([[0.91239, 0.5, np.nan], [0.8, np.nan, np.nan]], np.float32)
    return Result(bundle.levels, vocabulary, codes.astype(np.int32), confidence, confidence)


def records(bundle: Bundle, form: str, labels: Result | None, addresses: str = "full") -> list[dict[str, object]]:
    records = RecordFormat(form, bundle.levels, address_form(addresses, b"key"), community_id=addresses == "full")
    place = None if addresses == "full" else 7
    flow = [cell for i, cell in enumerate(FLOW) if i != place]
    text = (records.header + records.lines([flow] * 3, bundle, labels)).decode()
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    return [json.loads(line) for line in text.splitlines()]


def test_json_has_numbers_names_and_null(tiny_bundle: Bundle) -> None:
    first, second, third = records(tiny_bundle, "jsonl", result(tiny_bundle))
    assert first == {
        "start": "2026-01-02T03:04:05.000006Z",
        "duration_s": 0.5,
        "src_ip": "10.1.2.3",
        "src_port": 4000,
        "dst_ip": "2001:db8:1:2::3",
        "dst_port": 443,
        "ip_protocol": 6,
        "community_id": "1:abc=",
        "fwd_packets": 3,
        "bwd_packets": 2,
        "fwd_bytes": 90,
        "bwd_bytes": 7,
        "verdict": "final",
        "etcc_protocol": "VPN",
        "etcc_protocol_confidence": 0.9124,
        "etcc_application": "Chat",
        "etcc_application_confidence": 0.8,
        "bundle": "tiny",
        "bundle_hash": tiny_bundle.digest()[:16],
    }
    assert (second["etcc_protocol"], second["etcc_application"]) == ("Tor", None)
    assert third["etcc_protocol"] is third["etcc_protocol_confidence"] is None


def test_csv_has_the_same_columns_and_values(tiny_bundle: Bundle) -> None:
    from_json = records(tiny_bundle, "jsonl", result(tiny_bundle))
    for ours, theirs in zip(records(tiny_bundle, "csv", result(tiny_bundle)), from_json, strict=True):
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            cell = ours[name]
            assert cell == (value or "") or float(str(cell)) == value


@pytest.mark.parametrize("form", FORMATS)
def test_flows_that_were_not_labelled_have_empty_labels(tiny_bundle: Bundle, form: str) -> None:
    for record in records(tiny_bundle, form, None):
        assert not record["etcc_protocol"]
        assert not record["etcc_application_confidence"]
        assert record["bundle"] == "tiny"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("addresses", ADDRESS_FORMS[1:])
def test_hidden_addresses_come_without_the_community_id_that_would_tell_them(
    tiny_bundle: Bundle, form: str, addresses: str
) -> None:
    first = records(tiny_bundle, form, result(tiny_bundle), addresses)[0]
    assert "community_id" not in first
    assert "10.1.2.3" not in str(first)


def test_a_prefix_is_the_network() -> None:
    form = address_form("prefix", b"")
    assert (form("10.1.2.3"), form("2001:db8:1:2::3")) == ("10.1.2.0/24", "2001:db8:1::/48")


def test_a_hash_depends_on_the_address_and_the_key_alone() -> None:
    hashed, other = address_form("hashed", b"key"), address_form("hashed", b"other")
    assert hashed("2001:db8::1") == hashed("2001:0db8:0:0:0:0:0:1")
    assert len({hashed("10.0.0.1"), hashed("10.0.0.2"), other("10.0.0.1")}) == 3
    assert len(hashed("10.0.0.1")) == 16
