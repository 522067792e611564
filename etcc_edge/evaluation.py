"""How well a bundle labels flows whose labels are known."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from etcc_edge.bundle.model import Bundle
from etcc_edge.cascade import Cascade, Result, open_cascade
from etcc_edge.engine import choose
from etcc_edge.flows.reader import FlowFile
from etcc_edge.labelled import read_labelled
from etcc_edge.labelling import pick_bundle
from etcc_edge.labels import label_key
from etcc_edge.metrics import Confusion, expected_calibration_error

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Text = npt.NDArray[np.str_]


def codes_of(labels: tuple[str, ...], text: Text) -> I64:
    """Index of each label in ``labels``, compared by `label_key`; -1 for a label that is not among them."""
    index = {label_key(label): i for i, label in enumerate(labels)}
    values, inverse = np.unique(text, return_inverse=True)
    return np.array([index.get(label_key(value), -1) for value in values.tolist()], np.int64)[inverse]


def evaluate(
    bundle: Bundle, open_cascade: Callable[[Bundle], Cascade], raw: F32, protocol: Text, application: Text
) -> dict[str, Any]:
    """The figures of a two-level bundle on raw features [n, f] and their true labels [n], as fractions.

    ``protocol`` is over the flows whose protocol the bundle knows; ``stage2`` is given the true protocol, over
    the flows whose application its network knows; ``end_to_end.accuracy`` wants both labels right over the
    flows whose two labels the bundle knows, ``protocol_accuracy`` the protocol over the same flows, and
    ``strict_accuracy`` both labels over all flows. What was not counted is None.
    """
    result = open_cascade(bundle).run(raw)
    true_protocol = codes_of(bundle.root.labels, protocol)
    true_application = codes_of(bundle.vocabulary()[1], application)
    both_right = (result.codes[0] == true_protocol) & (result.codes[1] == true_application)
    both_known = np.zeros(len(raw), bool)
    stage2 = {}
    for label, child in bundle.root.children.items():
        true = codes_of(child.labels, application)
        rows = (true_protocol == bundle.root.labels.index(label)) & (true >= 0)
        both_known |= rows
        if rows.any():
            alone = dataclasses.replace(bundle, root=child, levels=bundle.levels[1:])
            stage2[label] = _figures(child.labels, true[rows], open_cascade(alone).run(raw[rows]))
    return {
        "flows": len(raw),
        "coverage": _mean(true_protocol >= 0),
        "protocol": _figures(bundle.root.labels, true_protocol, result),
        "stage2": stage2,
        "mean_stage2_accuracy": _mean(np.array([figures["accuracy"] for figures in stage2.values()])),
        "end_to_end": {
            "flows": int(both_known.sum()),
            "accuracy": _mean(both_right[both_known]),
            "protocol_accuracy": _mean((result.codes[0] == true_protocol)[both_known]),
            "strict_accuracy": _mean(both_right & both_known),
        },
    }


def evaluate_file(
    path: str | os.PathLike[str],
    *,
    bundle: str = "auto",
    backend: str = "auto",
    precision: str = "auto",
    protocol_column: str | None = None,
    application_column: str | None = None,
    rows: str = "all",
) -> dict[str, Any]:
    """`evaluate` on a labelled flows file, with what was used, and how many flows were ignored (unreadable or
    without label) and trained on. ``rows`` is ``all``, or ``test``: without the flows trained on.

    Raises FlowsError, BundleError, BackendError.
    """
    with FlowFile(path) as file:
        chosen, _ = pick_bundle(file, bundle)
    choice = choose(backend, precision, chosen)
    flows = read_labelled(path, chosen.features, protocol_column=protocol_column, application_column=application_column)
    seen = np.isin(flows.hashes, chosen.trained_rows)
    kept = ~seen if rows == "test" else np.ones(len(flows), bool)
    figures = evaluate(
        chosen,
        lambda part: open_cascade(part, choice),
        flows.features[kept],
        flows.protocol[kept],
        flows.application[kept],
    )
    return {
        "bundle": chosen.name,
        "backend": choice.backend,
        "precision": choice.precision,
        "flows_ignored": flows.ignored,
        "flows_trained_on": int(seen[kept].sum()),
        **figures,
    }


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _figures(labels: tuple[str, ...], true: I64, result: Result) -> dict[str, Any]:
    """The summary, calibration and confusion of a result's first level; a row of counts for each true label."""
    confusion = Confusion.of(labels, true, result.codes[0])
    answered = (true >= 0) & (result.codes[0] >= 0)
    error = expected_calibration_error(result.confidence[0][answered], result.codes[0][answered] == true[answered])
    figures = {**confusion.summary(), "calibration_error": error}
    return {
        **{name: None if np.isnan(value) else value for name, value in figures.items()},
        "flows": int(confusion.support.sum()),
        "labels": list(labels),
        "recall_by_label": [None if np.isnan(value) else float(value) for value in confusion.recall],
        "confusion": confusion.counts.tolist(),
    }
