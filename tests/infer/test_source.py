"""What flows come from is told apart by its first bytes, and Python takes captures as it takes files."""

from __future__ import annotations

import csv
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


def test_auto_assumes_flows_seen_inside_and_says_so(capture: Path) -> None:
    for path in (capture, GENERATED):
        with open_source(path) as source:
            bundle, reason = pick(source, "auto")
        assert bundle.name == "default"
        assert "of view inside, assumed as nothing says otherwise" in reason


def test_auto_takes_a_bundle_of_the_view_that_is_asked_for(capture: Path) -> None:
    for path in (capture, GENERATED):
        for view, name in (("inside", "default"), ("wire", "wire")):
            with open_source(path) as source:
                bundle, reason = pick(source, "auto", view)
            assert (bundle.name, bundle.flow_definition.view) == (name, view)
            assert f"of view {view}, as asked for" in reason


def test_a_bundle_of_another_view_than_asked_for_is_refused(capture: Path) -> None:
    with open_source(capture) as source, pytest.raises(FlowsError, match="is of view inside, not wire; leave out one"):
        pick(source, "default", "wire")


def test_python_asks_for_a_view_as_the_command_does() -> None:
    with GENERATED.open(newline="") as file:
        header, *rows = list(csv.reader(file))[:20]
    table = {name: np.array(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)}
    for view, name in (("inside", "default"), ("wire", "wire")):
        given, wanted = etcc_edge.label(table, view=view), etcc_edge.load(name).label_table(table)
        assert all((given[level] == wanted[level]).all() for level in ("etcc_protocol", "etcc_application"))
