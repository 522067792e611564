"""Which bundle fits which flows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from etcc_edge.arrays import F32, I64, Bools, Integers, Text
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.store import load_bundle, shipped_bundles
from etcc_edge.errors import FlowsError
from etcc_edge.flows.identity import row_hashes
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.text.reader import OK, FlowFile
from etcc_edge.flows.truth import read_labelled


def pick_bundle(file: FlowFile, wanted: str) -> tuple[Bundle, str]:
    """The bundle to use, and why: the one that is named, or for ``auto`` the first shipped one whose features
    the file has and whose meter wrote it. Raises FlowsError, naming what is missing for each."""
    if wanted != "auto":
        bundle = load_bundle(wanted)
        if lack := file.lack(bundle.features):
            raise FlowsError(f"{file.name}:{file.header.lines}: bundle {bundle.name} needs what the file lacks: {lack}")
        return bundle, "as asked for"
    reasons = []
    for name, path in shipped_bundles().items():
        bundle = load_bundle(path)
        if not (reason := why_bundle_does_not_fit(bundle, file)):
            return bundle, f"the first whose {len(bundle.features)} features the file has"
        reasons.append(f"{name} {reason}")
    raise FlowsError(
        f"{file.name}:{file.header.lines}: no shipped bundle fits this {file.reading.dialect.name} file: "
        f"{'; '.join(reasons)}"
    )


def why_bundle_does_not_fit(bundle: Bundle, file: FlowFile) -> str:
    """Empty where the bundle's meter wrote the file and it has the features."""
    trained, here = bundle.flow_definition.meter, file.reading.dialect.meter
    if trained != here:
        return f"is for {trained}, this file is {here}'s"
    lack = file.lack(bundle.features)
    return f"needs {lack}" if lack else ""


@dataclass(frozen=True)
class Flows:
    """What engines are gated on: raw features float32 [n, f], and true labels [n] where they are known."""

    raw: F32
    protocol: Text | None = None
    application: Text | None = None


def read_flows(path: str | os.PathLike[str], bundle: Bundle) -> Flows:
    """The flows of a file that the bundle was not trained on, with their labels where the file has them.

    The file is read twice, so it cannot be a stream. Raises FlowsError where it lacks a feature or holds no such
    flow.
    """
    try:
        labelled = read_labelled(path, bundle.features)
    except FlowsError:
        parts = [np.empty((0, len(bundle.features)), np.float32)]
        with FlowFile(path) as file:
            for batch in file.batches(bundle.features):
                unseen = ~np.isin(row_hashes(batch.row_bytes()), bundle.trained_rows)
                parts.append(batch.features[unseen & (batch.status == OK)])
        made = Flows(np.concatenate(parts))
    else:
        unseen = ~np.isin(labelled.hashes, bundle.trained_rows)
        made = Flows(labelled.features[unseen], labelled.protocol[unseen], labelled.application[unseen])
    if not len(made.raw):
        raise FlowsError(f"{path}: holds no flow that bundle {bundle.name} was not trained on; gate on others")
    return made


@dataclass(frozen=True)
class Truth:
    """The true labels of n flows as codes of a two-level bundle: int64 [n], -1 for a label that it does not know."""

    protocol: I64  # into the root's labels
    application: I64  # into the vocabulary of the second level
    own: Mapping[str, I64]  # by protocol with a network below: into its labels, -1 for flows of any other protocol

    @classmethod
    def of(cls, bundle: Bundle, protocol: Text, application: Text) -> Truth:
        """From label texts [n], however they are spelled."""
        codes = codes_of(bundle.root.labels, protocol)
        own = {
            label: np.where(codes == bundle.root.labels.index(label), codes_of(child.labels, application), -1)
            for label, child in bundle.root.children.items()
        }
        return cls(codes, codes_of(bundle.vocabulary()[1], application), own)

    @property
    def counted(self) -> Bools:
        """bool [n]: the flows that count end to end, whose application the network of their true protocol knows."""
        counted = np.zeros(len(self.protocol), bool)
        for codes in self.own.values():
            counted |= codes >= 0
        return counted

    def right(self, codes: Integers) -> Bools:
        """bool [n]: both labels, codes [2, n] as in `Result`, are the true ones. Of use where a flow counts: no label
        equals a label that is not known."""
        return np.asarray((codes[0] == self.protocol) & (codes[1] == self.application))
