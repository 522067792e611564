"""Labelled flows to a bundle: choose the classes, split, fit every network, export, measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.model import Bundle, FlowDefinition
from etcc_edge.bundle.seen import trained_flows
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.result import to_json
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.export.forms import with_drift, with_forms
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.identity import feature_hashes, fingerprint
from etcc_edge.flows.services import services_told_by
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.card import model_card
from etcc_edge.training.confidence import Answers, fit_confidence, left_out_figures
from etcc_edge.training.fit import reproducible
from etcc_edge.training.plan import Plan, check_feature_count, check_plan, parts_of
from etcc_edge.training.prototypes import prototypes_for
from etcc_edge.training.splits import Split
from etcc_edge.training.stage import (
    FittedStage,
    check_labels,
    fit_stage,
    stages_of,
    taught_flows,
    taught_protocols,
)
from etcc_edge.training.unknown import energy_thresholds, leave_one_out
from etcc_edge.version import __version__

LEVELS = ("protocol", "application")
_CROSS_FOLDS = 5


@reproducible()
def train(flows: LabelledFlows, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Bundle:
    """Trains every network of a bundle and measures it on its test rows; ``tell`` gets a line now and then.

    Raises EtccError where the plan asks for what its recipe has not, the flows cannot teach two protocols, no bundle
    can hold their labels, an export differs from its network, or TensorRT would refuse a file that is for it.
    """
    check_plan(plan)
    parts = parts_of(flows, plan)
    protocols, no_class = taught_protocols(flows, parts.train)
    flows, constant = _without_constants(flows, parts.train)
    check_feature_count(plan, len(flows.feature_names))
    stages, no_network = stages_of(flows, protocols, parts, plan)
    check_labels(flows.name, stages)
    fitted = [fit_stage(flows, stage, parts, plan, tell) for stage in stages]
    record = record_of(flows, plan, parts, constant, [*no_class, *no_network], fitted)
    bundle = _unmeasured(flows, plan, parts, fitted, record)
    if plan.validates_by_session:
        answers = (
            _left_out_answers(flows, plan, parts, bundle, tell)
            if plan.cross_fit
            else Answers.of(bundle, flows, parts.validation)
        )
        left_out = left_out_figures(bundle, flows, answers)
        bundle = replace(
            bundle,
            confidence=fit_confidence(bundle, flows, answers),
            training={**bundle.training, "left_out_sessions": left_out},
        )
    tell("writing fp16 and int8")
    bundle = with_forms(bundle, flows, parts.train, parts.validation, parts.test)
    known = parts.validation[stages[0].label[parts.validation] >= 0]
    thresholds = energy_thresholds(bundle, flows.features, known)
    bundle = replace(bundle, root=replace(bundle.root, thresholds=thresholds))
    figures = test_figures(bundle, flows, parts.test)
    if plan.leave_one_out:
        figures["leave_one_out"] = leave_one_out(flows, stages[0], parts, plan, tell)
    bundle = with_drift(replace(bundle, metrics={"test": figures}), flows, parts.test)
    return replace(bundle, model_card=model_card(bundle))


def _left_out_answers(
    flows: LabelledFlows, plan: Plan, parts: Split, bundle: Bundle, tell: Callable[[str], None]
) -> Answers:
    """Of networks trained like the bundle's, each without a fold of the sessions, on that fold; the bundle's own test
    rows are left out."""
    answers = []
    for fold in range(_CROSS_FOLDS):
        own = replace(plan, fold=fold, test_share=1 / _CROSS_FOLDS)
        split = parts_of(flows, own)
        protocols, _ = taught_protocols(flows, split.train)
        stages, _ = stages_of(flows, protocols, split, own)

        def told(line: str, fold: int = fold) -> None:
            tell(f"without fold {fold + 1} of {_CROSS_FOLDS}: {line}")

        fitted = [fit_stage(flows, stage, split, own, told) for stage in stages]
        part = _unmeasured(flows, own, split, fitted, {})
        answers.append(Answers.of(part, flows, np.setdiff1d(split.test, parts.test), words=bundle))
    return Answers.joined(answers)


def _without_constants(flows: LabelledFlows, train: I64) -> tuple[LabelledFlows, list[str]]:
    """Without the features that have one value in all training rows: they teach nothing, and no meter need
    supply them."""
    varies = [len(np.unique(column[np.isfinite(column)])) > 1 for column in flows.features[train].T]
    if not any(varies):
        raise EtccError(f"{flows.name}: no feature varies among the training flows")
    names = np.array(flows.feature_names)
    kept = replace(
        flows,
        features=np.ascontiguousarray(flows.features[:, varies]),
        feature_names=tuple(names[varies].tolist()),
    )
    return kept, names[np.logical_not(varies)].tolist()


def _unmeasured(
    flows: LabelledFlows, plan: Plan, parts: Split, fitted: Sequence[FittedStage], record: dict[str, Any]
) -> Bundle:
    """The fitted networks, in fp32 alone and without figures."""
    first, *others = fitted
    weights: dict[str, F32] = {}
    for stage in fitted:
        weights |= stage.weights
    seen = np.concatenate([parts.train, parts.validation])
    taught = {stage.protocol: stage.node.labels for stage in fitted}
    return Bundle(
        name=plan.name,
        levels=LEVELS,
        features=flows.feature_names,
        units=tuple(feature_table()[name].unit for name in flows.feature_names),
        flow_definition=FlowDefinition(
            flows.dialect.meter,
            plan.timeout_s,
            "trained on captures" if flows.profile else f"trained on a {flows.dialect.name} file",
            flows.profile,
            plan.view,
        ),
        root=replace(first.node, children={stage.protocol: stage.node for stage in others}),
        weights=weights,
        onnx={(stage.node.id, "fp32"): stage.onnx for stage in fitted},
        trained=trained_flows(None if flows.identity is None else flows.identity[seen], flows.features[seen]),
        training=record,
        metrics={},
        citations=plan.citations,
        license=plan.license,
        model_card="",
        prototypes=prototypes_for(taught_flows(flows, plan), parts.train, taught, plan.seed),
        services=services_told_by(flows.feature_names) if plan.applications == "services" else (),
    )


def record_of(
    flows: LabelledFlows,
    plan: Plan,
    parts: Split,
    constant: list[str],
    left_out: list[str],
    fitted: Sequence[FittedStage],
) -> dict[str, Any]:
    """How the bundle was made, for its manifest: ``training`` of FORMAT.md."""
    return {
        "command": plan.command,
        "etcc_edge": __version__,
        "torch": torch.__version__,
        "file": flows.name,
        "flows": len(flows),
        "flows_ignored": flows.ignored,
        "sessions": len(set(flows.session.tolist()) - {""}) or None,
        "fingerprint": fingerprint(flows.hashes()),
        "repeated_share": _repeated_share(flows),
        "recipe": plan.recipe,
        "network": plan.network,
        "applications": plan.applications,
        "services": _services(flows) if plan.applications == "services" else {},
        "constant_features": constant,
        "left_out": left_out,
        "labels": _counts(flows),
        "split": {
            "kind": plan.split,
            "validation_kind": plan.validation or plan.split,
            "seed": plan.seed,
            "test_share": plan.test_share,
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
            "dropped": len(parts.dropped),
            "untested": list(parts.untested),
            "cross_fit": plan.cross_fit,
            "test_fingerprint": fingerprint(flows.hashes()[parts.test]),
        },
        "stages": {stage.node.id: stage.notes for stage in fitted},
    }


def test_figures(bundle: Bundle, flows: LabelledFlows, test: I64) -> dict[str, Any]:
    """`evaluate` on the test rows, at fp32, for JSON."""
    choice = choose("onnxruntime", "fp32")
    figures: dict[str, Any] = to_json(
        evaluate(
            bundle,
            lambda part: open_cascade(part, choice),
            flows.features[test],
            flows.protocol[test],
            flows.application[test],
            flows.flow_id[test],
            bundle.root.thresholds.get("fp32"),
            flows.session[test],
            flows.service[test],
            flows.start[test],
        )
    )
    return figures


def _repeated_share(flows: LabelledFlows) -> float:
    """Share of the flows whose features, ports aside, another flow has too."""
    kept = [feature_table()[name].family != "port" for name in flows.feature_names]
    _, which, count = np.unique(feature_hashes(flows.features[:, kept]), return_inverse=True, return_counts=True)
    return float(np.mean(count[which] > 1))


def _services(flows: LabelledFlows) -> dict[str, int]:
    """Flows by service, of those that are one's."""
    names, counts = np.unique(flows.service[flows.service != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _counts(flows: LabelledFlows) -> dict[str, dict[str, int]]:
    """Flows by protocol and application."""
    table: dict[str, dict[str, int]] = {}
    for protocol in sorted(set(flows.protocol.tolist())):
        names, counts = np.unique(flows.application[flows.protocol == protocol], return_counts=True)
        table[protocol] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return table
