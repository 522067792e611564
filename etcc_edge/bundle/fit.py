"""Which bundle fits which flows."""

from __future__ import annotations

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.store import load_bundle, shipped_bundles
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import Batch, Source


def pick_bundle(source: Source[Batch], wanted: str) -> tuple[Bundle, str]:
    """The bundle to use, and why: the one that is named, or for ``auto`` the first shipped one whose features
    the source has and whose meter made it. Raises FlowsError, naming what is missing for each."""
    if wanted != "auto":
        bundle = load_bundle(wanted)
        if lack := source.lack(bundle.features):
            raise FlowsError(f"{source.place}: bundle {bundle.name} needs what the file lacks: {lack}")
        return bundle, "as asked for"
    reasons = []
    for name, path in shipped_bundles().items():
        bundle = load_bundle(path)
        if not (reason := why_bundle_does_not_fit(bundle, source)):
            return bundle, f"the first whose {len(bundle.features)} features the file has"
        reasons.append(f"{name} {reason}")
    raise FlowsError(f"{source.place}: no shipped bundle fits this {source.form} file: {'; '.join(reasons)}")


def why_bundle_does_not_fit(bundle: Bundle, source: Source[Batch]) -> str:
    """Empty where the bundle's meter made the flows and they have its features."""
    trained = bundle.flow_definition.meter
    if source.meter not in ("", trained):
        return f"is for {trained}, this file is {source.meter}'s"
    lack = source.lack(bundle.features)
    return f"needs {lack}" if lack else ""
