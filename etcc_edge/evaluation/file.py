"""How well bundles label a flows file whose labels are known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from etcc_edge.arrays import F32, U64, Bools
from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.seen import seen_in_training
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
    groups: str | os.PathLike[str] | None = None,
    rows: str = "all",
    command: str = "",
) -> list[FileEvaluation]:
    """`evaluate` of each bundle on the same rows of a labelled flows file.

    The file is read three times, so it cannot be a stream. ``groups``: as `read_labelled` takes it.
    ``command``: what was typed, for the record.
    ``rows`` is ``all``, or ``test``: without the flows that any of the bundles was trained on; where no identifiers say
    which those are, without all twins (`Seen`). Raises FlowsError, BundleError, BackendError.
    """
    with FlowFile(path) as file:
        chosen = [pick_bundle(file, bundle)[0] for bundle in bundles]
    for bundle in chosen:
        if len(bundle.levels) < 2:
            raise BundleError(f"{bundle.name} has one level, {bundle.levels[0]}; evaluate scores two")
    choices = [choose(backend, precision, bundle) for bundle in chosen]
    # One reading for all, so that all are scored on the same rows.
    names = list(dict.fromkeys(name for bundle in chosen for name in bundle.features))
    flows = read_labelled(
        path, names, protocol_column=protocol_column, application_column=application_column, groups=groups
    )
    raw = [flows.features[:, [names.index(name) for name in bundle.features]] for bundle in chosen]
    kept = np.ones(len(flows), bool)
    if rows == "test":
        for bundle, features in zip(chosen, raw, strict=True):
            kept &= seen_in_training(bundle, flows.identity, features).held_back
    made, file_sha256 = datetime.now(timezone.utc).isoformat(timespec="seconds"), _sha256(path)
    return [
        FileEvaluation(
            made=made,
            command=command,
            file=flows.name,
            file_sha256=file_sha256,
            rows=rows,
            bundle=bundle.name,
            bundle_digest=bundle.digest(),
            location="/".join(Path(bundle.location).parts[-2:]),
            network=bundle.training.get("network"),
            backend=choice.backend,
            precision=choice.precision,
            flows_ignored=flows.ignored,
            **_seen(bundle, flows.identity, features, kept),
            scores=evaluate(
                bundle,
                partial(open_cascade, choice=choice),
                features[kept],
                flows.protocol[kept],
                flows.application[kept],
                flows.flow_id[kept],
                bundle.root.thresholds.get(choice.precision),
                flows.session[kept],
            ),
        )
        for bundle, choice, features in zip(chosen, choices, raw, strict=True)
    ]


def _sha256(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _seen(bundle: Bundle, identity: U64 | None, features: F32, kept: Bools) -> dict[str, int | None]:
    if bundle.trained is None:
        return {"flows_trained_on": None, "flows_twins": None}
    seen = seen_in_training(bundle, identity, features)
    return {
        "flows_trained_on": int(seen.flows[kept].sum()) if seen.by_identity else None,
        "flows_twins": int(seen.twins[kept].sum()),
    }
