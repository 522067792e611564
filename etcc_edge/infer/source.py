"""What flows come from, opened: a flows file or a capture. And the bundle that fits it."""

from __future__ import annotations

import os
from typing import TypeAlias

from etcc_edge.bundle.fit import pick_bundle
from etcc_edge.bundle.model import Bundle, FlowDefinition
from etcc_edge.bundle.store import load_bundle
from etcc_edge.errors import FlowsError
from etcc_edge.flows.binaries import is_capture, name_foreign
from etcc_edge.flows.open import open_flows
from etcc_edge.flows.stream import ByteStream
from etcc_edge.flows.table import TableFlows
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.meter import PROFILES, CaptureSource
from etcc_edge.meter.capture import unproven
from etcc_edge.meter.source import After, meter_of

Opened: TypeAlias = FlowFile | TableFlows | CaptureSource


def open_source(
    path: str | os.PathLike[str],
    *,
    profile: str | None = None,
    timeout: float | None = None,
    after: After | None = None,
) -> Opened:
    """The capture at ``path`` (``-``: standard input), told by its first bytes, or a file of flows as `open_flows`
    takes it. ``profile``, ``timeout``, in seconds, and ``after`` are for captures. Raises FlowsError."""
    if "://" in os.fspath(path):
        return open_flows(path)
    stream = ByteStream(path, name_foreign=name_foreign)
    if is_capture(stream.first):
        return CaptureSource(stream, profile, timeout=timeout, after=after)
    return open_flows(stream)


def pick(source: Opened, wanted: str, view: str | None = None) -> tuple[Bundle, str]:
    """`pick_bundle`. A capture is then cut into flows as the bundle's were, where nothing else was asked for: it is
    refused where that cannot be done. Raises FlowsError."""
    if isinstance(source, CaptureSource) and wanted != "auto":
        follow(source, load_bundle(wanted))  # its profile decides which features there are
    bundle, reason = pick_bundle(source, wanted, view)
    if isinstance(source, CaptureSource):
        follow(source, bundle)
    return bundle, reason


def profile_of(definition: FlowDefinition) -> str:
    """Of the flows that a bundle was trained on; empty where no profile cuts such flows. Files do not name theirs:
    it is the first of their meter."""
    of_meter = (profile for profile in PROFILES if meter_of(profile) == definition.meter)
    wanted = definition.profile or next(of_meter, "")
    return wanted if wanted in PROFILES else ""


def follow(capture: CaptureSource, bundle: Bundle) -> None:
    """Cuts a capture into flows as the bundle's were, where nothing else was asked for. Raises FlowsError where no
    profile does that."""
    definition = bundle.flow_definition
    profile = profile_of(definition)
    if not profile and capture.asked_profile is None:
        raise FlowsError(
            f"{capture.name}: bundle {bundle.name} was trained on flows of {definition.profile or definition.meter}, "
            "which cannot be cut from a capture; name a profile with --profile to do without, or take another bundle"
        )
    capture.follow(profile or PROFILES[0], definition.timeout_s)


def misfits(source: Opened, bundle: Bundle) -> list[str]:
    """Why the labels of a bundle that was asked for are likely to be wrong, a line each."""
    definition = bundle.flow_definition
    if not isinstance(source, CaptureSource):
        if source.meter in ("", definition.meter):
            return []
        return [
            f"bundle {bundle.name} was trained on {definition.meter} flows of {definition.timeout_s:g} s, these are "
            f"{source.meter}'s: expect wrong labels"
        ]
    lines = [warning] if (warning := unproven(source.profile)) else []
    if source.profile != profile_of(definition):
        trained = definition.profile or profile_of(definition) or definition.meter
        lines.append(
            f"bundle {bundle.name} was trained on flows of {trained}, these are cut as {source.profile} does: expect "
            "wrong labels"
        )
    if source.timeout != definition.timeout_s:
        lines.append(
            f"bundle {bundle.name} was trained on flows of {definition.timeout_s:g} s at most, these have up to "
            f"{source.timeout:g} s: expect wrong labels"
        )
    return lines
