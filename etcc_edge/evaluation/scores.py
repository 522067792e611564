"""How well a bundle labels flows whose labels are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from etcc_edge.arrays import F32, F64, I64, Bools, Floats, Text
from etcc_edge.bundle.model import Bundle
from etcc_edge.engines.result import Cascade, Result
from etcc_edge.evaluation.metrics import Confusion, bootstrap, interval, reliability, risk_coverage, separation
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.truth import conversation

REFUSED = np.arange(20) / 20  # shares of the least sure flows, for the curves
RESAMPLES, SEED, LEVEL = 1000, 0, 0.95


def evaluate(
    bundle: Bundle,
    open_cascade: Callable[[Bundle], Cascade],
    raw: F32,
    protocol: Text,
    application: Text,
    flow_id: Text | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """The figures of a two-level bundle on raw features [n, f] and their true labels [n], for JSON.

    All figures are fractions; what was not counted is None. The keys:

    ``flows``, and ``coverage``, the share of them whose protocol the bundle knows.

    ``protocol`` (over those flows) and ``stage2.<protocol>`` (given the true protocol, over the flows whose
    application its network knows) each have ``flows``, ``accuracy``, ``precision``, ``recall`` and ``f1``
    (means over the labels that occur), ``labels``, ``support_by_label``, ``precision_by_label``,
    ``recall_by_label``, ``f1_by_label``, and ``confusion``: flows by true label, one list each, and label given,
    the last for none.

    ``mean_stage2_accuracy`` is the mean over the protocols, ``mean_by_application.<label>.precision|recall|f1``
    that of a label over the protocols where it occurs (the paper's headline and its Table 8).

    ``end_to_end`` is over ``flows`` whose two labels the bundle knows: ``accuracy`` wants both right,
    ``protocol_accuracy`` the protocol, and ``strict_accuracy`` both, over all flows. ``attribution`` parts its
    flows: ``both_right``; ``stage2_wrong`` after a right protocol; ``no_application_network``, a wrong
    protocol that leads to no application; ``stage1_wrong``, any other wrong protocol.

    ``protocol``, ``stage2.<protocol>`` and ``end_to_end`` (whose confidence is that of the pair, the product)
    also have ``calibration_error``; ``reliability.confidence|accuracy|flows``, in 15 equal-width bins of
    confidence; ``risk_coverage.refused|accuracy|confidence``, the accuracy over the flows left when that share of
    them, the least sure, is refused, and the least confidence left, with ``risk_coverage.area``, the mean
    accuracy over all shares; and ``accuracy_at_80_coverage``, where a fifth is refused.

    ``known``, where the energy ``threshold`` of the first stage is given: ``threshold``; ``false_rejection``, the
    share of the flows of known protocols that exceed it; and over the flows of ``unknown_flows`` other
    protocols ``detected``, the share that exceeds it, and how the energy parts the two, ``auroc`` and
    ``fpr_at_95_tpr`` (`separation`).

    Every ``…accuracy`` has an ``…accuracy_interval``, [low, high], by ``bootstrap``: its ``level``,
    ``resamples``, ``seed``, and the ``unit`` drawn, of which there are ``units``: ``flow-id`` where
    ``flow_id`` [n] tells some flows (flows of one Flow ID, in either direction, are no independent draws), else
    ``flow``. It is None where all draws are one: all flows right or wrong, or of one unit.
    """
    empty = np.asarray(np.isnan(raw).all(axis=1))  # `Classifier` gives them no label either
    result = open_cascade(bundle).run(raw).without(empty)
    true_protocol = codes_of(bundle.root.labels, protocol)
    true_application = codes_of(bundle.vocabulary()[1], application)
    protocol_right = result.codes[0] == true_protocol
    both_right = protocol_right & (result.codes[1] == true_application)
    both_known = np.zeros(len(raw), bool)
    stage2 = {}
    # What each accuracy counts, and where it is right.
    counted, right = [true_protocol >= 0], [protocol_right]
    for label, child in bundle.root.children.items():
        true = codes_of(child.labels, application)
        rows = (true_protocol == bundle.root.labels.index(label)) & (true >= 0)
        both_known |= rows
        if rows.any():
            given = open_cascade(bundle.below(label)).run(raw[rows]).without(empty[rows])
            stage2[label] = _figures(child.labels, true[rows], given)
            counted.append(rows)
            right.append(np.zeros(len(raw), bool))
            right[-1][rows] = given.codes[0] == true[rows]
    counted += [both_known, both_known, np.ones(len(raw), bool)]
    right += [both_right, protocol_right, both_right & both_known]
    unit, units = _units(flow_id, len(raw))
    draws = bootstrap(np.stack(right, 1), np.stack(counted, 1), units, resamples=RESAMPLES, seed=SEED)
    protocol_range, *stage2_ranges, both_range, known_range, strict_range = map(_interval, draws.T)
    for figures, limits in zip(stage2.values(), stage2_ranges, strict=True):
        figures["accuracy_interval"] = limits
    leads_on = np.array([label in bundle.root.children for label in bundle.root.labels] + [True])
    lost = ~protocol_right & ~leads_on[result.codes[0]]
    return {
        "flows": len(raw),
        "coverage": _mean(true_protocol >= 0),
        "protocol": {
            **_figures(bundle.root.labels, true_protocol, result),
            "accuracy_interval": protocol_range,
        },
        "stage2": stage2,
        "mean_stage2_accuracy": _mean(np.array([figures["accuracy"] for figures in stage2.values()])),
        "mean_stage2_accuracy_interval": _interval(draws[:, 1 : 1 + len(stage2)].mean(axis=1)) if stage2 else None,
        "mean_by_application": _by_application(bundle.vocabulary()[1], stage2),
        "end_to_end": {
            "flows": int(both_known.sum()),
            "accuracy": _mean(both_right[both_known]),
            "accuracy_interval": both_range,
            "protocol_accuracy": _mean(protocol_right[both_known]),
            "protocol_accuracy_interval": known_range,
            "strict_accuracy": _mean(both_right & both_known),
            "strict_accuracy_interval": strict_range,
            "attribution": {
                "both_right": _mean(both_right[both_known]),
                "stage1_wrong": _mean((~protocol_right & ~lost)[both_known]),
                "stage2_wrong": _mean((protocol_right & ~both_right)[both_known]),
                "no_application_network": _mean(lost[both_known]),
            },
            **_confidence_figures(np.prod(result.confidence[:2, both_known], axis=0), both_right[both_known]),
        },
        "known": None if threshold is None else _known(threshold, result, true_protocol >= 0),
        "bootstrap": {
            "unit": unit,
            "units": len(np.unique(units)),
            "resamples": RESAMPLES,
            "seed": SEED,
            "level": LEVEL,
        },
    }


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _interval(draws: F64) -> list[float] | None:
    limits = interval(draws, LEVEL)
    return None if limits is None else list(limits)


def _units(flow_id: Text | None, n: int) -> tuple[str, I64]:
    """The kind of unit that is drawn anew, and each flow's number; a flow without Flow ID is one by itself."""
    alone = np.arange(n, dtype=np.int64)
    if flow_id is None or not (flow_id != "").any():
        return "flow", alone
    names, which = np.unique([conversation(name) for name in flow_id.tolist()], return_inverse=True)
    which = np.where(flow_id == "", len(names) + alone, which)
    return "flow-id", np.unique(which, return_inverse=True)[1].astype(np.int64)


def _known(threshold: float, result: Result, of_known_protocol: Bools) -> dict[str, Any]:
    answered = result.codes[0] >= 0
    return known_figures(threshold, result.energy[0][answered], of_known_protocol[answered])


def known_figures(threshold: float, energy: F32, of_known_protocol: Bools) -> dict[str, Any]:
    """The figures of `evaluate`'s key ``known``, from each flow's energy [n] in the first stage and whether its
    protocol is one of the taught [n]."""
    beyond = energy > np.float32(threshold)
    return {
        "threshold": threshold,
        "false_rejection": _mean(beyond[of_known_protocol]),
        "unknown_flows": int((~of_known_protocol).sum()),
        "detected": _mean(beyond[~of_known_protocol]),
        **{
            name: _number(value)
            for name, value in separation(energy[of_known_protocol], energy[~of_known_protocol]).items()
        },
    }


def _figures(labels: tuple[str, ...], true: I64, result: Result) -> dict[str, Any]:
    """The figures of a result's first level, over the flows whose true label is known."""
    confusion = Confusion.of(labels, true, result.codes[0])
    known = true >= 0
    return {
        **{name: _number(value) for name, value in confusion.summary().items()},
        "flows": int(confusion.support.sum()),
        "labels": list(labels),
        "support_by_label": confusion.support.tolist(),
        "precision_by_label": _numbers(confusion.precision),
        "recall_by_label": _numbers(confusion.recall),
        "f1_by_label": _numbers(confusion.f1),
        "confusion": confusion.counts.tolist(),
        **_confidence_figures(result.confidence[0][known], (result.codes[0] == true)[known]),
    }


def _confidence_figures(confidence: F32, right: Bools) -> dict[str, Any]:
    """How far confidences [n] can be relied on; those of flows without label are NaN."""
    answered = ~np.isnan(confidence)
    bins = reliability(confidence[answered], right[answered])
    curve = risk_coverage(confidence, right, 1 - REFUSED)
    return {
        "calibration_error": _number(bins.error),
        "reliability": {
            "confidence": _numbers(bins.confidence),
            "accuracy": _numbers(bins.accuracy),
            "flows": bins.flows.tolist(),
        },
        "risk_coverage": {
            "refused": REFUSED.tolist(),
            "accuracy": _numbers(curve.accuracy),
            "confidence": _numbers(curve.confidence),
            "area": _number(curve.area),
        },
        "accuracy_at_80_coverage": _number(curve.accuracy[REFUSED.tolist().index(0.2)]),
    }


def _by_application(applications: tuple[str, ...], stage2: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Each application's mean figures over the protocols where it occurs."""
    table = {}
    for application in applications:
        at = [
            (figures, figures["labels"].index(application))
            for figures in stage2.values()
            if application in figures["labels"]
        ]
        at = [(figures, i) for figures, i in at if figures["support_by_label"][i]]
        table[application] = {
            name: _mean(np.array([figures[f"{name}_by_label"][i] for figures, i in at]))
            for name in ("precision", "recall", "f1")
        }
    return table
