"""Labelled flows to a bundle: choose the classes, split, fit every network, export, measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import etcc_edge._native as _native
from etcc_edge.arrays import F32, I64
from etcc_edge.bundle.model import Bundle, FlowDefinition, Node, Scaler
from etcc_edge.bundle.network import Network, cost
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.result import to_json
from etcc_edge.evaluation.scores import evaluate, known_figures
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.parity import check_parity, largest_difference
from etcc_edge.export.precisions import with_drift, with_precisions
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.identity import feature_hashes, fingerprint
from etcc_edge.flows.labels import PAPER_APPLICATIONS, codes_of, label_key
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.card import model_card
from etcc_edge.training.distil import teach
from etcc_edge.training.fit import Examples, fit
from etcc_edge.training.networks import network
from etcc_edge.training.recipes import RECIPES, Recipe
from etcc_edge.training.scaling import fit_min_max, fit_quantile
from etcc_edge.training.splits import Split, split
from etcc_edge.training.unknown import conformal_threshold
from etcc_edge.version import __version__

# Fewer flows than these teach and test nothing.
MIN_PROTOCOL_FLOWS = 100
MIN_APPLICATION_FLOWS = 10
MIN_STAGE2_FLOWS = 200

LEVELS = ("protocol", "application")
METHOD_CITATION = (
    "Li, Lu: ETCC: Encrypted Two-Label Classification Using CNN. Security and Communication Networks 2021, 6633250."
)


@dataclass(frozen=True)
class Plan:
    name: str
    recipe: str = "default"
    network: str = "cnn"
    applications: str = "paper"  # or all
    split: str = "random"
    test_share: float = 0.2
    validation: str | None = None  # how the flows that choose epochs and thresholds are split off; None: as test
    leave_one_out: bool = False  # train stage 1 without each protocol in turn, to see how unknown ones are met
    seed: int = 0
    timeout_s: float = 120.0  # of the flows
    citations: tuple[str, ...] = (METHOD_CITATION,)  # that whoever uses the flows or the bundle owes
    license: str = "not stated"  # of the weights
    command: str = ""  # that reproduces the bundle, for the card


def parts_of(flows: LabelledFlows, plan: Plan) -> Split:
    """Which flows train, validate and test by the plan."""
    share = RECIPES[plan.recipe].validation_share
    return split(flows, plan.split, plan.seed, share, plan.validation, plan.test_share)


def train(flows: LabelledFlows, plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Bundle:
    """Trains every network of a bundle and measures it on its test rows; ``tell`` gets a line now and then.

    Raises EtccError where the flows cannot teach two protocols, or an export differs from its network.
    """
    torch.set_num_threads(1)  # networks this small lose more to waiting than they gain by threads
    recipe = RECIPES[plan.recipe]
    if plan.network not in recipe.networks:
        raise EtccError(f"recipe {plan.recipe} has no {plan.network} networks, only {', '.join(recipe.networks)}")
    if not recipe.validation_share and (plan.leave_one_out or plan.validation):
        what = "leaving protocols out needs" if plan.leave_one_out else "could be split off in another way"
        raise EtccError(f"recipe {plan.recipe} keeps no validation flows, which {what}")
    parts = parts_of(flows, plan)
    protocols, left_out = _protocols(flows, parts.train)
    flows, constant = _without_constants(flows, parts.train)
    stages, no_network = _stages(flows, protocols, parts, plan)
    left_out += no_network
    nodes: dict[str, Node] = {}
    weights: dict[str, F32] = {}
    onnx: dict[tuple[str, str], bytes] = {}
    stage_notes: dict[str, Any] = {}
    for stage in stages:
        nodes[stage.protocol], made = _fit_stage(flows, stage, parts, plan, recipe, tell)
        weights |= made.weights
        onnx[stage.id, "fp32"] = made.onnx
        stage_notes[stage.id] = made.notes
    root = replace(nodes.pop(""), children=nodes)
    seen = np.concatenate([parts.train, parts.validation])
    bundle = Bundle(
        name=plan.name,
        levels=LEVELS,
        features=flows.feature_names,
        units=tuple(feature_table()[name].unit for name in flows.feature_names),
        flow_definition=FlowDefinition(flows.dialect.meter, plan.timeout_s, f"trained on a {flows.dialect.name} file"),
        root=root,
        weights=weights,
        onnx=onnx,
        trained_rows=np.sort(flows.hashes[seen]),
        training={
            "command": plan.command,
            "etcc_edge": __version__,
            "torch": torch.__version__,
            "file": flows.name,
            "flows": len(flows),
            "flows_ignored": flows.ignored,
            "fingerprint": fingerprint(flows.hashes),
            "repeated_share": _repeated_share(flows),
            "recipe": plan.recipe,
            "network": plan.network,
            "applications": plan.applications,
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
                "test_fingerprint": fingerprint(flows.hashes[parts.test]),
            },
            "stages": stage_notes,
        },
        metrics={},
        citations=plan.citations,
        license=plan.license,
        model_card="",
    )
    test = parts.test
    tell("writing fp16 and int8")
    bundle = with_precisions(bundle, flows, parts.train, parts.validation, test)
    thresholds = _thresholds(bundle, flows, parts.validation[stages[0].label[parts.validation] >= 0])
    bundle = replace(bundle, root=replace(root, thresholds=thresholds))
    choice = choose("onnxruntime", "fp32")
    evaluation = evaluate(
        bundle,
        lambda part: open_cascade(part, choice),
        flows.features[test],
        flows.protocol[test],
        flows.application[test],
        flows.flow_id[test],
        thresholds.get("fp32"),
    )
    report = to_json(evaluation)
    if plan.leave_one_out:
        report["leave_one_out"] = _leave_one_out(flows, stages[0], parts, plan, recipe, tell)
    measured = with_drift(replace(bundle, metrics={"test": report}), flows, test)
    return replace(measured, model_card=model_card(measured))


@dataclass(frozen=True)
class _Stage:
    id: str
    protocol: str  # empty for the first
    labels: tuple[str, ...]
    label: I64  # of every flow, -1 where it does not belong here


@dataclass(frozen=True)
class _Made:
    weights: dict[str, F32]
    onnx: bytes
    notes: dict[str, Any]


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


def _protocols(flows: LabelledFlows, train: I64) -> tuple[tuple[str, ...], list[str]]:
    """The protocols that are taught, and a clause on each one that is not."""
    taught, left_out = [], []
    in_training = set(flows.protocol[train].tolist())
    for protocol in sorted(set(flows.protocol.tolist())):
        rows = flows.protocol == protocol
        groups = set(flows.group[rows].tolist()) - {""}
        if rows.sum() < MIN_PROTOCOL_FLOWS:
            left_out.append(f"{protocol} has {rows.sum()} flows, fewer than {MIN_PROTOCOL_FLOWS}: no class for it")
        elif len(groups) == 1:
            left_out.append(f"{protocol}'s {rows.sum()} flows come from one capture: no class for it")
        elif protocol not in in_training:
            left_out.append(f"{protocol} has no flow among the training rows: no class for it")
        else:
            taught.append(protocol)
    if len(taught) < 2:
        raise EtccError(f"{flows.name}: fewer than two protocols can be taught ({'; '.join(left_out) or 'one label'})")
    return tuple(taught), left_out


def _stages(
    flows: LabelledFlows, protocols: tuple[str, ...], parts: Split, plan: Plan
) -> tuple[list[_Stage], list[str]]:
    """The first stage and each protocol's, and a clause on each one that cannot be taught."""
    stages = [_Stage("stage1", "", protocols, codes_of(protocols, flows.protocol))]
    left_out = []
    for protocol, node_id in zip(protocols, _node_ids(protocols), strict=True):
        rows = flows.protocol == protocol
        wanted = rows.copy()
        if plan.applications == "paper":
            wanted &= np.array([label_key(name) in PAPER_APPLICATIONS for name in flows.application.tolist()])
        names, counts = np.unique(flows.application[wanted], return_counts=True)
        in_training = set(flows.application[parts.train][wanted[parts.train]].tolist())
        few = [n for n, c in zip(names.tolist(), counts, strict=True) if c < MIN_APPLICATION_FLOWS]
        untaught = sorted(set(names.tolist()) - in_training - set(few))
        labels = tuple(name for name in names.tolist() if name not in (*few, *untaught))
        wanted &= np.isin(flows.application, labels)
        if len(labels) < 2 or wanted.sum() < MIN_STAGE2_FLOWS:
            left_out.append(
                f"{protocol} has {wanted.sum()} flows of applications to teach ({', '.join(labels) or 'none'}): "
                "no application network for it"
                + ("; --applications all teaches the others" if plan.applications == "paper" and not labels else "")
            )
            continue
        left_out += [f"{protocol} {name} has fewer than {MIN_APPLICATION_FLOWS} flows: no class for it" for name in few]
        left_out += [f"{protocol} {name} has no flow among the training rows: no class for it" for name in untaught]
        stages.append(_Stage(node_id, protocol, labels, np.where(wanted, codes_of(labels, flows.application), -1)))
    return stages, left_out


def _node_ids(protocols: tuple[str, ...]) -> list[str]:
    slugs = [re.sub(r"[^a-z0-9]+", "-", protocol.casefold()).strip("-") for protocol in protocols]
    return [
        f"stage2.{slug}" if slug and slugs.count(slug) == 1 else f"stage2.{slug or 'protocol'}.{number}"
        for number, slug in enumerate(slugs)
    ]


def _fit_stage(
    flows: LabelledFlows, stage: _Stage, parts: Split, plan: Plan, recipe: Recipe, tell: Callable[[str], None]
) -> tuple[Node, _Made]:
    def rows_of(part: I64) -> I64:
        return part[stage.label[part] >= 0]

    learn = rows_of(parts.train)
    scaler = _fit_scaler(flows.features[learn], flows.feature_names, recipe)

    def examples(rows: I64) -> Examples:
        return Examples(scaler.transform(flows.features, rows), stage.label[rows])

    lessons = examples(learn)
    if recipe.teacher is not None:
        tell(f"{stage.id}: growing the trees that teach it")
        raw, target = teach(flows.features[learn], stage.label[learn], len(stage.labels), recipe.teacher, plan.seed)
        lessons = Examples(scaler.transform(raw), target.argmax(axis=1), target)

    layers: Network = network(recipe.networks[plan.network], stage.protocol, scaler.inputs, len(stage.labels))
    fitted = fit(
        layers,
        lessons,
        examples(rows_of(parts.validation)),
        len(stage.labels),
        recipe,
        plan.network,
        plan.seed,
        lambda line: tell(f"{stage.id}: {line}"),
    )
    trained = fitted.network.weights()
    model = build_onnx(layers, scaler.inputs, trained).SerializeToString()
    every = scaler.transform(flows.features)
    difference = largest_difference(OnnxRuntimeEngine(model), fitted.network.exact, every)
    check_parity(stage.id, difference, recurrent=any(layer.op == "lstm" for layer in layers))
    spent = cost(layers, scaler.inputs)
    node = Node(stage.id, stage.labels, layers, scaler, fitted.temperature)
    notes = {
        "flows": len(learn),
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "multiply_adds": spent.multiply_adds,
        "parameters": spent.parameters,
        "onnx_difference": difference,
    }
    return node, _Made({f"{stage.id}/{name}": array for name, array in trained.items()}, model, notes)


def _energy(node: Node, model: bytes, raw: F32, rows: I64) -> F32:
    """float32 [m], of the given rows of ``raw``."""
    _, _, energy = _native.decide(OnnxRuntimeEngine(model).run(node.scaler.transform(raw, rows)), node.temperature)
    return energy


def _thresholds(bundle: Bundle, flows: LabelledFlows, validation: I64) -> dict[str, float]:
    """The first stage's, by precision."""
    return {
        precision: round(conformal_threshold(_energy(bundle.root, model, flows.features, validation)), 4)
        for (node, precision), model in bundle.onnx.items()
        if node == bundle.root.id and precision in ("fp32", "fp16", "int8") and len(validation)
    }


def _leave_one_out(
    flows: LabelledFlows, first: _Stage, parts: Split, plan: Plan, recipe: Recipe, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """How a first stage that was never taught one protocol meets the test flows of that protocol, for each that
    leaves validation flows of others."""
    found = {}
    for code, protocol in enumerate(first.labels if len(first.labels) > 2 else ()):
        kept = tuple(label for label in first.labels if label != protocol)
        if not np.isin(flows.protocol[parts.validation], kept).any():
            continue
        rest = replace(first, labels=kept, label=codes_of(kept, flows.protocol))
        node, made = _fit_stage(flows, rest, parts, plan, recipe, _prefixed(tell, f"without {protocol}, "))

        def energy(label: I64, rows: I64, node: Node = node, made: _Made = made) -> F32:
            return _energy(node, made.onnx, flows.features, rows[label[rows] >= 0])

        limit = conformal_threshold(energy(rest.label, parts.validation))
        known = energy(rest.label, parts.test)
        unknown = energy(np.where(first.label == code, code, -1), parts.test)
        figures = known_figures(
            limit, np.concatenate([known, unknown]), np.arange(len(known) + len(unknown)) < len(known)
        )
        found[protocol] = {
            "known": len(known),
            "unknown": len(unknown),
            **{name: getattr(figures, name) for name in ("auroc", "fpr_at_95_tpr", "false_rejection", "detected")},
        }
    return found


def _prefixed(tell: Callable[[str], None], start: str) -> Callable[[str], None]:
    return lambda line: tell(start + line)


def _fit_scaler(raw: F32, names: tuple[str, ...], recipe: Recipe) -> Scaler:
    if recipe.scaling == "min-max":
        return fit_min_max(raw)
    segments = {i: recipe.segments[name] for i, name in enumerate(names) if name in recipe.segments}
    return fit_quantile(raw, segments)


def _repeated_share(flows: LabelledFlows) -> float:
    """Share of the flows whose features, ports aside, another flow has too."""
    kept = [feature_table()[name].family != "port" for name in flows.feature_names]
    _, which, count = np.unique(feature_hashes(flows.features[:, kept]), return_inverse=True, return_counts=True)
    return float(np.mean(count[which] > 1))


def _counts(flows: LabelledFlows) -> dict[str, dict[str, int]]:
    """Flows by protocol and application."""
    table: dict[str, dict[str, int]] = {}
    for protocol in sorted(set(flows.protocol.tolist())):
        names, counts = np.unique(flows.application[flows.protocol == protocol], return_counts=True)
        table[protocol] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return table
