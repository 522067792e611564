"""The paper's networks as a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from etcc_edge.bench.studies.yardstick import paper_bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.flows.text.reader import FlowFile


def test_the_yardstick_runs_everywhere_and_gives_every_protocol(flows: Path) -> None:
    bundle = paper_bundle()
    assert len(bundle.root.children) == 4
    with FlowFile(flows) as file:
        raw = np.concatenate([batch.features for batch in file.batches(bundle.features)])
    native, routed = (open_cascade(bundle, Choice(name, "fp32", "")).run(raw) for name in ("native", "onnxruntime"))
    assert np.array_equal(native.codes, routed.codes)
    assert set(native.codes[0].tolist()) == {0, 1, 2, 3}
