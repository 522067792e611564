"""A bundle that learns an owner's labelled flows and keeps what it knew.

Each network goes on from its own weights. Half of what it learns from are the owner's flows; the other half are flows
generated from the bundle's prototypes, for which the network's own earlier opinion counts as much as their label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etcc_edge.arrays import F32, I32, I64
from etcc_edge.bundle.model import Bundle, Node, Prototypes, TrainedFlows
from etcc_edge.bundle.network import Network
from etcc_edge.bundle.seen import learnt_applications, seen_in_training, trained_flows
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.engines.onnxruntime import open_engine
from etcc_edge.errors import EtccError
from etcc_edge.evaluation.result import Evaluation, from_json
from etcc_edge.export.forms import with_drift, with_forms
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.labels import codes_of, label_key
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.card import model_card
from etcc_edge.training.confidence import MIN_SESSIONS, Answers, fit_confidence
from etcc_edge.training.fit import Examples, fit, reproducible
from etcc_edge.training.plan import Plan
from etcc_edge.training.prototypes import flows_like, prototypes_for
from etcc_edge.training.recipes import ADAPTING, RECIPES
from etcc_edge.training.splits import Split, split
from etcc_edge.training.stage import FittedStage, Stage, exported, fit_stage, node_ids
from etcc_edge.training.train import record_of, test_figures
from etcc_edge.training.unknown import energy_thresholds

TEST_SHARE = 0.25
VALIDATION_SHARE = 0.15
MIN_STAGE_FLOWS = 200
"""Of a protocol's applications, for a network of their own."""
_REPLAYED = 4000  # generated flows that a network sees, at least
_FEWEST_SESSIONS = 4  # for a split by session


@dataclass(frozen=True)
class Adapted:
    """``before`` and ``after``: the old and the new bundle on the owner's flows that were kept out. ``kept``: on flows
    like the old bundle's own, the share whose two labels are still the same."""

    bundle: Bundle
    before: Evaluation
    after: Evaluation
    kept: float

    @property
    def helped(self) -> bool:
        """The new bundle has both labels right for more of the owner's flows."""
        return (self.after.end_to_end.strict_accuracy or 0) > (self.before.end_to_end.strict_accuracy or 0)

    @property
    def timid(self) -> str:
        """Why it gives far fewer applications than it has right, as a clause; empty where it does not."""
        foreground, record = self.after.foreground, self.bundle.training["adapted_from"]
        if not record["keeps_confidences"] or (foreground.given or 0) >= (foreground.accuracy or 0) / 2:
            return ""
        return (
            f"confidences are mapped as in {record['name']}, whose networks were less often right, so that most "
            f"applications stay empty. Name the captures of sessions enough to fit them anew (--groups; {MIN_SESSIONS} "
            "must validate), or take what is likeliest: infer --min-confidence 0"
        )


def split_kind(flows: LabelledFlows) -> str:
    """The strictest way in which the flows can be split."""
    if len(np.unique(flows.session[flows.session != ""])) >= _FEWEST_SESSIONS:
        return "session"
    return "flow-id" if (flows.flow_id != "").any() else "random"


@reproducible()
def adapt(
    bundle: Bundle,
    flows: LabelledFlows,
    plan: Plan,
    *,
    min_flows: int = 10,
    tell: Callable[[str], None] = lambda _: None,
) -> Adapted:
    """Teaches a bundle labelled flows with its features. Labels that it does not know become classes where at least
    ``min_flows`` training flows have them. Of ``plan`` the name, split, seed and texts count; ``tell`` gets a line now
    and then.

    Raises EtccError for a bundle without prototypes, flows of another meter, and flows that teach no network.
    """
    if bundle.prototypes is None or not len(bundle.prototypes.flows):
        raise EtccError(
            f"bundle {bundle.name} keeps no prototypes of its flows; train it with this version, on ten similar flows "
            "or more of each label"
        )
    if flows.dialect.meter != bundle.flow_definition.meter:
        raise EtccError(
            f"{flows.name}: holds {flows.dialect.meter} flows, and bundle {bundle.name} was trained on "
            f"{bundle.flow_definition.meter}'s"
        )
    recipe = bundle.training.get("recipe", "")  # new networks read what the old ones do
    plan = replace(plan, recipe=recipe if recipe in RECIPES else "default")
    flows = _in_the_words_of(bundle, flows)
    taught = replace(flows, application=learnt_applications(bundle, flows.application, flows.service))
    parts = split(flows, plan.split, plan.seed, VALIDATION_SHARE, test_share=TEST_SHARE)
    stages, left_out = _stages(bundle, taught, parts, min_flows)
    nodes = {node.id: node for node in bundle.nodes()}
    fitted = [
        _go_on(bundle, nodes[stage.id], taught, stage, parts, plan, tell)
        if stage.id in nodes
        else fit_stage(taught, stage, parts, plan, tell)
        for stage in stages
    ]
    tell("writing fp16 and int8, and measuring")
    before = test_figures(bundle, flows, parts.test)
    adapted = _assembled(bundle, taught, plan, parts, fitted, left_out)
    confidence = None
    if plan.validates_by_session:
        confidence = fit_confidence(adapted, flows, Answers.of(adapted, flows, parts.validation))
    adapted = replace(adapted, confidence=confidence or bundle.confidence)
    whole, train = _with_generated(bundle, taught, parts.train, plan.seed)
    adapted = with_forms(adapted, whole, train, parts.validation, parts.test)
    thresholds = energy_thresholds(adapted, flows.features, parts.validation[stages[0].label[parts.validation] >= 0])
    adapted = replace(adapted, root=replace(adapted.root, thresholds=thresholds))
    after = test_figures(adapted, flows, parts.test)
    kept = _agreement(bundle, adapted, plan.seed + 1)
    record = {
        **adapted.training["adapted_from"],
        "before": before["end_to_end"],
        "kept": kept,
        "keeps_confidences": confidence is None and bundle.confidence is not None,
        "seen": _seen(bundle, flows.take(parts.test)),
    }
    adapted = replace(adapted, metrics={"test": after}, training={**adapted.training, "adapted_from": record})
    adapted = with_drift(adapted, flows, parts.test)
    adapted = replace(adapted, model_card=model_card(adapted))
    return Adapted(adapted, from_json(before), from_json(after), kept)


def _seen(bundle: Bundle, flows: LabelledFlows) -> dict[str, Any] | None:
    """How many of the flows the bundle was trained on, for the record; None where it does not say."""
    if bundle.trained is None:
        return None
    seen = seen_in_training(bundle, flows.identity, flows.features)
    return {"flows": int((~seen.held_back).sum()), "by_identity": seen.by_identity}


def _with_generated(bundle: Bundle, flows: LabelledFlows, train: I64, seed: int) -> tuple[LabelledFlows, I64]:
    """The flows, and behind them generated ones like the bundle's own; and the rows that train with those. They
    calibrate what the owner's flows do not reach, such as the network of a protocol that these lack."""
    prototypes = _prototypes(bundle)
    raw, origin = flows_like(prototypes, np.arange(len(prototypes.flows)), _REPLAYED, np.random.default_rng(seed))
    names = np.array(prototypes.labels, np.str_)[origin]
    none: dict[str, Any] = {
        name: np.concatenate([getattr(flows, name), np.full(len(raw), "")])
        for name in ("flow_id", "capture", "session", "service")
    }
    whole = replace(
        flows,
        features=np.concatenate([flows.features, raw]),
        protocol=np.concatenate([flows.protocol, names[:, 0]]),
        application=np.concatenate([flows.application, names[:, 1]]),
        start=np.concatenate([flows.start, np.full(len(raw), -1)]),
        identity=None if flows.identity is None else np.concatenate([flows.identity, feature_hashes(raw)]),
        **none,
    )
    return whole, np.concatenate([train, np.arange(len(flows), len(whole))])


def _in_the_words_of(bundle: Bundle, flows: LabelledFlows) -> LabelledFlows:
    """The flows with their labels spelled as the bundle spells them."""
    words = [{label_key(name): name for name in names} for names in bundle.vocabulary()]
    columns = zip(words, (flows.protocol, flows.application), strict=True)
    spelled = [
        np.array([own.get(label_key(text), text) for text in column.tolist()], np.str_) for own, column in columns
    ]
    return replace(flows, protocol=spelled[0], application=spelled[1])


def _stages(bundle: Bundle, flows: LabelledFlows, parts: Split, min_flows: int) -> tuple[list[Stage], list[str]]:
    """Every network of the new bundle, the root first, and a clause on each label that gets no class."""
    left_out: list[str] = []

    def labels(known: tuple[str, ...], names: list[str], of: str) -> tuple[str, ...]:
        new, counts = np.unique([name for name in names if name not in known], return_counts=True)
        few = [
            f"{of}{name} has fewer than {min_flows} flows to train on ({n}): no class for it"
            for name, n in zip(new, counts, strict=True)
            if n < min_flows
        ]
        left_out.extend(few)
        return (*known, *(str(name) for name, n in zip(new, counts, strict=True) if n >= min_flows))

    root = bundle.root
    protocols = labels(root.labels, flows.protocol[parts.train].tolist(), "")
    stages = [Stage(root.id, "", protocols, codes_of(protocols, flows.protocol))]
    for protocol, new_id in zip(protocols, node_ids(protocols), strict=True):
        child = root.children.get(protocol)
        own = flows.protocol == protocol
        learnt = [name for name in flows.application[parts.train][own[parts.train]].tolist() if name]
        applications = labels(child.labels if child else (), learnt, f"{protocol} ")
        label = np.where(own, codes_of(applications, flows.application), -1)
        if child is None and (len(applications) < 2 or len(learnt) < MIN_STAGE_FLOWS):
            continue
        stages.append(Stage(child.id if child else new_id, protocol, applications, label))
    return stages, left_out


def _go_on(
    bundle: Bundle,
    node: Node,
    flows: LabelledFlows,
    stage: Stage,
    parts: Split,
    plan: Plan,
    tell: Callable[[str], None],
) -> FittedStage:
    """Fits a network further, on the owner's flows and on flows like its own."""
    layers, weights = _widened(node, bundle.weights_of(node), len(stage.labels))
    learn, validate = (part[stage.label[part] >= 0] for part in (parts.train, parts.validation))
    replayed, opinion = _replay(bundle, node, stage, max(_REPLAYED, len(learn)), plan.seed)
    repeats = max(1, round(len(replayed) / max(len(learn), 1)))
    rows = np.repeat(learn, repeats)
    target = np.concatenate([opinion, np.eye(len(stage.labels), dtype=np.float32)[stage.label[rows]]])
    scaled = np.concatenate([node.scaler.transform(replayed), node.scaler.transform(flows.features, rows)])
    fitted = fit(
        layers,
        Examples(scaled, target.argmax(axis=1), target),
        Examples(node.scaler.transform(flows.features, validate), stage.label[validate]),
        len(stage.labels),
        ADAPTING,
        "cnn",
        plan.seed,
        lambda line: tell(f"{stage.id}: {line}"),
        weights,
    )
    if plan.validates_by_session or not len(validate):  # a few sessions fit no temperature
        fitted = replace(fitted, temperature=node.temperature)
    return exported(stage, node.scaler, fitted, flows.features, len(learn))


def _widened(node: Node, weights: dict[str, F32], classes: int) -> tuple[Network, dict[str, F32]]:
    """The node's network with a logit for each of ``classes`` labels; what is new starts at zero weights and below
    every known label."""
    *inner, last = node.network
    if last.op != "dense":
        raise EtccError(f"{node.id} ends in {last}, and only networks that end in dense can be adapted")
    name, new = str(len(inner)), classes - len(node.labels)
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    weights = {
        **weights,
        f"{name}.weight": np.concatenate([weight, np.zeros((new, weight.shape[1]), np.float32)]),
        f"{name}.bias": np.concatenate([bias, np.full(new, bias.min() - 1, np.float32)]),
    }
    return (*inner, replace(last, size=classes)), weights


def _replay(bundle: Bundle, node: Node, stage: Stage, count: int, seed: int) -> tuple[F32, F32]:
    """Generated flows like those that the node learnt from, float32 [m, f], and what it is to keep saying of them,
    [m, classes]: half their label, half its own opinion."""
    prototypes = _prototypes(bundle)
    code = np.array([_code(node, stage, pair) for pair in prototypes.labels], np.int64)
    flows, origin = flows_like(prototypes, np.flatnonzero(code >= 0), count, np.random.default_rng(seed))
    logits = open_engine(bundle, node, "fp32").run(node.scaler.transform(flows)).astype(np.float64)
    chance = np.exp(logits - logits.max(axis=1, keepdims=True))
    target = np.zeros((len(flows), len(stage.labels)), np.float32)
    target[:, : len(node.labels)] = 0.5 * chance / chance.sum(axis=1, keepdims=True)
    target[np.arange(len(flows)), code[origin]] += 0.5
    return flows, target


def _code(node: Node, stage: Stage, pair: tuple[str, str]) -> int:
    """The label number that a node gives a prototype's flows; -1 for what is not for it."""
    protocol, application = pair
    label = application if stage.protocol else protocol
    belongs = not stage.protocol or protocol == stage.protocol
    return node.labels.index(label) if belongs and label in node.labels else -1


def _prototypes(bundle: Bundle) -> Prototypes:
    assert bundle.prototypes is not None
    return bundle.prototypes


def _assembled(
    bundle: Bundle, flows: LabelledFlows, plan: Plan, parts: Split, fitted: list[FittedStage], left_out: list[str]
) -> Bundle:
    """The fitted networks as a bundle, without figures."""
    first, *others = fitted
    seen = np.concatenate([parts.train, parts.validation])
    own = trained_flows(None if flows.identity is None else flows.identity[seen], flows.features[seen])
    before = bundle.trained or TrainedFlows(np.empty(0, np.uint64), np.empty(0, np.uint32))
    taught = {stage.protocol: stage.node.labels for stage in fitted}
    record = record_of(flows, plan, parts, [], left_out, fitted)
    old: dict[str, Any] = {name: bundle.training.get(name) for name in ("file", "flows", "command", "left_out")}
    return replace(
        bundle,
        name=plan.name,
        flow_definition=replace(bundle.flow_definition, view=plan.view or bundle.flow_definition.view),
        root=replace(first.node, children={stage.protocol: stage.node for stage in others}),
        weights={name: array for stage in fitted for name, array in stage.weights.items()},
        onnx={(stage.node.id, "fp32"): stage.onnx for stage in fitted},
        trained=TrainedFlows(
            np.union1d(before.identities, own.identities), np.union1d(before.inputs, own.inputs).astype(np.uint32)
        ),
        prototypes=_joined(_prototypes(bundle), prototypes_for(flows, parts.train, taught, plan.seed)),
        training={**record, "adapted_from": {"name": bundle.name, "digest": bundle.digest(), **old}},
        metrics={},
        model_card="",
        location="",
    )


def _joined(one: Prototypes, other: Prototypes) -> Prototypes:
    return Prototypes(
        one.labels + other.labels,
        np.concatenate([one.flows, other.flows]),
        np.concatenate([one.values, other.values]),
    )


def _agreement(old: Bundle, new: Bundle, seed: int) -> float:
    """The share of flows like the old bundle's own that both give the same labels."""
    prototypes = _prototypes(old)
    flows, _ = flows_like(prototypes, np.arange(len(prototypes.flows)), _REPLAYED, np.random.default_rng(seed))
    choice = choose("onnxruntime", "fp32")
    names = [_named(bundle, open_cascade(bundle, choice).run(flows).codes) for bundle in (old, new)]
    return float(np.mean([one == other for one, other in zip(*names, strict=True)]))


def _named(bundle: Bundle, codes: I32) -> list[tuple[str, ...]]:
    vocabulary = [(*names, "") for names in bundle.vocabulary()]
    return [tuple(names[code] for names, code in zip(vocabulary, row, strict=True)) for row in codes.T.tolist()]
