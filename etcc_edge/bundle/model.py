"""A bundle in memory: what is needed to label flows, and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import etcc_edge._native as _native
from etcc_edge.arrays import F32, I64, U32, U64, Bools
from etcc_edge.bundle.network import Network
from etcc_edge.flows.services import Service, ServiceRule

SCALER_ARRAYS = {
    "sources": np.int64,
    "starts": np.int64,
    "x": np.float32,
    "y": np.float32,
    "missing": np.float32,
    "operations": np.int64,
    "second": np.int64,
}
DERIVED_ARRAYS = ("operations", "second")
OPERATIONS = ("", "*", "/", "-")
"""By their number in a scaler; 0 is none."""

Derived = tuple[int, str, int]
"""A feature by its index, one of `OPERATIONS`, and the second feature."""


def derived(operation: str, first: F32, second: F32) -> F32:
    """``first`` ``operation`` ``second`` [n], rounded once to float32; NaN where it is not finite."""
    with np.errstate(all="ignore"):
        value: F32 = {"*": np.multiply, "/": np.divide, "-": np.subtract}[operation](first, second)
    value[~np.isfinite(value)] = np.nan
    return value


def derived_columns(raw: F32, inputs: Sequence[Derived]) -> F32:
    """float32 [n, inputs] of ``raw`` float32 [n, f]."""
    columns = [derived(operation, raw[:, first], raw[:, second]) for first, operation, second in inputs]
    return np.stack(columns, axis=1) if columns else raw[:, :0]


@dataclass(frozen=True, eq=False)
class Scaler:
    """Raw features to a network's inputs in [0, 1], each by a monotone piecewise-linear map.

    Input i reads feature ``sources[i]`` of the bundle; a feature may serve several inputs or none. A derived input
    reads ``sources[i]`` ``OPERATIONS[operations[i]]`` ``second[i]``, rounded once to float32, and NaN where that is not
    finite. ``operations`` is 0 and ``second`` -1 for the others; both are empty where no input is derived. It owns the
    knots ``starts[i] : starts[i + 1]`` of ``x`` (strictly rising, raw units) and ``y`` (not falling), is
    constant beyond its end knots, and maps NaN to ``missing[i]``. Two knots make min-max scaling, many a
    quantile map. dtypes as in `SCALER_ARRAYS`. Raises ValueError for other knots when first used.
    """

    sources: I64
    starts: I64
    x: F32
    y: F32
    missing: F32
    operations: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    second: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    @cached_property
    def native(self) -> _native.Scaler:
        return _native.Scaler(*self._arrays())

    def __reduce__(self) -> tuple[type[Scaler], tuple[Any, ...]]:
        return Scaler, self._arrays()

    def _arrays(self) -> tuple[Any, ...]:
        return tuple(getattr(self, part) for part in SCALER_ARRAYS)

    @property
    def inputs(self) -> int:
        return len(self.sources)

    def check(self) -> None:
        """Raises ValueError for knots that break the rules above."""
        _ = self.native

    def transform(self, raw: F32, rows: I64 | None = None) -> F32:
        """Inputs float32 [m, inputs] of the given rows of ``raw`` float32 [n, f], in their order; of all without."""
        return self.native.transform(raw, rows)

    def derived(self) -> list[Derived]:
        """The derived inputs, each once."""
        rows = zip(self.sources.tolist(), self.operations.tolist(), self.second.tolist(), strict=False)
        return list(dict.fromkeys((first, OPERATIONS[number], second) for first, number, second in rows if number))

    def value(self, i: int, columns: F32) -> F32:
        """What input i reads of ``columns`` float32 [f, n], before its knots."""
        first: F32 = columns[self.sources[i]]
        if not self.operations.size or not self.operations[i]:
            return first
        return derived(OPERATIONS[self.operations[i]], first, columns[self.second[i]])

    def outside(self, raw: F32) -> Bools:
        """bool [n]: some feature of the row lies beyond the range that the scaler was fitted on. Derived inputs do not
        count."""
        return self.native.outside(raw)


@dataclass(frozen=True)
class Node:
    """One network of the cascade, and the networks that its labels lead to."""

    id: str
    labels: tuple[str, ...]
    network: Network
    scaler: Scaler
    temperature: float = 1.0  # logits are divided by it before the softmax that gives confidences
    children: Mapping[str, Node] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)  # by precision: a higher energy is no known flow's

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """This node and all below it, parents first, with their depth."""
        yield depth, self
        for child in self.children.values():
            yield from child.walk(depth + 1)


VIEWS = {
    "inside": "VPN means flows inside a tunnel, seen on its interface",
    "wire": "VPN means tunnels, seen from outside on the wire",
}
"""Where flows were captured, and what that makes of the label VPN."""


@dataclass(frozen=True)
class FlowDefinition:
    """How the meter cut packets into the flows that a bundle was trained on. ``profile``: of `etcc_edge.meter`, where
    that was the meter; else empty."""

    meter: str
    timeout_s: float
    description: str = ""
    profile: str = ""
    view: str = ""  # one of `VIEWS`; empty: not stated


def logit(confidence: F32) -> F32:
    """Of probabilities; those of 0 and 1 count as a little within."""
    sure = np.clip(confidence, np.float32(1e-6), np.float32(1 - 1e-6))
    exact: F32 = np.log(sure / (1 - sure))
    return exact


@dataclass(frozen=True, eq=False)
class ConfidenceMap:
    """How often labels were right on sessions that taught nothing, by the network's confidence and the flow's size.

    ``packets``: sizes, rising; a flow of so many packets or more is in the next bin, one of an unknown number in the
    first. ``lines``: float32 [levels, bins, 2], slope above 0 and offset: the logit of the confidence becomes
    slope · logit + offset. ``least``: the confidence of both labels, multiplied, that an application is given from on.
    """

    packets: tuple[int, ...]
    lines: F32
    least: float

    def apply(self, confidence: F32, size: F32 | None) -> F32:
        """float32 [levels, n] from the networks' confidences of that shape; ``size`` [n] in packets, None where the
        features do not tell it."""
        place = np.zeros(confidence.shape[1], np.intp)
        if size is not None:
            for least in self.packets:
                place += size >= least
        line = self.lines[:, place]  # [levels, n, 2]
        mapped: F32 = 1 / (1 + np.exp(-(line[..., 0] * logit(confidence) + line[..., 1])))
        return mapped

    def below(self) -> ConfidenceMap:
        """Of the levels below the first."""
        return ConfidenceMap(self.packets, self.lines[1:], self.least)


@dataclass(frozen=True, eq=False)
class TrainedFlows:
    """The flows that the networks have seen, validation flows included, as sorted hashes, each once.

    ``identities``: uint64, `flow_hashes`; empty where the flows had no identifiers. ``inputs``: uint32, `input_hashes`
    over the bundle's features, in order.
    """

    identities: U64
    inputs: U32


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What the training flows were like, without any one of them: p groups of at least `MIN_FLOWS` similar flows with
    equal labels, so that a bundle can learn new flows and keep what it knew.

    ``labels``: protocol and application of each group; the application is empty where the bundle tells none apart.
    ``flows``: int64 [p], flows in the group. ``values``: float32 [p, 3, f], for each of the bundle's features its 10th,
    50th and 90th percentile within the group, each a value that occurred, in a random order, so that a row is no flow
    but one that `MIN_FLOWS` or more repeat; NaN where no flow has a value.
    """

    MIN_FLOWS = 10
    PERCENTILES = (10, 50, 90)

    labels: tuple[tuple[str, str], ...]
    flows: I64
    values: F32


@dataclass(frozen=True)
class Bundle:
    """``weights`` are named ``<node id>/<layer index>.<weight|bias|…>``, as PyTorch shapes them. ``onnx`` is
    keyed by node id and form (`FORMS`). ``trained``: None where the bundle does not say in a way that this version can
    compare."""

    name: str
    levels: tuple[str, ...]
    features: tuple[str, ...]
    units: tuple[str, ...]
    flow_definition: FlowDefinition
    root: Node
    weights: Mapping[str, F32]
    onnx: Mapping[tuple[str, str], bytes]
    trained: TrainedFlows | None
    training: Mapping[str, Any]  # data, split, recipe, seed: how it was made
    metrics: Mapping[str, Any]
    citations: tuple[str, ...]
    license: str
    model_card: str
    confidence: ConfidenceMap | None = None  # None: confidences stay as the networks give them
    services: tuple[Service, ...] = ()  # whose flows get their name as last label, by rule
    location: str = ""
    prototypes: Prototypes | None = None

    def nodes(self) -> Iterator[Node]:
        return (node for _, node in self.root.walk())

    def vocabulary(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each level, each once, in the order of the tree; after the last level's own the services."""
        names: list[dict[str, None]] = [{} for _ in self.levels]
        for depth, node in self.root.walk():
            names[depth].update(dict.fromkeys(node.labels))
        names[-1].update(dict.fromkeys(service.name for service in self.services))
        return tuple(tuple(level) for level in names)

    @property
    def least_confidence(self) -> float:
        """Of both labels, multiplied, for an application to be given unless someone asks for another."""
        return self.confidence.least if self.confidence else 0.0

    @cached_property
    def service_rule(self) -> ServiceRule | None:
        """What finds the flows of its services; None without services."""
        return ServiceRule(self.services, self.features) if self.services else None

    def digest(self) -> str:
        """SHA-256 over everything that runs: weights, ONNX files and scalers."""
        digest = hashlib.sha256(json.dumps([self.levels, self.features]).encode())
        for name, array in sorted(self.weights.items()):
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        for key, model in sorted(self.onnx.items()):
            digest.update("/".join(key).encode() + model)
        for node in self.nodes():
            digest.update(f"{node.id}{node.labels}{node.temperature}".encode())
            for part in SCALER_ARRAYS:
                digest.update(getattr(node.scaler, part).tobytes())
        if self.services:
            digest.update(repr(self.services).encode())
        if self.confidence:
            digest.update(f"{self.confidence.packets}{self.confidence.least}".encode())
            digest.update(self.confidence.lines.tobytes())
        return digest.hexdigest()

    def weights_of(self, node: Node) -> dict[str, F32]:
        """A node's own weights, named ``<layer index>.<weight|bias|…>``."""
        return weights_of(node.id, self.weights)

    def below(self, label: str) -> Bundle:
        """The part that labels flows whose root label is ``label``: its network is the root, and the first level goes.
        Raises KeyError where no network lies below the label."""
        confidence = self.confidence and self.confidence.below()
        return replace(self, root=self.root.children[label], levels=self.levels[1:], confidence=confidence)


def weights_of(node_id: str, weights: Mapping[str, F32]) -> dict[str, F32]:
    """Of a bundle's ``weights``, those of one node, named ``<layer index>.<weight|bias|…>``."""
    prefix = f"{node_id}/"
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
