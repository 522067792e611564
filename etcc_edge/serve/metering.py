"""Packets to flows as a bundle's were, and what records need of such flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etcc_edge import _native
from etcc_edge.bundle import Bundle
from etcc_edge.engines.result import Result
from etcc_edge.errors import BundleError
from etcc_edge.flows.batch import OK, Batch
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.source import profile_of
from etcc_edge.meter.source import After, flow_columns

_NEVER = After()


@dataclass(frozen=True)
class Metering:
    """How packets become flows. ``timeout`` in seconds. ``max_flows`` are open at once, in all workers together.
    ``after``: an early record of each open flow then."""

    profile: str
    timeout: float
    max_flows: int
    after: After = _NEVER

    @classmethod
    def of(cls, bundle: Bundle, max_flows: int, after: After = _NEVER) -> Metering:
        """As the flows that a bundle was trained on. Raises BundleError where no profile cuts such flows."""
        definition = bundle.flow_definition
        profile = profile_of(definition)
        if not profile:
            raise BundleError(
                f"bundle {bundle.name} was trained on flows of {definition.profile or definition.meter}, which cannot "
                "be cut from packets; take another bundle"
            )
        if lack := [name for name in bundle.features if name not in flow_columns(profile)[0]]:
            raise BundleError(f"bundle {bundle.name} needs {', '.join(lack)}, which the meter does not give")
        return cls(profile, definition.timeout_s, max_flows, after)


class Metered:
    """What records need of flows that a meter of ``profile`` gives. ``names``: of the columns that say which flow it
    is."""

    def __init__(self, profile: str, names: Sequence[str]) -> None:
        self._numbers, own = flow_columns(profile, verdict=True)
        self._identity = [own[name] for name in names]

    def identity(self, flows: _native.Flows) -> list[list[str]]:
        """The texts [n, names]."""
        text, _ = flows.cells(self._identity)
        return [line.split(",") for line in text.decode().splitlines()]

    def labels(self, flows: _native.Flows, classifier: Classifier) -> Result:
        features = flows.numbers([self._numbers[name] for name in classifier.features])
        batch = Batch(classifier.features, features, np.full(len(flows), OK, np.uint8))
        return classifier.given(classifier.label(batch))
