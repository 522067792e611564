from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np
import pytest

from etcc_edge.flows.features import features
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile, TextBatch

N, SEED = 600, 43  # one whose forward gaps differ by less than rounding


@pytest.fixture(scope="module")
def text() -> str:
    return "".join(sample_rows(N, SEED))


@pytest.fixture(scope="module")
def file(text, tmp_path_factory) -> Iterator[FlowFile]:
    path = tmp_path_factory.mktemp("sample") / "generated.csv"
    path.write_text(text)
    with FlowFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def batch(file) -> TextBatch:
    [batch] = file.batches(
        list(file.reading.columns), [file.column_index("Label"), file.column_index("Label.1")], strict=True
    )
    return batch


@pytest.fixture(scope="module")
def flows(file, batch) -> dict[str, np.ndarray]:
    return dict(zip(file.reading.columns, batch.features.T, strict=True))


def test_one_seed_makes_one_text(text):
    assert "".join(sample_rows(N, SEED)) == text


def test_another_seed_makes_other_flows(text):
    assert "".join(sample_rows(N, SEED + 1)) != text


@pytest.mark.parametrize("n", [0, 1, 8192, 8193])
def test_it_makes_as_many_flows_as_asked_for(n):
    assert sum(block.count("\n") for block in sample_rows(n, 0)) == n + 1


def test_every_flow_id_says_that_it_is_generated(text):
    header, *rows = csv.reader(text.splitlines())
    assert header[0] == "Flow ID"
    assert all(row[0].startswith("generated") for row in rows)


def test_it_has_the_columns_of_cicdarknet2020_in_microseconds(file):
    assert len(file.header.cells) == 85
    assert (file.reading.dialect.name, file.reading.time_unit) == ("cicdarknet2020", "us")
    assert set(file.reading.factors.values()) == {1.0}


def test_every_row_is_readable(file, batch):
    assert len(batch) == N
    assert file.counts.unlabelled == 0


def test_every_flow_has_both_labels(batch):
    assert set(batch.text(0)) == {"Non-VPN", "VPN", "Tor"}
    assert all(batch.text(1))


@pytest.mark.parametrize(
    "of", ["flow_iat", "fwd_iat", "bwd_iat", "packet_length", "fwd_packet_length", "bwd_packet_length"]
)
def test_minimum_mean_and_maximum_are_in_order(flows, of):
    least, mean, most = (flows[f"{of}_{part}"] for part in ("min", "mean", "max"))
    assert (least <= mean).all()
    assert (mean <= most).all()


def test_a_flow_lasts_at_least_as_long_as_its_gaps(flows):
    for way in ("fwd", "bwd"):
        assert (flows[f"{way}_iat_max"] <= flows[f"{way}_iat_total"]).all()
        assert (flows[f"{way}_iat_total"] <= flows["flow_duration"]).all()


def test_rates_are_packets_and_bytes_over_the_duration(flows):
    some = flows["flow_duration"] > 0
    seconds = flows["flow_duration"][some] / 1e6
    packets = (flows["fwd_packets"] + flows["bwd_packets"])[some]
    size = (flows["fwd_packet_length_total"] + flows["bwd_packet_length_total"])[some]
    np.testing.assert_allclose(flows["flow_packets_per_s"][some], packets / seconds, rtol=1e-5)
    np.testing.assert_allclose(flows["flow_bytes_per_s"][some], size / seconds, rtol=1e-5)


def test_flows_without_a_duration_have_no_rate_as_in_real_files(text, flows):
    assert "Infinity" in text
    assert np.isnan(flows["flow_packets_per_s"][flows["flow_duration"] == 0]).all()


def test_nothing_but_rates_is_missing(flows):
    assert {name for name, values in flows.items() if np.isnan(values).any()} <= {
        name for name, feature in features().items() if feature.unit.endswith("/s")
    }
