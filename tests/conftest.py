"""Fixtures that several rooms use: a tiny bundle with random weights, and where the real flows are."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from etcc_edge.bundle import Bundle, FlowDefinition, Node, TrainedFlows
from etcc_edge.bundle.network import parse_network
from etcc_edge.export.graph import build_onnx
from making import random_weights, unit_scaler

DATA = Path(__file__).parent / "data"
REAL_FLOWS = Path(__file__).parents[2] / "shared" / "data"

# Library to the files that cannot be imported, or can test nothing, without it. The extra `test-all` has them all.
NEEDED = {
    "mkdocs": ("docs/test_site.py",),
    "prometheus_client": ("serve/test_metrics.py",),
    "sklearn": (
        *("bench/laboratory/test_held_out.py", "cli/test_select_features.py", "evaluation/test_metrics.py"),
        "training/test_distil.py",
        *("training/test_selection.py", "training/test_splits.py", "training/test_train.py"),
        *("training/test_card.py", "training/test_confidence.py"),
    ),
    "pyarrow": ("fuzz/test_targets.py", "infer/test_files.py", "infer/test_table.py"),
    "pyspark": ("infer/test_spark.py",),
    "torch": (
        *(
            "bench/contenders/test_torch.py",
            "bench/laboratory/test_held_out.py",
            "bench/studies/test_yardstick.py",
            "engines/test_native.py",
            "export/test_graph.py",
            "export/test_lint.py",
        ),
        *("export/test_forms.py", "export/test_quantize.py", "test_shipped.py"),
        *("training/test_distil.py", "training/test_fit.py", "training/test_train.py"),
    ),
}
ABSENT = [library for library in NEEDED if not find_spec(library)]
collect_ignore = sorted({path for library in ABSENT for path in NEEDED[library]})


def pytest_report_header() -> str:
    """Says what an installation of the extra `test` leaves out."""
    return f"without {', '.join(ABSENT)}: {len(collect_ignore)} test files are left out" if ABSENT else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs the real flows."""
    for item in items:
        if "real_flows" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.fixture(autouse=True)
def no_recommendation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a bench on this machine saved decides no test."""
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "etcc-edge-cache"))


@pytest.fixture(scope="session")
def real_flows() -> Path:
    """The folder of real flows, which the project does not ship."""
    if not REAL_FLOWS.is_dir():
        pytest.skip(f"needs the real flows in {REAL_FLOWS.name}, which lie beside the project, not in it")
    return REAL_FLOWS


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    """An untrained bundle: Tor without applications, VPN and Non-VPN with two and three; six time features."""
    rng = np.random.default_rng(7)
    features = (
        "flow_duration",
        "flow_bytes_per_s",
        "flow_packets_per_s",
        "flow_iat_mean",
        "flow_iat_max",
        "flow_iat_min",
    )
    weights: dict[str, np.ndarray] = {}
    onnx: dict[tuple[str, str], bytes] = {}

    def node(node_id: str, labels: tuple[str, ...], text: str, children: dict[str, Node] | None = None) -> Node:
        network = parse_network([*text.split(", "), f"dense {len(labels)}"])
        own = random_weights(network, len(features), rng, spread=0.3)
        weights.update({f"{node_id}/{name}": array for name, array in own.items()})
        onnx[node_id, "fp32"] = build_onnx(network, len(features), own).SerializeToString()
        return Node(node_id, labels, network, unit_scaler(len(features)), 1.0, children or {})

    children = {
        "Non-VPN": node("stage2.non-vpn", ("Chat", "Email", "FTP"), "conv 4 3, relu, flatten"),
        "VPN": node("stage2.vpn", ("Chat", "Streaming"), "tent 4, conv 4 2, relu, max_pool 2, flatten"),
    }
    root = node("stage1", ("Non-VPN", "Tor", "VPN"), "conv 5 3, relu, flatten", children)
    root = replace(root, thresholds={"fp32": -1.04})
    return Bundle(
        name="tiny",
        levels=("protocol", "application"),
        features=features,
        units=("us", "bytes/s", "packets/s", "us", "us", "us"),
        flow_definition=FlowDefinition("ISCXFlowMeter", 15.0),
        root=root,
        weights=weights,
        onnx=onnx,
        trained=TrainedFlows(np.array([1, 5, 9], np.uint64), np.array([2, 4], np.uint32)),
        training={"command": "none: random weights"},
        metrics={},
        citations=("none",),
        license="Apache-2.0",
        model_card="# tiny\n",
    )
