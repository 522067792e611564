"""How well bundles label a flows file whose labels are known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from etcc_edge.arrays import F32, U64, Bools
from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.seen import seen_in_training
from etcc_edge.engines.cascade import open_cascade
from etcc_edge.engines.choice import choose
from etcc_edge.errors import BundleError, FlowsError
from etcc_edge.evaluation.result import FileEvaluation
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.flows.names import one_line
from etcc_edge.flows.truth import read_labelled
from etcc_edge.infer.source import Opened, open_source, pick
from etcc_edge.meter import CaptureSource
from etcc_edge.meter.labelled import CaptureTable


def evaluate_file(
    path: str | os.PathLike[str],
    bundles: Sequence[str] = ("auto",),
    *,
    view: str | None = None,
    backend: str = "auto",
    precision: str = "auto",
    protocol_column: str | None = None,
    application_column: str | None = None,
    groups: str | os.PathLike[str] | None = None,
    rows: str = "all",
    command: str = "",
    captures: bool = False,
    damaged: Callable[[str], None] = lambda _: None,
) -> list[FileEvaluation]:
    """`evaluate` of each bundle, picked as `pick_bundle` does, on the same rows of a labelled flows file, or with
    ``captures`` of the flows of a `CaptureTable`, cut as the bundles' were; ``damaged`` gets a line on each capture
    that ends early.

    The file is read three times, so it cannot be a stream. ``groups``: as `read_labelled` takes it.
    ``command``: what was typed, for the record.
    ``rows`` is ``all``, or ``test``: without the flows that any of the bundles was trained on; where no identifiers say
    which those are, without all twins (`Seen`). Raises FlowsError, BundleError, BackendError.
    """
    table = CaptureTable(path) if captures else None
    with table.open() if table else open_source(path) as source:
        chosen, cuts = _pick_all(source, bundles, view)
    for bundle in chosen:
        if len(bundle.levels) < 2:
            raise BundleError(f"{bundle.name} has one level, {bundle.levels[0]}; evaluate scores two")
    choices = [choose(backend, precision, bundle) for bundle in chosen]
    # One reading for all, so that all are scored on the same rows.
    names = list(dict.fromkeys(name for bundle in chosen for name in bundle.features))
    if table:
        flows, notes = table.read(*cuts, names)
        for line in notes:
            damaged(line)
    else:
        flows = read_labelled(
            path, names, protocol_column=protocol_column, application_column=application_column, groups=groups
        )
    raw = [flows.features[:, [names.index(name) for name in bundle.features]] for bundle in chosen]
    kept = np.ones(len(flows), bool)
    if rows == "test":
        for bundle, features in zip(chosen, raw, strict=True):
            kept &= seen_in_training(bundle, flows.identity, features).held_back
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    file_sha256 = table.sha256() if table else _sha256(path)
    return [
        FileEvaluation(
            made=made,
            command=command,
            file=flows.name,
            file_sha256=file_sha256,
            rows=rows,
            bundle=bundle.name,
            bundle_digest=bundle.digest(),
            location=one_line("/".join(Path(bundle.location).parts[-2:])),
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
                flows.service[kept],
                flows.start[kept],
            ),
        )
        for bundle, choice, features in zip(chosen, choices, raw, strict=True)
    ]


def _pick_all(source: Opened, wanted: Sequence[str], view: str | None) -> tuple[list[Bundle], tuple[str, float]]:
    """The bundles, and the profile and timeout by which captures are cut for them. Raises FlowsError for bundles of
    flows that were cut in different ways."""
    chosen, cuts = [], {("", 0.0)}
    for name in wanted:
        chosen.append(pick(source, name, view)[0])
        if isinstance(source, CaptureSource):
            cuts = (cuts if len(chosen) > 1 else set()) | {(source.profile, source.timeout)}
    if len(cuts) > 1:
        raise FlowsError(f"{source.name}: the bundles were trained on flows cut in different ways; evaluate them apart")
    return chosen, cuts.pop()


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
