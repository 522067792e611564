"""Trees as cascades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etcc_edge.bench.contenders import trees
from etcc_edge.bundle import Bundle
from making import labelled_flows, raw_flows


@pytest.mark.parametrize(("name", "classes"), [("small xgboost", 3), ("small xgboost", 2), ("random forest", 3)])
def test_trees_give_the_labels_that_their_library_gives(tiny_bundle: Bundle, name: str, classes: int) -> None:
    pytest.importorskip(trees.TREES[name][0], reason="needs the extra bench")
    raw = raw_flows(60)
    label = (raw[:, 0] * classes / 1001).astype(int)
    fitted = trees.make(name, 0).fit(raw, label)
    root = replace(tiny_bundle.root, labels=tuple("abc"[:classes]), children={})
    bundle = replace(tiny_bundle, root=root, levels=("protocol",))
    result = trees.TreesCascade(bundle, {root.id: trees.Tree(fitted, np.arange(classes))}, 1).run(raw)
    assert np.array_equal(result.codes[0], fitted.predict(raw))
    assert result.confidence[0] == pytest.approx(fitted.predict_proba(raw).max(axis=1), abs=1e-6)


@pytest.mark.parametrize("name", ["small xgboost", "random forest"])
def test_trees_are_fitted_on_the_labels_that_the_flows_have(tiny_bundle: Bundle, name: str) -> None:
    pytest.importorskip(trees.TREES[name][0], reason="needs the extra bench")
    raw = raw_flows(60)
    protocol = np.where(raw[:, 0] > np.median(raw[:, 0]), "VPN", "Non-VPN")  # no Tor
    application = np.where(raw[:, 1] > np.median(raw[:, 1]), "Chat", np.where(protocol == "VPN", "Streaming", "FTP"))
    flows = labelled_flows(tiny_bundle.features, raw, protocol=protocol, application=application)
    fitted = trees.fit_trees(tiny_bundle, flows, np.arange(60), name, seed=0)
    assert {node: [*tree.labels] for node, tree in fitted.items()} == {
        "stage1": [0, 2],
        "stage2.non-vpn": [0, 2],
        "stage2.vpn": [0, 1],
    }
    result = trees.TreesCascade(tiny_bundle, fitted, 1).run(raw)
    assert np.mean(np.array(result.labels("protocol")) == protocol) > 0.9
    assert np.mean(np.array(result.labels("application")) == application) > 0.8
