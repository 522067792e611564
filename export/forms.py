"""Every ONNX file of a bundle, from its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from etcc_edge.arrays import I64
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.seen import learnt_applications, seen_in_training
from etcc_edge.engines.engine import Engine, OpenEngine
from etcc_edge.engines.gate import Drift, compare
from etcc_edge.engines.onnxruntime import open_engine
from etcc_edge.errors import BackendError, EtccError
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.truth import LabelledFlows

from .calibration import sample
from .graph import build_onnx
from .lint import refusals
from .quantize import export_forms


def node_labels(bundle: Bundle, flows: LabelledFlows) -> Iterator[tuple[Node, I64]]:
    """Each network with the label number of every flow, -1 where a flow is not for it."""
    protocol = codes_of(bundle.root.labels, flows.protocol)
    yield bundle.root, protocol
    for label, child in bundle.root.children.items():
        belongs = protocol == bundle.root.labels.index(label)
        yield child, np.where(belongs, codes_of(child.labels, flows.application), -1)


def with_forms(bundle: Bundle, flows: LabelledFlows, train: I64, choosing: I64, test: I64) -> Bundle:
    """The bundle with its ONNX files written anew in every form.

    ``flows`` has the bundle's features in order; the rest are row numbers: ``train`` gives the calibration
    flows, ``choosing`` (validation rows; training rows where there are none) the method, and no flow that
    ``test`` repeats serves either. Raises EtccError where TensorRT would refuse a file that is for it.
    """
    onnx: dict[tuple[str, str], bytes] = {}
    notes: dict[str, Any] = {}
    for node, labels in node_labels(bundle, flows):
        fp32 = build_onnx(node.network, node.scaler.inputs, bundle.weights_of(node)).SerializeToString()
        calibrating = sample(flows.features, labels, flows.hashes(), train, test)
        own = choosing[labels[choosing] >= 0]
        judging = sample(flows.features, labels, flows.hashes(), own if len(own) else train, test, seed=1)
        exported = export_forms(
            fp32,
            node.scaler.transform(flows.features, calibrating.rows),
            node.scaler.transform(flows.features, judging.rows),
        )
        onnx |= {(node.id, form): model for form, model in exported.models.items()}
        notes[node.id] = {**exported.notes, "calibration_fingerprint": calibrating.fingerprint}
    if refusal := next(refusals(onnx), None):
        raise EtccError(f"the exported {refusal}")
    return replace(bundle, onnx=onnx, training={**bundle.training, "quantization": notes})


def with_drift(bundle: Bundle, flows: LabelledFlows, test: I64) -> Bundle:
    """The bundle with each form's drift from fp32 on test rows among its metrics.

    All of it is measured through ONNX Runtime, which computes TensorRT's files in floating point: what is
    rounded is the same, the order of sums is not. What this ONNX Runtime cannot load (1.20 and older: fp16 with
    Q/DQ) is left out.
    """
    forms = sorted({form for _, form in bundle.onnx} - {"fp32"})
    whole = [form for form in forms if all((node.id, form) in bundle.onnx for node in bundle.nodes())]
    learnt = learnt_applications(bundle, flows.application, flows.service)
    drift: dict[str, Any] = {}
    for form in whole:
        try:
            engines = {node.id: open_engine(bundle, node, form) for node in bundle.nodes()}
        except BackendError:
            continue
        comparison = compare(
            bundle,
            lambda node: open_engine(bundle, node, "fp32"),
            _opener(engines),
            flows.features[test],
            flows.protocol[test],
            learnt[test],
        )
        drift[form] = {
            "end_to_end": _figures(comparison.cascade),
            "networks": {name: _figures(figures) for name, figures in comparison.networks.items()},
        }
    return replace(bundle, metrics={**bundle.metrics, "drift": drift})


def _opener(engines: Mapping[str, Engine]) -> OpenEngine:
    return lambda node: engines[node.id]


def _figures(drift: Drift) -> dict[str, float | int | None]:
    return {"flows": drift.flows, "agreement": drift.agreement, "change_points": drift.change}


def rows_by_hash(bundle: Bundle, flows: LabelledFlows) -> tuple[I64, I64]:
    """Rows that the bundle was trained on (validation included), and the others, from the hashes that it keeps."""
    held_back = seen_in_training(bundle, flows.identity, flows.features).held_back
    return np.flatnonzero(~held_back), np.flatnonzero(held_back)
