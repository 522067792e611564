"""How well bundles label a flows file whose labels are known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.errors import BundleError
from etcc_edge.evaluation.result import FileEvaluation
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.flows.truth import read_labelled


def evaluate_file(
    path: str | os.PathLike[str],
    bundles: Sequence[str] = ("auto",),
    *,
    backend: str = "auto",
    precision: str = "auto",
    protocol_column: str | None = None,
    application_column: str | None = None,
    rows: str = "all",
) -> list[FileEvaluation]:
    """`evaluate` of each bundle on the same rows of a labelled flows file.

    ``rows`` is ``all``, or ``test``: without the flows that any of the bundles was trained on. Raises FlowsError,
    BundleError, BackendError.
    """
    with FlowFile(path) as file:
        chosen = [pick_bundle(file, bundle)[0] for bundle in bundles]
    for bundle in chosen:
        if len(bundle.levels) < 2:
            raise BundleError(f"{bundle.name} has one level, {bundle.levels[0]}; evaluate scores two")
    choices = [choose(backend, precision, bundle) for bundle in chosen]
    # One reading for all, so that all are scored on the same rows.
    names = list(dict.fromkeys(name for bundle in chosen for name in bundle.features))
    flows = read_labelled(path, names, protocol_column=protocol_column, application_column=application_column)
    seen = [np.isin(flows.hashes, bundle.trained_rows) for bundle in chosen]
    kept = ~np.any(seen, axis=0) if rows == "test" else np.ones(len(flows), bool)
    return [
        FileEvaluation(
            file=flows.name,
            rows=rows,
            bundle=bundle.name,
            location="/".join(Path(bundle.location).parts[-2:]),
            network=bundle.training.get("network"),
            backend=choice.backend,
            precision=choice.precision,
            flows_ignored=flows.ignored,
            flows_trained_on=int(trained_on[kept].sum()),
            scores=evaluate(
                bundle,
                partial(open_cascade, choice=choice),
                flows.features[kept][:, [names.index(name) for name in bundle.features]],
                flows.protocol[kept],
                flows.application[kept],
                flows.flow_id[kept],
                bundle.root.thresholds.get(choice.precision),
            ),
        )
        for bundle, choice, trained_on in zip(chosen, choices, seen, strict=True)
    ]
