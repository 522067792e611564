"""What a bundle knows of flows: which of them it was trained on, and which labels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F32, I64, U32, U64, Bools, Integers, Text
from etcc_edge.bundle.model import Bundle, TrainedFlows
from etcc_edge.errors import BundleError, FlowsError
from etcc_edge.flows.columns import ColumnFlows
from etcc_edge.flows.identity import feature_hashes
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.services import with_services
from etcc_edge.flows.text.reader import TextBatch
from etcc_edge.flows.truth import read_features, read_labelled


def input_hashes(features: F32) -> U32:
    """uint32 [n]: the lower halves of `feature_hashes`. They take little room, and a false match, of which there is one
    in 100,000 flows or so, calls an unseen flow a twin and no more."""
    return feature_hashes(features).astype(np.uint32)


def trained_flows(identities: U64 | None, features: F32) -> TrainedFlows:
    """What a bundle keeps of the flows that it is trained on, with these identities [n] and features float32 [n, f]."""
    known = np.empty(0, np.uint64) if identities is None else identities
    return TrainedFlows(np.unique(known), np.unique(input_hashes(features)))


@dataclass(frozen=True)
class Seen:
    """Which of n flows a bundle was trained on. ``flows``: bool [n], by their identity, which only means something
    where both sides have one: ``by_identity``. ``twins``: bool [n], another flow with the same features was trained
    on; without identities that may be the flow itself.
    """

    flows: Bools
    twins: Bools
    by_identity: bool

    @property
    def held_back(self) -> Bools:
        """bool [n]: the flow was surely not trained on."""
        return ~self.flows if self.by_identity else ~self.twins


def seen_in_training(bundle: Bundle, identity: U64 | None, features: F32) -> Seen:
    """``identity``: uint64 [n], `flow_hashes`, or None; ``features``: float32 [n, f], the bundle's.

    Raises BundleError where the bundle does not say what it was trained on.
    """
    if bundle.trained is None:
        raise BundleError(
            f"bundle {bundle.name} keeps the flows that it was trained on in an older or newer form, so they are not "
            "known again; train it with this version"
        )
    twins = np.isin(input_hashes(features), bundle.trained.inputs)
    if identity is None or not len(bundle.trained.identities):
        return Seen(np.zeros(len(features), bool), twins, by_identity=False)
    flows = np.isin(identity, bundle.trained.identities)
    return Seen(flows, twins & ~flows, by_identity=True)


@dataclass(frozen=True)
class Flows:
    """What engines are gated on: raw features float32 [n, f], and where they are known the true protocols [n] and
    `learnt_applications` [n]."""

    raw: F32
    protocol: Text | None = None
    application: Text | None = None


def read_flows(source: str | os.PathLike[str] | ColumnFlows[TextBatch], bundle: Bundle) -> Flows:
    """The flows of a file that the bundle was not trained on, with their labels where the file has them; those of an
    open source without.

    A file is read twice, so it cannot be a stream. Raises FlowsError where a feature is absent or there is no such
    flow, BundleError where the bundle does not say what it was trained on.
    """
    labelled = None
    if not isinstance(source, ColumnFlows):
        with contextlib.suppress(FlowsError):
            labelled = read_labelled(source, bundle.features)
    if labelled is None:
        features, identity = read_features(source, bundle.features)
        flows = Flows(features[seen_in_training(bundle, identity, features).held_back])
    else:
        unseen = seen_in_training(bundle, labelled.identity, labelled.features).held_back
        learnt = learnt_applications(bundle, labelled.application, labelled.service)
        flows = Flows(labelled.features[unseen], labelled.protocol[unseen], learnt[unseen])
    if not len(flows.raw):
        name = source.name if isinstance(source, ColumnFlows) else source
        raise FlowsError(f"{name}: holds no flow that bundle {bundle.name} was not trained on; gate on others")
    return flows


def true_applications(bundle: Bundle, application: Text, service: Text) -> Text:
    """The applications [n] that a bundle is to give: of a flow of a service the service's name or `BACKGROUND`, where
    the bundle names services; else ``application``. ``service``: [n], empty for none."""
    if not bundle.services:
        return application
    return with_services(application, service, [own.name for own in bundle.services])


def learnt_applications(bundle: Bundle, application: Text, service: Text) -> Text:
    """The applications [n] that the bundle's networks are to give: none for a flow whose service is named by rule."""
    applications = true_applications(bundle, application, service)
    by_rule = np.isin(applications, [own.name for own in bundle.services])
    learnt: Text = np.where(by_rule, "", applications)
    return learnt


@dataclass(frozen=True)
class Truth:
    """The true labels of n flows as codes of a two-level bundle: int64 [n], -1 for a label that it does not know."""

    protocol: I64  # into the root's labels
    application: I64  # into the vocabulary of the second level
    own: Mapping[str, I64]  # by protocol with a network below: into its labels, -1 for flows of any other protocol
    by_rule: Bools  # the application is the name of a service of the bundle

    @classmethod
    def of(cls, bundle: Bundle, protocol: Text, application: Text) -> Truth:
        """From label texts [n], however they are spelled."""
        codes = codes_of(bundle.root.labels, protocol)
        own = {
            label: np.where(codes == bundle.root.labels.index(label), codes_of(child.labels, application), -1)
            for label, child in bundle.root.children.items()
        }
        by_rule = codes_of(tuple(service.name for service in bundle.services), application) >= 0
        return cls(codes, codes_of(bundle.vocabulary()[1], application), own, by_rule)

    @property
    def counted(self) -> Bools:
        """bool [n]: the flows that count end to end, whose application the network of their true protocol knows, or
        whose service the bundle does."""
        counted: Bools = self.by_rule & (self.protocol >= 0)
        for codes in self.own.values():
            counted |= codes >= 0
        return counted

    def right(self, codes: Integers) -> Bools:
        """bool [n]: both labels, codes [2, n] as in `Result`, are the true ones. Of use where a flow counts: no label
        equals a label that is not known."""
        return np.asarray((codes[0] == self.protocol) & (codes[1] == self.application))
