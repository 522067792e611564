"""Flows of protocols that a bundle was not taught: the threshold that tells them, and how well it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import etcc_edge._native as _native
from etcc_edge.arrays import F32, I64, Bools, Floats
from etcc_edge.bundle.model import Bundle, Node
from etcc_edge.bundle.precision import PRECISIONS
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.evaluation.scores import known_figures
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.plan import Plan
from etcc_edge.training.splits import Split
from etcc_edge.training.stage import Stage, fit_stage

# Of the flows of known protocols, the share that may be called unknown.
FALSE_REJECTION = 0.05


def conformal_threshold(energy: Floats) -> float:
    """The energy that a further flow, exchangeable with these [n], exceeds with a probability of at most
    `FALSE_REJECTION` (split conformal prediction; Vovk, Gammerman, Shafer 2005). The flows must not have taught
    the network. With too few of them for any such bound, the highest energy."""
    ordered = np.sort(energy)
    rank = int(np.ceil((len(ordered) + 1) * (1 - FALSE_REJECTION)))
    return float(ordered[min(rank, len(ordered)) - 1])


def energy_thresholds(bundle: Bundle, raw: F32, rows: I64) -> dict[str, float]:
    """The root's `conformal_threshold` by precision, from the given rows of ``raw`` float32 [n, f]; none without rows.
    A precision's energies are those of the form of the same name."""
    if not len(rows):
        return {}
    models = {precision: bundle.onnx.get((bundle.root.id, precision)) for precision in PRECISIONS}
    return {
        precision: round(conformal_threshold(_energy(bundle.root, model, raw, rows)), 4)
        for precision, model in models.items()
        if model is not None
    }


def leave_one_out(
    flows: LabelledFlows, first: Stage, parts: Split, plan: Plan, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """How a first stage that was never taught one protocol meets the test flows of that protocol, for each that
    leaves validation flows of others."""
    figures = {}
    for code, protocol in enumerate(first.labels if len(first.labels) > 2 else ()):
        kept = tuple(label for label in first.labels if label != protocol)
        if np.isin(flows.protocol[parts.validation], kept).any():
            rest = replace(first, labels=kept, label=codes_of(kept, flows.protocol))
            figures[protocol] = _without(flows, rest, first.label == code, parts, plan, _prefixed(tell, protocol))
    return figures


def _without(
    flows: LabelledFlows, rest: Stage, unknown: Bools, parts: Split, plan: Plan, tell: Callable[[str], None]
) -> dict[str, Any]:
    """What a stage of the other protocols makes of the test flows that are ``unknown`` to it, bool [n]."""
    fitted = fit_stage(flows, rest, parts, plan, tell)

    def energy(part: I64, belongs: Bools) -> F32:
        return _energy(fitted.node, fitted.onnx, flows.features, part[belongs[part]])

    limit = conformal_threshold(energy(parts.validation, rest.label >= 0))
    known, foreign = energy(parts.test, rest.label >= 0), energy(parts.test, unknown)
    figures = known_figures(limit, np.concatenate([known, foreign]), np.arange(len(known) + len(foreign)) < len(known))
    return {
        "known": len(known),
        "unknown": len(foreign),
        **{name: getattr(figures, name) for name in ("auroc", "fpr_at_95_tpr", "false_rejection", "detected")},
    }


def _prefixed(tell: Callable[[str], None], protocol: str) -> Callable[[str], None]:
    return lambda line: tell(f"without {protocol}, {line}")


def _energy(node: Node, model: bytes, raw: F32, rows: I64) -> F32:
    """float32 [m], of the given rows of ``raw``."""
    _, _, energy = _native.decide(OnnxRuntimeEngine(model).run(node.scaler.transform(raw, rows)), node.temperature)
    return energy
