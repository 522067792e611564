"""Trees as cascades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etcc_edge.bench.contenders import trees
from etcc_edge.bundle import Bundle
from making import raw_flows


@pytest.mark.parametrize(("name", "classes"), [("small xgboost", 3), ("small xgboost", 2), ("random forest", 3)])
def test_trees_give_the_labels_that_their_library_gives(tiny_bundle: Bundle, name: str, classes: int) -> None:
    pytest.importorskip(trees.TREES[name][0], reason="needs the extra bench")
    raw = raw_flows(60)
    label = (raw[:, 0] * classes / 1001).astype(int)
    fitted = trees.make(name, 0).fit(raw, label)
    root = replace(tiny_bundle.root, labels=tuple("abc"[:classes]), children={})
    bundle = replace(tiny_bundle, root=root, levels=("protocol",))
    result = trees.TreesCascade(bundle, {root.id: fitted}, 1).run(raw)
    assert np.array_equal(result.codes[0], fitted.predict(raw))
    assert result.confidence[0] == pytest.approx(fitted.predict_proba(raw).max(axis=1), abs=1e-6)
