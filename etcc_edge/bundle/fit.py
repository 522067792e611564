"""Which bundle fits which flows."""

from __future__ import annotations

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.store import load_bundle, shipped_bundles
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import Batch, Source

ASSUMED_VIEW = "inside"
"""Where ``auto`` takes flows to be captured unless told: their features do not say."""


def pick_bundle(source: Source[Batch], wanted: str, view: str | None = None) -> tuple[Bundle, str]:
    """The bundle to use, and why: the one that is named, or for ``auto`` the first shipped one of the ``view``, one of
    `VIEWS`, whose features the source has and whose meter made it. Raises FlowsError, naming what is missing for each,
    and for a named bundle of another view."""
    if wanted != "auto":
        bundle = load_bundle(wanted)
        own = bundle.flow_definition.view
        if view and view != own:
            raise FlowsError(
                f"{source.place}: bundle {bundle.name} is of view {own or '(not stated)'}, not {view}; leave out "
                "one of the two"
            )
        if lack := source.lack(bundle.features):
            raise FlowsError(f"{source.place}: bundle {bundle.name} needs what the file lacks: {lack}")
        return bundle, "as asked for"
    reasons = []
    for name, path in shipped_bundles().items():
        bundle = load_bundle(path)
        own = bundle.flow_definition.view
        if own != (view or ASSUMED_VIEW):
            reasons.append(f"{name} is of view {own}")
        elif reason := why_bundle_does_not_fit(bundle, source):
            reasons.append(f"{name} {reason}")
        else:
            of_view = f"of view {own}, " + ("as asked for" if view else "assumed as nothing says otherwise")
            return bundle, f"the first {of_view}, whose {len(bundle.features)} features the file has"
    raise FlowsError(f"{source.place}: no shipped bundle fits this {source.form} file: {'; '.join(reasons)}")


def why_bundle_does_not_fit(bundle: Bundle, source: Source[Batch]) -> str:
    """Empty where the bundle's meter made the flows and they have its features."""
    trained = bundle.flow_definition.meter
    if source.meter not in ("", trained):
        return f"is for {trained}, this file is {source.meter}'s"
    lack = source.lack(bundle.features)
    return f"needs {lack}" if lack else ""
