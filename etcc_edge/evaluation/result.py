"""What an evaluation gives, and the same under the keys of its JSON.

Shares and scores are fractions; what was not counted is None. A field's name is its key in `evaluate --json`, in
reports and in a bundle's metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

FIFTH = 0.2  # of the flows, refused for 80 % coverage
# Recalls of a network that gives one label only, but for a few flows.
_KEPT, _LOST = 0.98, 0.02
# Of a field whose own fields have their keys beside it, not below it.
_BESIDE = {"beside": True}

# The parts of the flows, by key. Sizes are of foreground flows, by their least number of packets.
PARTS = {
    "all": "all flows, services by name",
    "foreground": "foreground: flows of no service",
    "file": "all flows, as the file labels them",
    "packets_1": "foreground, fewer than 10 packets",
    "packets_10": "foreground, 10 to 99 packets",
    "packets_100": "foreground, 100 to 999 packets",
    "packets_1000": "foreground, 1,000 packets or more",
}
Interval = list[float]  # low and high end; in its place None where all draws are one: all right, wrong or of one unit
T = TypeVar("T")


@dataclass(frozen=True)
class Bins:
    """Flows by confidence in 15 bins of equal width over [0, 1]; None for a bin without flows."""

    confidence: list[float | None]  # mean of the bin
    accuracy: list[float | None]
    flows: list[int]


@dataclass(frozen=True)
class Curve:
    """What is left when the least sure flows are refused."""

    refused: list[float]  # shares of the flows
    accuracy: list[float | None]  # of the flows left
    confidence: list[float | None]  # of the least sure flow left
    area: float | None  # mean accuracy over all shares


@dataclass(frozen=True)
class Confidence:
    """How far confidences can be relied on."""

    calibration_error: float | None  # mean distance of confidence and accuracy over the bins, weighted by flows
    reliability: Bins
    risk_coverage: Curve
    accuracy_at_80_coverage: float | None  # where the least sure fifth is refused


@dataclass(frozen=True)
class LabelScore:
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Score:
    """How well one network labels the flows whose true label it knows. Its lists are in the order of
    ``labels``."""

    accuracy: float | None
    precision: float | None  # this and the next two: means over the labels that occur
    recall: float | None
    f1: float | None
    flows: int
    labels: list[str]
    support_by_label: list[int]  # flows of each true label
    precision_by_label: list[float | None]
    recall_by_label: list[float | None]
    f1_by_label: list[float | None]
    confusion: list[list[int]]  # flows: a list a true label, by label given, the last for none
    confidence: Confidence = field(metadata=_BESIDE)
    accuracy_interval: Interval | None

    @property
    def by_label(self) -> dict[str, LabelScore]:
        figures = zip(self.precision_by_label, self.recall_by_label, self.f1_by_label, strict=True)
        return {label: LabelScore(*scores) for label, scores in zip(self.labels, figures, strict=True)}

    @property
    def collapsed_to(self) -> str | None:
        """The label that nearly all flows get, whatever their true one; None where the network tells labels apart."""
        recalls = {label: own.recall for label, own in self.by_label.items() if own.recall is not None}
        kept = [label for label, recall in recalls.items() if recall >= _KEPT]
        lost = [label for label, recall in recalls.items() if recall <= _LOST]
        return kept[0] if len(kept) == 1 and lost and len(lost) == len(recalls) - 1 else None

    @property
    def most_frequent(self) -> tuple[str, float] | None:
        """The most frequent true label and its share, which is what always giving it would get right; None where the
        flows have fewer than two labels."""
        if sum(count > 0 for count in self.support_by_label) < 2:
            return None
        most = max(self.support_by_label)
        return self.labels[self.support_by_label.index(most)], most / self.flows

    def support(self, label: str) -> int:
        """Flows whose true label it is."""
        return self.support_by_label[self.labels.index(label)] if label in self.labels else 0


@dataclass(frozen=True)
class Attribution:
    """Where flows end up, as shares that add up to 1."""

    both_right: float | None
    stage1_wrong: float | None  # a wrong protocol that leads to some application, or none given
    stage2_wrong: float | None  # after a right protocol
    no_application_network: float | None  # a wrong protocol that leads to no application


@dataclass(frozen=True)
class EndToEnd:
    """Both labels, over the flows whose two labels the bundle knows."""

    flows: int
    accuracy: float | None  # of both labels
    accuracy_interval: Interval | None
    protocol_accuracy: float | None
    protocol_accuracy_interval: Interval | None
    strict_accuracy: float | None  # of both labels, over all flows
    strict_accuracy_interval: Interval | None
    attribution: Attribution
    confidence: Confidence = field(metadata=_BESIDE)  # of the pair: the product of both


@dataclass(frozen=True)
class Part:
    """Both labels on some of the flows whose two labels the bundle knows. Given is an application whose pair of labels
    is at least as sure as the bundle asks for; one by rule always is."""

    flows: int
    share_of_bytes: float | None  # of all these flows'; this and the next bytes: None where no feature tells them
    protocol_accuracy: float | None
    protocol_accuracy_interval: Interval | None
    accuracy: float | None  # of both labels, given or not
    accuracy_interval: Interval | None
    accuracy_by_bytes: float | None  # each flow weighs its bytes
    calibration_error: float | None  # of the pair
    given: float | None  # share of the flows
    given_share_of_bytes: float | None
    given_accuracy: float | None  # of both labels
    given_accuracy_interval: Interval | None
    strict_accuracy: float | None  # of both labels, where an application that is not given is wrong


@dataclass(frozen=True)
class WindowScore:
    """The application of a host's foreground flows of five minutes, from their evidence summed, against the true one of
    most of it. The host is the source of a flow's first packet; windows do not cross sessions."""

    windows: int
    accuracy: float | None
    accuracy_interval: Interval | None  # whole sessions are drawn anew
    accuracy_of_surer_half: float | None
    mean_confidence: float | None


@dataclass(frozen=True)
class Known:
    """How the energy of the first stage tells flows of protocols that the bundle does not know."""

    threshold: float
    false_rejection: float | None  # share of the flows of known protocols that exceed it
    unknown_flows: int  # flows of other protocols
    detected: float | None  # share of those that exceed it
    auroc: float | None  # this and the next: as `separation` gives them
    fpr_at_95_tpr: float | None


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals were drawn."""

    unit: str  # session where that is known, else flow-id, since flows of one are no independent draws; else flow
    units: int
    resamples: int
    seed: int
    level: float


@dataclass(frozen=True)
class Evaluation:
    """A two-level bundle on n flows."""

    flows: int
    coverage: float | None  # share of the flows whose protocol the bundle knows
    protocol: Score  # over those
    stage2: dict[str, Score]  # by protocol, given the true one, over the flows whose application its network knows
    mean_stage2_accuracy: float | None  # over the protocols: the paper's headline
    mean_stage2_accuracy_interval: Interval | None
    mean_by_application: dict[str, LabelScore]  # over the protocols where it occurs: the paper's Table 8
    end_to_end: EndToEnd
    known: Known | None  # None without a threshold
    least_confidence: float  # of the pair, for an application to be given
    parts: dict[str, Part]  # by `PARTS`
    windows: WindowScore | None  # None where the flows have neither Flow IDs nor times
    bootstrap: Bootstrap

    @property
    def foreground(self) -> Part:
        """The flows of no service."""
        return self.parts.get("foreground", self.parts["all"])


@dataclass(frozen=True)
class FileEvaluation:
    """A bundle on a flows file."""

    made: str = field(compare=False)  # date and time, UTC, ISO 8601
    command: str = field(compare=False)  # that was typed; empty where none was
    file: str
    file_sha256: str  # of its bytes, in hexadecimal
    rows: str  # all, or test: without the flows that a bundle of this evaluation was trained on
    bundle: str
    bundle_digest: str  # `Bundle.digest`
    location: str  # the last two parts of the bundle's path
    network: str | None  # cnn or lstm, where the bundle says so
    backend: str
    precision: str
    flows_ignored: int  # unreadable or without label
    flows_trained_on: int | None  # of the flows scored, by this bundle; None where no identifiers say so
    flows_twins: int | None  # of the others, those with the features of a trained-on flow; None where that is not kept
    scores: Evaluation = field(metadata=_BESIDE)

    def doubts(self) -> list[str]:
        """Why the figures may flatter, a line each."""
        if self.flows_trained_on:
            return [f"bundle {self.bundle} was trained on {self.flows_trained_on} of these flows"]
        if self.flows_twins is None:
            return [f"bundle {self.bundle} does not say in a form of this version which flows it was trained on"]
        if self.flows_trained_on is None and self.flows_twins:
            return [
                f"{self.flows_twins} of these flows have the features of flows that bundle {self.bundle} was trained "
                "on, and may be those"
            ]
        return []


def to_json(value: Any) -> Any:
    """An evaluation, or a part of one, in what JSON has."""
    if isinstance(value, dict):
        return {name: to_json(part) for name, part in value.items()}
    if not is_dataclass(value):
        return value
    keys: dict[str, Any] = {}
    for part in fields(value):
        plain = to_json(getattr(value, part.name))
        keys |= plain if part.metadata.get("beside") else {part.name: plain}
    return keys


def from_json(keys: Mapping[str, Any]) -> Evaluation:
    """The evaluation under its keys, as a bundle's metrics hold it; other keys are left aside. Raises KeyError for one
    that is missing."""
    end = keys["end_to_end"]
    return _read(
        Evaluation,
        keys,
        protocol=_score(keys["protocol"]),
        stage2={name: _score(part) for name, part in keys["stage2"].items()},
        mean_by_application={name: _read(LabelScore, part) for name, part in keys["mean_by_application"].items()},
        end_to_end=_read(
            EndToEnd, end, attribution=_read(Attribution, end["attribution"]), confidence=_confidence(end)
        ),
        known=None if keys["known"] is None else _read(Known, keys["known"]),
        least_confidence=keys.get("least_confidence", 0.0),
        parts={name: _read(Part, part) for name, part in keys.get("parts", {}).items()},
        windows=_read(WindowScore, keys["windows"]) if keys.get("windows") else None,
        bootstrap=_read(Bootstrap, keys["bootstrap"]),
    )


def _score(keys: Mapping[str, Any]) -> Score:
    return _read(Score, keys, confidence=_confidence(keys))


def _confidence(keys: Mapping[str, Any]) -> Confidence:
    bins, curve = _read(Bins, keys["reliability"]), _read(Curve, keys["risk_coverage"])
    return _read(Confidence, keys, reliability=bins, risk_coverage=curve)


def _read(kind: type[T], keys: Mapping[str, Any], **parts: Any) -> T:
    """A dataclass whose fields are the given parts, or else what their keys hold."""
    plain = {part.name: keys[part.name] for part in fields(kind) if part.name not in parts}  # type: ignore[arg-type]
    return kind(**plain, **parts)
