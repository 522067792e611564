"""How well a bundle labels flows whose labels are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import F32, F64, I64, Bools, Floats, Text
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.seen import Truth, true_applications
from etcc_edge.engines.cascade import answer
from etcc_edge.engines.result import Cascade, Result
from etcc_edge.evaluation.metrics import Confusion, bootstrap, interval, reliability, risk_coverage, separation
from etcc_edge.evaluation.result import (
    FIFTH,
    Attribution,
    Bins,
    Bootstrap,
    Confidence,
    Curve,
    EndToEnd,
    Evaluation,
    Interval,
    Known,
    LabelScore,
    Part,
    Score,
)
from etcc_edge.evaluation.windows import window_score
from etcc_edge.flows.identity import conversation
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.size import packets, payload_bytes

SIZES = (10, 100, 1000)  # packets that part the sizes of flows
REFUSED = np.arange(20) / 20  # shares of the least sure flows, for the curves
RESAMPLES, SEED, LEVEL = 1000, 0, 0.95

# Names of accuracies.
_PROTOCOL = "protocol"
_BOTH = "both labels"
_PROTOCOL_OF_BOTH = "protocol, where both labels are known"
_STRICT = "both labels, of all flows"


class _Accuracy(NamedTuple):
    """bool [n] each: the flows that an accuracy counts, and those where it is right."""

    counted: Bools
    right: Bools

    def share(self) -> float | None:
        return _mean(self.right[self.counted])


def evaluate(
    bundle: Bundle,
    cascade_of: Callable[[Bundle], Cascade],
    raw: F32,
    protocol: Text,
    application: Text,
    flow_id: Text | None = None,
    threshold: float | None = None,
    session: Text | None = None,
    service: Text | None = None,
    start: I64 | None = None,
) -> Evaluation:
    """The figures of a two-level bundle on raw features float32 [n, f] and their true labels [n].

    ``cascade_of`` gives what runs the bundle, and what runs the part below each protocol. Accuracies have intervals,
    for which whole sessions are drawn where ``session`` [n] has some, else Flow IDs of ``flow_id`` [n], else flows.
    ``service`` [n]: of each flow, empty for none; where the bundle names services by rule, the true application.
    ``start`` [n]: microseconds since 1970, -1 where unknown; with it, hosts' windows are scored. ``threshold``: of the
    first stage's energy, beyond which a flow is called unknown.
    """
    result = answer(bundle, cascade_of(bundle), raw)
    of_file = Truth.of(bundle, protocol, application)
    if service is None:
        service = np.full(len(raw), "")
    truth = Truth.of(bundle, protocol, true_applications(bundle, application, service))
    answers: dict[str, Result] = {}  # of each network below, given the true protocol
    for label, codes in truth.own.items():
        if (codes >= 0).any():
            own = codes >= 0
            below = bundle.below(label)
            answers[label] = answer(below, cascade_of(below), raw[own])
    accuracies = _accuracies(truth, result, answers)
    unit, units = _units(session, flow_id, len(raw))
    least = bundle.least_confidence
    given = result.at_least(least).codes[1] >= 0
    octets = payload_bytes(raw, bundle.features)
    size = None if octets is None else np.nan_to_num(octets.astype(np.float64))
    parts = {name: _PartRows(*rows) for name, rows in _parts(bundle, raw, service, truth, of_file).items()}
    for name, part in parts.items():
        accuracies |= part.accuracies(name, result, given)
    windows = None
    if start is not None and flow_id is not None:
        weight = packets(raw, bundle.features)
        windows = window_score(
            result,
            codes_of(bundle.vocabulary()[1], application),
            (service == "") & truth.counted,
            np.ones(len(raw)) if weight is None else weight.astype(np.float64),
            flow_id,
            start,
            np.full(len(raw), "") if session is None else session,
        )
    draws = _draws(accuracies, units)
    limits = {name: _interval(resampled) for name, resampled in draws.items()}
    stage2 = {
        label: _score(bundle.root.children[label].labels, codes[codes >= 0], answers[label], limits[_stage2(label)])
        for label, codes in truth.own.items()
        if label in answers
    }
    means = np.stack([draws[_stage2(label)] for label in stage2], axis=1).mean(axis=1) if stage2 else None
    return Evaluation(
        flows=len(raw),
        coverage=_mean(truth.protocol >= 0),
        protocol=_score(bundle.root.labels, truth.protocol, result, limits[_PROTOCOL]),
        stage2=stage2,
        mean_stage2_accuracy=_mean(np.array([score.accuracy for score in stage2.values()])),
        mean_stage2_accuracy_interval=None if means is None else _interval(means),
        mean_by_application=_by_application(bundle.vocabulary()[1], stage2),
        end_to_end=_end_to_end(bundle, result, accuracies, limits),
        known=None if threshold is None else _known(threshold, result, truth.protocol >= 0),
        least_confidence=least,
        parts={name: _part(name, part, result, given, size, accuracies, limits) for name, part in parts.items()},
        windows=windows,
        bootstrap=Bootstrap(unit, len(np.unique(units)), RESAMPLES, SEED, LEVEL),
    )


class _PartRows(NamedTuple):
    """bool [n]: the flows of a part that count; and their truth."""

    counted: Bools
    truth: Truth

    def accuracies(self, name: str, result: Result, given: Bools) -> dict[str, _Accuracy]:
        right = self.truth.right(result.codes)
        return {
            f"{name} protocol": _Accuracy(self.counted, result.codes[0] == self.truth.protocol),
            f"{name} both": _Accuracy(self.counted, right),
            f"{name} given": _Accuracy(self.counted & given, right),
        }


def _parts(bundle: Bundle, raw: F32, service: Text, truth: Truth, of_file: Truth) -> dict[str, tuple[Bools, Truth]]:
    """The rows of each of `PARTS` that says more than those before it, and their truth."""
    foreground = (service == "") & truth.counted
    parts = {"all": (truth.counted, truth)}
    if (service != "").any():
        parts |= {"foreground": (foreground, truth), "file": (of_file.counted, of_file)}
    if (size := packets(raw, bundle.features)) is not None:
        place = np.searchsorted(SIZES, np.nan_to_num(size), "right")
        parts |= {
            f"packets_{least}": (foreground & (place == number), truth) for number, least in enumerate([1, *SIZES])
        }
    return parts


def _part(
    name: str,
    part: _PartRows,
    result: Result,
    given: Bools,
    size: F64 | None,
    accuracies: Mapping[str, _Accuracy],
    limits: Mapping[str, Interval | None],
) -> Part:
    protocol, both, of_given = (accuracies[f"{name} {what}"] for what in ("protocol", "both", "given"))
    counted, right = part.counted, both.right
    confidence = np.prod(result.confidence[:2, counted], axis=0)
    whole = None if size is None else float(size.sum())

    def by_bytes(rows: Bools, among: float | None) -> float | None:
        return None if size is None or not among else float(size[rows].sum() / among)

    own = None if size is None else float(size[counted].sum())
    return Part(
        flows=int(counted.sum()),
        share_of_bytes=by_bytes(counted, whole),
        protocol_accuracy=protocol.share(),
        protocol_accuracy_interval=limits[f"{name} protocol"],
        accuracy=both.share(),
        accuracy_interval=limits[f"{name} both"],
        accuracy_by_bytes=by_bytes(counted & right, own),
        calibration_error=_confidence(confidence, right[counted]).calibration_error,
        given=_mean(given[counted]),
        given_share_of_bytes=by_bytes(counted & given, own),
        given_accuracy=of_given.share(),
        given_accuracy_interval=limits[f"{name} given"],
        strict_accuracy=_mean((right & given)[counted]),
    )


def _stage2(protocol: str) -> str:
    return f"stage2 {protocol}"


def _accuracies(truth: Truth, result: Result, answers: Mapping[str, Result]) -> dict[str, _Accuracy]:
    """Every accuracy that has an interval, by name."""
    n = len(result)
    protocol_right = result.codes[0] == truth.protocol
    accuracies = {_PROTOCOL: _Accuracy(truth.protocol >= 0, protocol_right)}
    for label, given in answers.items():
        own = truth.own[label] >= 0
        right = np.zeros(n, bool)
        right[own] = given.codes[0] == truth.own[label][own]
        accuracies[_stage2(label)] = _Accuracy(own, right)
    counted, both_right = truth.counted, truth.right(result.codes)
    accuracies[_BOTH] = _Accuracy(counted, both_right)
    accuracies[_PROTOCOL_OF_BOTH] = _Accuracy(counted, protocol_right)
    accuracies[_STRICT] = _Accuracy(np.ones(n, bool), both_right & counted)
    return accuracies


def _draws(accuracies: Mapping[str, _Accuracy], units: I64) -> dict[str, F64]:
    """Each accuracy in every resample."""
    counted, right = (np.stack(columns, axis=1) for columns in zip(*accuracies.values(), strict=True))
    draws = bootstrap(right, counted, units, resamples=RESAMPLES, seed=SEED)
    return dict(zip(accuracies, draws.T, strict=True))


def _end_to_end(
    bundle: Bundle,
    result: Result,
    accuracies: Mapping[str, _Accuracy],
    limits: Mapping[str, Interval | None],
) -> EndToEnd:
    both, protocol = accuracies[_BOTH], accuracies[_PROTOCOL_OF_BOTH]
    leads_on = np.array([label in bundle.root.children for label in bundle.root.labels] + [True])
    lost = ~protocol.right & ~leads_on[result.codes[0]]
    counted = both.counted
    return EndToEnd(
        flows=int(counted.sum()),
        accuracy=both.share(),
        accuracy_interval=limits[_BOTH],
        protocol_accuracy=protocol.share(),
        protocol_accuracy_interval=limits[_PROTOCOL_OF_BOTH],
        strict_accuracy=accuracies[_STRICT].share(),
        strict_accuracy_interval=limits[_STRICT],
        attribution=Attribution(
            both_right=both.share(),
            stage1_wrong=_mean((~protocol.right & ~lost)[counted]),
            stage2_wrong=_mean((protocol.right & ~both.right)[counted]),
            no_application_network=_mean(lost[counted]),
        ),
        confidence=_confidence(np.prod(result.confidence[:2, counted], axis=0), both.right[counted]),
    )


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _interval(draws: F64) -> Interval | None:
    limits = interval(draws, LEVEL)
    return None if limits is None else list(limits)


def _units(session: Text | None, flow_id: Text | None, n: int) -> tuple[str, I64]:
    """The kind of unit that is drawn anew, and each flow's number; a flow that is in none is one by itself."""
    alone = np.arange(n, dtype=np.int64)
    if session is not None and (session != "").any():
        kind, of_flow = "session", session
    elif flow_id is not None and (flow_id != "").any():
        kind, of_flow = "flow-id", np.array([conversation(name) for name in flow_id.tolist()], np.str_)
    else:
        return "flow", alone
    names, which = np.unique(of_flow, return_inverse=True)
    which = np.where(of_flow == "", len(names) + alone, which)
    return kind, np.unique(which, return_inverse=True)[1].astype(np.int64)


def _known(threshold: float, result: Result, of_known_protocol: Bools) -> Known:
    answered = result.codes[0] >= 0
    return known_figures(threshold, result.energy[0][answered], of_known_protocol[answered])


def known_figures(threshold: float, energy: F32, of_known_protocol: Bools) -> Known:
    """From each flow's energy [n] in the first stage, and whether its protocol is one of those trained on [n]."""
    beyond = energy > np.float32(threshold)
    apart = separation(energy[of_known_protocol], energy[~of_known_protocol])
    return Known(
        threshold=threshold,
        false_rejection=_mean(beyond[of_known_protocol]),
        unknown_flows=int((~of_known_protocol).sum()),
        detected=_mean(beyond[~of_known_protocol]),
        auroc=_number(apart["auroc"]),
        fpr_at_95_tpr=_number(apart["fpr_at_95_tpr"]),
    )


def _score(labels: tuple[str, ...], true: I64, result: Result, limits: Interval | None) -> Score:
    """Of a result's first level, over the flows whose true label is known."""
    confusion = Confusion.of(labels, true, result.codes[0])
    means = {name: _number(value) for name, value in confusion.summary().items()}
    known = true >= 0
    return Score(
        accuracy=means["accuracy"],
        precision=means["precision"],
        recall=means["recall"],
        f1=means["f1"],
        flows=int(confusion.support.sum()),
        labels=list(labels),
        support_by_label=confusion.support.tolist(),
        precision_by_label=_numbers(confusion.precision),
        recall_by_label=_numbers(confusion.recall),
        f1_by_label=_numbers(confusion.f1),
        confusion=confusion.counts.tolist(),
        confidence=_confidence(result.confidence[0][known], (result.codes[0] == true)[known]),
        accuracy_interval=limits,
    )


def _confidence(confidence: F32, right: Bools) -> Confidence:
    """Of confidences [n], NaN without label, and whether the labels are right [n]."""
    answered = ~np.isnan(confidence)
    bins = reliability(confidence[answered], right[answered])
    left = risk_coverage(confidence, right, 1 - REFUSED)
    curve = Curve(REFUSED.tolist(), _numbers(left.accuracy), _numbers(left.confidence), _number(left.area))
    return Confidence(
        calibration_error=_number(bins.error),
        reliability=Bins(_numbers(bins.confidence), _numbers(bins.accuracy), bins.flows.tolist()),
        risk_coverage=curve,
        accuracy_at_80_coverage=curve.accuracy[curve.refused.index(FIFTH)],
    )


def _by_application(applications: tuple[str, ...], stage2: Mapping[str, Score]) -> dict[str, LabelScore]:
    """Each application's mean figures over the protocols where it occurs."""
    table = {}
    for application in applications:
        own = [score.by_label[application] for score in stage2.values() if score.support(application)]
        table[application] = LabelScore(
            precision=_mean(np.array([score.precision for score in own])),
            recall=_mean(np.array([score.recall for score in own])),
            f1=_mean(np.array([score.f1 for score in own])),
        )
    return table
