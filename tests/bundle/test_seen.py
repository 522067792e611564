"""What a bundle knows of flows: which applications its networks are to give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etcc_edge.bundle import load_bundle
from etcc_edge.bundle.seen import read_flows
from etcc_edge.flows.truth import read_labelled

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"


def test_a_service_named_by_rule_is_no_application_that_networks_are_measured_by() -> None:
    bundle = load_bundle("default")
    labelled = read_labelled(GENERATED, bundle.features)
    flows = read_flows(GENERATED, bundle)
    assert flows.application is not None
    assert len(flows.raw) == len(labelled)
    by_rule = labelled.service != ""
    assert 0 < by_rule.sum() < len(labelled)
    assert set(flows.application[by_rule].tolist()) == {""}
    np.testing.assert_array_equal(flows.application[~by_rule], labelled.application[~by_rule])
