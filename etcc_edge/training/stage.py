"""The networks of the cascade: what each is to learn, and its fitting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I64, Text
from etcc_edge.bundle.model import Derived, Node, Scaler
from etcc_edge.bundle.network import Network, cost
from etcc_edge.bundle.store import MAX_LABELS
from etcc_edge.engines.onnxruntime import OnnxRuntimeEngine
from etcc_edge.errors import EtccError
from etcc_edge.export.graph import build_onnx
from etcc_edge.export.parity import check_parity, largest_difference
from etcc_edge.flows.labels import PAPER_APPLICATIONS, codes_of, label_key
from etcc_edge.flows.services import services_told_by, with_services
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.distil import teach
from etcc_edge.training.fit import Examples, Fitted, fit
from etcc_edge.training.networks import network
from etcc_edge.training.plan import Plan
from etcc_edge.training.recipes import RECIPES, Recipe
from etcc_edge.training.scaling import fit_min_max, fit_quantile
from etcc_edge.training.splits import Split

# Fewer flows than these teach and test nothing.
MIN_PROTOCOL_FLOWS = 100
MIN_APPLICATION_FLOWS = 10
MIN_STAGE2_FLOWS = 200


@dataclass(frozen=True)
class Stage:
    """A network to fit: its node's id, its labels, and the label number of every flow [n], -1 where a flow does not
    belong here. ``protocol`` is empty for the first, which tells the protocols."""

    id: str
    protocol: str
    labels: tuple[str, ...]
    label: I64


@dataclass(frozen=True)
class FittedStage:
    """``weights`` as in `Bundle`, ``onnx`` the fp32 file, ``notes`` for the record."""

    protocol: str
    node: Node
    weights: dict[str, F32]
    onnx: bytes
    notes: dict[str, Any]


def taught_protocols(flows: LabelledFlows, train: I64) -> tuple[tuple[str, ...], list[str]]:
    """The protocols that are taught, and a clause on each one that is not. Raises EtccError below two."""
    taught, left_out = [], []
    in_training = set(flows.protocol[train].tolist())
    for protocol in sorted(set(flows.protocol.tolist())):
        rows = flows.protocol == protocol
        sessions = set(flows.session[rows].tolist()) - {""}
        if rows.sum() < MIN_PROTOCOL_FLOWS:
            left_out.append(f"{protocol} has fewer than {MIN_PROTOCOL_FLOWS} flows ({rows.sum()}): no class for it")
        elif len(sessions) == 1:
            left_out.append(f"{protocol}'s {rows.sum()} flows come from one session: no class for it")
        elif protocol not in in_training:
            left_out.append(f"{protocol} has no flow among the training rows: no class for it")
        else:
            taught.append(protocol)
    if len(taught) < 2:
        raise EtccError(
            f"{flows.name}: fewer than two protocols can be taught ({'; '.join(left_out) or 'one label'}); take "
            f"{MIN_PROTOCOL_FLOWS} flows or more of each of two, from several captures"
        )
    return tuple(taught), left_out


def taught_flows(flows: LabelledFlows, plan: Plan) -> LabelledFlows:
    """The flows with the applications that networks learn: none for those of a service that the rule names."""
    if plan.applications != "services":
        return flows
    named = [service.name for service in services_told_by(flows.feature_names)]
    applications = with_services(flows.application, flows.service, named)
    return replace(flows, application=np.where(np.isin(applications, named), "", applications))


def stages_of(
    flows: LabelledFlows, protocols: tuple[str, ...], parts: Split, plan: Plan
) -> tuple[list[Stage], list[str]]:
    """The first stage and each protocol's, and a clause on each network and class that there is none of. Networks of
    applications learn from the flows of no service that the features tell."""
    flows = taught_flows(flows, plan)
    stages = [Stage("stage1", "", protocols, codes_of(protocols, flows.protocol))]
    left_out = []
    for protocol, node_id in zip(protocols, node_ids(protocols), strict=True):
        stage, clauses = _application_stage(flows, protocol, node_id, parts.train, plan.applications)
        stages += [stage] if stage else []
        left_out += clauses
    return stages, left_out


def other_applications(flows: LabelledFlows) -> dict[str, int]:
    """Flows by application that the paper's five are without, of those that some protocol has enough flows of."""
    others: dict[str, int] = {}
    for protocol in np.unique(flows.protocol).tolist():
        own = flows.application[flows.protocol == protocol]
        for name, count in zip(*np.unique(own, return_counts=True), strict=True):
            enough = len(own) >= MIN_PROTOCOL_FLOWS and count >= MIN_APPLICATION_FLOWS
            if enough and label_key(str(name)) not in PAPER_APPLICATIONS:
                others[str(name)] = others.get(str(name), 0) + int(count)
    return others


def check_labels(name: str, stages: Sequence[Stage]) -> None:
    """Raises EtccError for labels of the flows file ``name`` that no bundle can hold."""
    for stage in stages:
        for label in stage.labels:
            if not label.isprintable():
                raise EtccError(
                    f"{name}: label {label!r} holds a character that cannot be printed, so no bundle can hold it; "
                    "mend the label column"
                )
        if len(stage.labels) > MAX_LABELS:
            raise EtccError(f"{name}: {stage.id} would have {len(stage.labels)} labels, more than {MAX_LABELS}")


def _application_stage(
    flows: LabelledFlows, protocol: str, node_id: str, train: I64, applications: str
) -> tuple[Stage | None, list[str]]:
    """The network of a protocol's applications, if they can be taught, and a clause on what is left out."""
    wanted = (flows.protocol == protocol) & (flows.application != "")
    if applications == "paper":
        wanted &= np.array([label_key(name) in PAPER_APPLICATIONS for name in flows.application.tolist()])
    names, counts = np.unique(flows.application[wanted], return_counts=True)
    in_training = set(flows.application[train][wanted[train]].tolist())
    few = [n for n, c in zip(names.tolist(), counts, strict=True) if c < MIN_APPLICATION_FLOWS]
    untaught = sorted(set(names.tolist()) - in_training - set(few))
    labels = tuple(name for name in names.tolist() if name not in (*few, *untaught))
    wanted &= np.isin(flows.application, labels)
    if len(labels) < 2 or wanted.sum() < MIN_STAGE2_FLOWS:
        clause = (
            f"{protocol} has {wanted.sum()} flows of applications to teach ({', '.join(labels) or 'none'}): "
            "no application network for it"
        )
        if applications == "paper" and not labels:
            clause += "; --applications all teaches the others"
        return None, [clause]
    clauses = [f"{protocol} {name} has fewer than {MIN_APPLICATION_FLOWS} flows: no class for it" for name in few]
    clauses += [f"{protocol} {name} has no flow among the training rows: no class for it" for name in untaught]
    return Stage(node_id, protocol, labels, np.where(wanted, codes_of(labels, flows.application), -1)), clauses


def node_ids(protocols: tuple[str, ...]) -> list[str]:
    """An id for the network of each protocol's applications."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", protocol.casefold()).strip("-") for protocol in protocols]
    return [
        f"stage2.{slug}" if slug and slugs.count(slug) == 1 else f"stage2.{slug or 'protocol'}.{number}"
        for number, slug in enumerate(slugs)
    ]


def fit_stage(flows: LabelledFlows, stage: Stage, parts: Split, plan: Plan, tell: Callable[[str], None]) -> FittedStage:
    """Fits a stage on its training rows and exports it; ``tell`` gets a line now and then. Raises EtccError where the
    export differs from the network."""
    recipe = RECIPES[plan.recipe]
    learn, validate = (part[stage.label[part] >= 0] for part in (parts.train, parts.validation))
    scaler = fit_scaler(flows.features[learn], flows.feature_names, recipe)
    weight = session_weights(flows.session[learn], stage.label[learn], recipe.session_power)
    lessons = Examples(scaler.transform(flows.features, learn), stage.label[learn], weight=weight)
    if recipe.teacher is not None:
        tell(f"{stage.id}: growing the trees that teach it")
        inputs = derived_inputs(recipe, flows.feature_names)
        unread = [recipe.segments.get(name) == 0 for name in flows.feature_names]
        features = np.where(unread, np.float32(np.nan), flows.features[learn])
        raw, target = teach(features, stage.label[learn], len(stage.labels), recipe.teacher, plan.seed, inputs)
        # Mixed flows are whole copies of the training flows, in their order.
        copies = None if weight is None else np.tile(weight, len(raw) // len(learn))
        lessons = Examples(scaler.transform(raw), target.argmax(axis=1), target, copies)
    layers: Network = network(recipe.networks[plan.network], stage.protocol, scaler.inputs, len(stage.labels))
    fitted = fit(
        layers,
        lessons,
        Examples(scaler.transform(flows.features, validate), stage.label[validate]),
        len(stage.labels),
        recipe,
        plan.network,
        plan.seed,
        lambda line: tell(f"{stage.id}: {line}"),
    )
    if plan.validates_by_session:
        # A few sessions fit no temperature; confidences are fitted on all networks' answers together.
        fitted = replace(fitted, temperature=1.0)
    return exported(stage, scaler, fitted, flows.features, len(learn))


def exported(stage: Stage, scaler: Scaler, fitted: Fitted, raw: F32, learnt: int) -> FittedStage:
    """A fitted stage with its fp32 file, which is compared with the network on ``raw`` float32 [n, f]. ``learnt``: the
    flows that it learnt from. Raises EtccError where the two differ."""
    layers, weights = fitted.network.layers, fitted.network.weights()
    model = build_onnx(layers, scaler.inputs, weights).SerializeToString()
    difference = largest_difference(OnnxRuntimeEngine(model), fitted.network.exact, scaler.transform(raw))
    check_parity(stage.id, difference, recurrent=any(layer.op == "lstm" for layer in layers))
    work = cost(layers, scaler.inputs)
    return FittedStage(
        protocol=stage.protocol,
        node=Node(stage.id, stage.labels, layers, scaler, fitted.temperature),
        weights={f"{stage.id}/{name}": array for name, array in weights.items()},
        onnx=model,
        notes={
            "flows": learnt,
            "multiply_adds": work.multiply_adds,
            "parameters": work.parameters,
            "onnx_difference": difference,
        },
    )


def session_weights(session: Text, label: I64, power: float = 0.5) -> F32 | None:
    """float32 [n]: a session's n flows of a label weigh n ** ``power`` together, so that no session owns a label; the
    mean over each label is 1. None where no sessions are known."""
    if not (session != "").any():
        return None
    _, of_session = np.unique(session, return_inverse=True)
    _, which, count = np.unique(of_session * (label.max() + 1) + label, return_inverse=True, return_counts=True)
    weight = count[which] ** (power - 1)
    weight /= (np.bincount(label, weight) / np.maximum(np.bincount(label), 1))[label]
    return weight.astype(np.float32)


def fit_scaler(raw: F32, names: tuple[str, ...], recipe: Recipe) -> Scaler:
    """By the recipe, of raw features float32 [n, f] of these names."""
    if recipe.scaling == "min-max":
        return fit_min_max(raw)
    segments = {i: recipe.segments[name] for i, name in enumerate(names) if name in recipe.segments}
    return fit_quantile(raw, segments, derived_inputs(recipe, names))


def derived_inputs(recipe: Recipe, names: tuple[str, ...]) -> list[Derived]:
    """The recipe's derived inputs of features among ``names``."""
    parts = [text.split() for text in recipe.derived]
    return [
        (names.index(first), operation, names.index(second))
        for first, operation, second in parts
        if {first, second} <= set(names)
    ]
