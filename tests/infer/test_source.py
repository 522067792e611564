"""What flows come from is told apart by its first bytes, and Python takes captures as it takes files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from captures import exchange, pcap

import etcc_edge
from etcc_edge.bundle import Bundle, FlowDefinition, load_bundle
from etcc_edge.errors import FlowsError
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer.source import open_source, pick
from etcc_edge.meter import CaptureSource

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "capture"
    path.write_bytes(pcap(exchange("10.0.0.1", 50_000, "192.0.2.1", 443)))
    return path


def test_first_bytes_tell_a_capture_from_a_file(capture: Path) -> None:
    with open_source(capture) as source:
        assert isinstance(source, CaptureSource)
    with open_source(GENERATED) as source:
        assert isinstance(source, FlowFile)


def test_a_capture_is_cut_as_the_bundle_s_flows_were(capture: Path) -> None:
    with open_source(capture) as source:
        assert isinstance(source, CaptureSource)
        bundle, _ = pick(source, "no-ports")
        assert bundle.name == "no-ports"
        assert (source.profile, source.timeout) == ("darknet2020", 120.0)
    with open_source(capture, profile="cicflowmeter-2021", timeout=15) as source:
        assert isinstance(source, CaptureSource)
        pick(source, "auto")
        assert (source.profile, source.timeout) == ("cicflowmeter-2021", 15)


def test_a_classifier_takes_a_capture_s_path(capture: Path, tiny_bundle: Bundle) -> None:
    ((batch, result),) = etcc_edge.load("default").classify(capture)
    assert batch.column("src_ip") == ["10.0.0.1"]
    assert len(result) == 1
    of_no_profile = replace(tiny_bundle, flow_definition=FlowDefinition("CICFlowMeter", 120.0, profile="2018"))
    with pytest.raises(FlowsError, match="trained on flows of 2018, which cannot be cut from a capture"):
        next(etcc_edge.load(of_no_profile).classify(capture))


def test_read_capture_gives_all_features_or_those_named(capture: Path) -> None:
    (batch,) = etcc_edge.read_capture(capture)
    assert batch.features.shape == (1, 75)
    assert batch.features.dtype == np.float32
    names = load_bundle("default").features
    (own,) = etcc_edge.read_capture(capture, names)
    assert own.names == names
    assert np.array_equal(own.features[0], [batch.features[0, batch.names.index(name)] for name in names])
    with pytest.raises(FlowsError, match="unknown profile"):
        next(etcc_edge.read_capture(capture, profile="none"))
