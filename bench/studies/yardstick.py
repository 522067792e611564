"""The paper's five CNNs, untrained, as a bundle to measure: ``python -m etcc_edge.bench.studies.yardstick OUT.zip``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

from etcc_edge.arrays import F32
from etcc_edge.bundle import Bundle, FlowDefinition, Node, Scaler, TrainedFlows, load_bundle, save_bundle
from etcc_edge.bundle.network import Network, parameter_shapes
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import EtccError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.quantize import export_forms
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.training.networks import PAPER, network

PROTOCOLS = ("Tor", "Non-Tor", "VPN", "Non-VPN")
APPLICATIONS = ("Audio-Streaming", "Chat", "Email", "File-Transfer", "Video-Streaming")
INPUTS = 41
_FLOWS = 4096


def paper_bundle(seed: int = 0) -> Bundle:
    """The paper's networks with random weights, over the quantiles of 41 features of generated flows; the last biases
    of stage 1 are such that generated flows get every protocol."""
    rng = np.random.default_rng(seed)
    features = load_bundle("default").features[:INPUTS]
    units = load_bundle("default").units[:INPUTS]
    raw = _generated(features, seed)
    scaler = _quantiles(raw)
    weights: dict[str, F32] = {}
    onnx: dict[tuple[str, str], bytes] = {}

    def node(node_id: str, layers: Network, labels: tuple[str, ...], children: dict[str, Node]) -> Node:
        own = {
            name: rng.normal(0, np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1, shape).astype(np.float32)
            for name, shape in parameter_shapes(layers, INPUTS).items()
        }
        if children:
            engine = OnnxRuntimeEngine(build_onnx(layers, INPUTS, own).SerializeToString())
            last = f"{len(layers) - 1}.bias"
            own[last] -= np.median(engine.run(scaler.transform(raw)), axis=0)
        weights.update({f"{node_id}/{name}": array for name, array in own.items()})
        fp32 = build_onnx(layers, INPUTS, own).SerializeToString()
        exported = export_forms(fp32, *np.array_split(scaler.transform(raw), 2))
        onnx.update({(node_id, form): data for form, data in exported.models.items()})
        return Node(node_id, labels, layers, scaler, 1.0, children)

    children = {
        name: node(f"stage2.{name.lower()}", network(PAPER["cnn"], name, INPUTS, len(APPLICATIONS)), APPLICATIONS, {})
        for name in PROTOCOLS
    }
    return Bundle(
        name="paper-cnns-untrained",
        levels=("protocol", "application"),
        features=features,
        units=units,
        flow_definition=FlowDefinition("CICFlowMeter", 120.0),
        root=node("stage1", network(PAPER["cnn"], "", INPUTS, len(PROTOCOLS)), PROTOCOLS, children),
        weights=weights,
        onnx=onnx,
        trained=TrainedFlows(np.zeros(0, np.uint64), np.zeros(0, np.uint32)),
        training={"command": "python -m etcc_edge.bench.studies.yardstick"},
        metrics={},
        citations=("Li, Lu: ETCC. Security and Communication Networks 2021, 6633250.",),
        license="none: random weights",
        model_card="# The paper's CNNs with random weights: for measuring speed, not for labels\n",
    )


def _generated(features: tuple[str, ...], seed: int) -> F32:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flows.csv"
        path.write_text("".join(sample_rows(_FLOWS, seed)))
        with FlowFile(path) as file:
            return np.concatenate([batch.features for batch in file.batches(features)])


def _quantiles(raw: F32) -> Scaler:
    """Each feature to its quantile, by up to 17 knots."""
    knots = [np.unique(np.nanquantile(column, np.linspace(0, 1, 17)).astype(np.float32)) for column in raw.T]
    knots = [x if len(x) > 1 else np.array([x[0], x[0] + 1], np.float32) for x in knots]
    starts = np.cumsum([0, *map(len, knots)]).astype(np.int64)
    y = np.concatenate([np.linspace(0, 1, len(x), dtype=np.float32) for x in knots])
    missing = np.full(len(knots), 0.5, np.float32)
    return Scaler(np.arange(len(knots), dtype=np.int64), starts, np.concatenate(knots), y, missing)


@click.command()
@click.argument("bundle")
def main(bundle: str) -> None:
    """Write the paper's CNNs with random weights as BUNDLE, a folder or a name ending in .zip.

    \b
    Example:
      python -m etcc_edge.bench.studies.yardstick paper.zip && etcc-edge bench --bundle paper.zip
    """
    try:
        save_bundle(paper_bundle(), Path(bundle))
    except EtccError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m etcc_edge.bench.studies.yardstick")
